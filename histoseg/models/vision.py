"""torchvision beside a torch that its compiled library does not fit, and suppression of overlapping boxes.

Packages of torchvision are compiled for one build of torch. Beside another, such as one for CPUs alone, the library
of operators does not load, and then torchvision cannot be imported, for it describes an operator that does not exist.
"""

import importlib
from types import ModuleType

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from histoseg.maps.boxes import suppress

OPERATORS = ("nms", "qnms")  # Those that torchvision describes while it is imported
SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[torch.library.Library] = []  # A declaration lasts as long as this object.


def import_torchvision() -> ModuleType:
    """The package torchvision; `timm` can be imported afterwards as well.

    Where its compiled library does not load, its operators are declared but cannot be called: `nms` of this module can.

    Raises:
        ModuleNotFoundError: If it is not installed.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]  # torch leaves it untyped
    for name in OPERATORS:
        library.define(name + SCHEMA)  # type: ignore[no-untyped-call]
    _declared.append(library)
    return importlib.import_module("torchvision")


def has_operators() -> bool:
    """Whether torchvision's compiled operators can be called."""
    import_torchvision()
    return bool(importlib.import_module("torchvision.extension")._has_ops())


def nms(boxes: Float32[Tensor, "N 4"], scores: Float32[Tensor, " N"], max_iou: float) -> Int64[Tensor, " _"]:
    """Indices of the boxes that stay, from the highest score down; equal scores keep their order.

    A box goes if its IoU with one that stays exceeds `max_iou`. Boxes are (left, top, right, bottom).
    """
    if has_operators():
        kept: Tensor = importlib.import_module("torchvision.ops").nms(boxes, scores, max_iou)
        return kept
    found = [np.asarray(tensor.detach().cpu().numpy()) for tensor in (boxes, scores)]
    return torch.from_numpy(suppress(found[0], found[1], max_iou)).to(boxes.device)
