"""How a finished network is scored: one file for each way, whose name is the public name.

An evaluator is a frozen dataclass, named EVALUATOR in its file, whose fields say how images are predicted; what it must
do is in `_protocol.py`. What needs torch is imported where it is used: experiments are planned without torch.
"""
