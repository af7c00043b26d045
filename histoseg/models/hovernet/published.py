"""The checkpoints that HoVer-Net's authors published: their names, and what their numbers mean.

Their mode follows from the kernel of a branch, their data set from mode and number of classes. CoNSeP, Kumar and CPM17
were trained in the original mode, PanNuke and MoNuSAC in the fast one (README of github.com/vqdang/hover_net).
"""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from histoseg.errors import CheckpointError
from histoseg.models.hovernet import HoVerNetSpec
from histoseg.models.hovernet.network import HoVerNetParts, build
from histoseg.models.hovernet.sizes import KERNEL, Mode
from histoseg.models.weights import Model, read_foreign, take_over

LANDMARK = "decoder.np.u3.conva.weight"  # A tensor that every such file has
STEM = "conv0./.weight"
TYPES = "decoder.tp.u0.conv.bias"
UNUSED = ("upsample2x.unpool_mat",)  # Four ones, by which the published code doubles sides
MPP = 0.25  # All of these data sets are at 40x.
# By mode and number of classes; those without classes are of Kumar, CPM17 or CoNSeP.
PUBLISHED_CLASSES: Mapping[tuple[Mode, int], tuple[str, ...]] = {
    ("fast", 6): ("background", "neoplastic", "inflammatory", "connective", "dead", "epithelial"),  # PanNuke
    ("fast", 5): ("background", "epithelial", "lymphocyte", "macrophage", "neutrophil"),  # MoNuSAC
    ("original", 5): ("background", "other", "inflammatory", "epithelial", "spindle-shaped"),  # CoNSeP
}


def import_published(path: Path) -> Model:
    """The model in a checkpoint of HoVer-Net's authors, with the names of its classes.

    Raises:
        CheckpointError: If the file has another layout; the text says which names differ, as the file calls them.
    """
    theirs = {name: value for name, value in read_foreign(path).items() if name not in UNUSED}
    mode = _mode(theirs, path)
    num_types = len(theirs[TYPES]) if TYPES in theirs else 0
    if num_types and (mode, num_types) not in PUBLISHED_CLASSES:
        known = ", ".join(f"{count} in mode {name}" for name, count in PUBLISHED_CLASSES)
        raise CheckpointError(
            f"{path} has {num_types} classes in mode {mode}; the published ones have {known}, or none"
        )
    spec = HoVerNetSpec(mode=mode, width=_width(theirs, path))
    network = build(HoVerNetParts(num_types=num_types, mode=mode, width=spec.width), 0)
    take_over(network, theirs, str(path), published_name)
    return Model(
        spec=spec,  # type: ignore[arg-type]  # it knows networks of its own kind only
        network=network.eval(),
        classes={"nuclei_type": PUBLISHED_CLASSES[mode, num_types]} if num_types else {},
        mpp=MPP,
        origin=f"{path.name}, a checkpoint in the layout of HoVer-Net's authors",
    )


def _mode(theirs: Mapping[str, Tensor], path: Path) -> Mode:
    """The mode whose kernels the file's branches have."""
    shape = tuple(theirs[LANDMARK].shape) if LANDMARK in theirs else ()
    for mode, kernel in KERNEL.items():
        if shape[2:] == (kernel, kernel):
            return mode
    found = f"{LANDMARK} is {shape}" if shape else f"it lacks {LANDMARK}"
    raise CheckpointError(f"{path} is of another layout: {found}; expected kernels of 3 (fast) or 5 (original)")


def _width(theirs: Mapping[str, Tensor], path: Path) -> int:
    """Channels of the stem: 64 in the authors' files, others in those of narrower networks of the same layout."""
    shape = tuple(theirs[STEM].shape) if STEM in theirs else ()
    if not shape or shape[0] < 8 or shape[0] % 8:
        raise CheckpointError(f"{path} is of another layout: {STEM} is {shape or 'missing'}; expected (64, 3, 7, 7)")
    return shape[0]


def published_name(name: str) -> str:
    """What a published checkpoint calls one of our tensors."""
    for pattern, theirs in NAMES:
        name = re.sub(pattern, theirs, name)
    return name


# In this order; a slash is a part of the published names.
NAMES = (
    (r"^encoder\.conv\.", "conv0./."),
    (r"^encoder\.norm\.", "conv0.bn."),
    (r"^bottom\.", "conv_bot."),
    (r"^(encoder\.blocks.*units\.\d+)\.norm1\.", r"\1.preact/bn."),
    (r"^(decoders.*units\.\d+)\.norm1\.", r"\1.preact_bna/bn."),
    (r"(units\.\d+)\.norm2\.", r"\1.conv1/bn."),
    (r"(units\.\d+)\.norm3\.", r"\1.conv2/bn."),
    (r"^(encoder\.blocks\.\d|decoders\.\w+\.dense\d)\.norm\.", r"\1.blk_bna.bn."),
    (r"^encoder\.blocks\.(\d)\.", r"d\1."),
    (r"^decoders\.(\w+)\.norm\.", r"decoder.\1.u0.bn."),
    (r"^decoders\.(\w+)\.head\.", r"decoder.\1.u0.conv."),
    (r"^decoders\.(\w+)\.conv(\d)\.", r"decoder.\1.u\2.conva."),
    (r"^decoders\.(\w+)\.dense(\d)\.", r"decoder.\1.u\2.dense."),
    (r"^decoders\.(\w+)\.last(\d)\.", r"decoder.\1.u\2.convf."),
)
