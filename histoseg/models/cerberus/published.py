"""The checkpoint that Cerberus' authors published (Graham et al. 2023): its names, and what its numbers mean."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from histoseg.errors import CheckpointError
from histoseg.models.cerberus import CerberusSpec
from histoseg.models.cerberus.network import Cerberus, CerberusParts, build
from histoseg.models.weights import Model, read_foreign, take_over
from histoseg.structures import MPP, TISSUE, TISSUE_CLASSES

logger = logging.getLogger(__name__)

LANDMARK = "conv_map.weight"  # A tensor that every such file has
DECODERS = ("gland", "lumen", "nuclei", "nuclei_type", "gland_type")  # Those that a checkpoint may have
# What the classes are called; the file does not say, its authors' code does.
PUBLISHED_CLASSES: Mapping[str, tuple[str, ...]] = {
    "nuclei_type": ("background", "neutrophil", "epithelial", "lymphocyte", "plasma", "eosinophil", "connective"),
    "gland_type": ("background", "gland", "surface_epithelium"),
    "tissue": TISSUE_CLASSES,
}
TISSUE_OUTPUT = "decoder_head.Patch-Class.conv2.bias"
UNUSED = ("backbone.fc.weight", "backbone.fc.bias")
LAYERS = {0: "conv", 1: "bn"}  # Of each block; ReLU, the third, has no tensors.


def import_published(path: Path) -> Model:
    """The model in a checkpoint of Cerberus' authors, with the names of its classes."""
    network = read_published(path)
    decoders = network.parts.decoders
    named = {*decoders, *([TISSUE] if network.parts.tissue else [])}
    spec = CerberusSpec(contour=any(count == 3 for name, count in decoders.items() if not name.endswith("_type")))
    classes = {name: names for name, names in PUBLISHED_CLASSES.items() if name in named}
    origin = f"{path.name}, a checkpoint in the layout of Cerberus' authors"
    return Model(
        spec=spec,  # type: ignore[arg-type]  # it knows networks of its own kind only
        network=network,
        classes=classes,
        mpp=MPP,
        origin=origin,
    )


def read_published(path: Path) -> Cerberus:
    """The network in a checkpoint of Cerberus' authors (a `weights.tar` with the key "desc").

    Raises:
        CheckpointError: If the file has another layout; the text says which names differ, as the file calls them.
    """
    tensors = read_foreign(path)
    theirs = {name: value for name, value in tensors.items() if name not in UNUSED}
    if dropped := sum(tensors[name].numel() for name in UNUSED if name in tensors):
        logger.info("%s: %d numbers of an ImageNet classifier that nothing uses are left out", path, dropped)
    outputs = {ours: published_name(f"decoders.{ours}.head.1.bias") for ours in DECODERS}
    parts = CerberusParts(
        decoders={ours: _count(theirs, name, ours, path) for ours, name in outputs.items() if name in theirs},
        tissue=_count(theirs, TISSUE_OUTPUT, TISSUE, path) if TISSUE_OUTPUT in theirs else 0,
    )
    network = build(parts, 0)
    take_over(network, theirs, str(path), published_name)
    return network.eval()


def _count(tensors: Mapping[str, Tensor], bias: str, ours: str, path: Path) -> int:
    """How many classes a head predicts: its last bias has one number for each."""
    shape = tuple(tensors[bias].shape)
    names = PUBLISHED_CLASSES.get(ours)
    wanted = (len(names),) if names else (2, 3)  # Without and with contours
    if len(shape) != 1 or shape[0] not in wanted:
        counts = " or ".join(map(str, wanted))
        raise CheckpointError(f"{path} is of another layout: {bias} is {shape}; expected {counts} numbers, one a class")
    return shape[0]


def published_name(name: str) -> str:
    """What a published checkpoint calls one of our tensors."""
    if match := re.fullmatch(r"decoders\.(\w+)\.stages\.(\d)\.(\d)\.(\w+)", name):
        ours, stage, index, rest = match.groups()
        block, layer = divmod(int(index), 3)
        return f"decoder_head.{_published_head(ours)}.{stage}.block.{block}.{LAYERS[layer]}.{rest}"
    if match := re.fullmatch(r"decoders\.(\w+)\.head\.(?:0\.)?(\d)\.(\w+)", name):
        ours, index, rest = match.groups()
        task = "TYPE" if ours.endswith("_type") else "INST"
        place = "1.conv" if ".head.1." in name else f"0.block.0.{LAYERS[int(index)]}"
        return f"output_head.{_published_head(ours)}.{task}.x.{place}.{rest}"
    return re.sub("^tissue.", "decoder_head.Patch-Class.", re.sub("^encoder.", "backbone.", name))


def _published_head(ours: str) -> str:
    """What the file calls a decoder: "Gland" for "gland", "Gland#TYPE" for "gland_type"."""
    return re.sub("_type$", "#TYPE", ours[:1].upper() + ours[1:])
