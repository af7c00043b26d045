"""A network out of training whose batch normalisation is part of the convolutions before it: fewer passes over memory.

Results differ by rounding. A convolution followed by a normalisation is one with other weights, see
`torch.nn.utils.fusion.fuse_conv_bn_eval`; those of the head for tissue stand before theirs, and stay.
"""

import copy
from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from histoseg.models.cerberus.network import Cerberus
from histoseg.models.encoder import Residual, ResNet
from histoseg.models.network import innermost_channels


def fold_norms(network: Cerberus) -> Cerberus:
    """A copy that computes the same; it cannot be trained."""
    folded = copy.deepcopy(network).eval().requires_grad_(False)
    for module in list(folded.modules()):
        if isinstance(module, nn.Sequential):
            _fold_pairs(module, list(pairwise(name for name, _ in module.named_children())))
        elif isinstance(module, ResNet | Residual):
            names = [name for name, _ in module.named_children() if name.startswith("conv")]
            _fold_pairs(module, [(name, name.replace("conv", "bn")) for name in names])
    innermost_channels(folded)
    return folded


def _fold_pairs(module: nn.Module, pairs: list[tuple[str, str]]) -> None:
    """Fold the named normalisations of a module into the convolutions that are named before them."""
    for before, after in pairs:
        convolution, norm = module.get_submodule(before), module.get_submodule(after)
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, before, fuse_conv_bn_eval(convolution, norm))
            setattr(module, after, nn.Identity())
