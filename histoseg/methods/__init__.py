"""How a model learns from predecessor tasks. One file each: a frozen dataclass, named METHOD, with two verbs.

`batches` says what a step computes on, `backward` adds the step's gradient to `.grad`.
"""
