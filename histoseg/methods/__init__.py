"""How a model learns from predecessor tasks. One file each: a frozen dataclass, named METHOD, with two verbs.

`batches` says what a step computes on, `backward` adds the step's gradient to `.grad`. Torch is imported inside
`backward` only, for experiments hold methods as values, and data is prepared for them where there is no torch.
"""
