"""RetinaNet (Lin et al. 2017) of torchvision's parts on an encoder of Cerberus.

The pyramid is fed by `layer2` to `layer4`, as the published one is. As the stem of these encoders has stride 1 instead
of 4, they lie at 1/4, 1/8 and 1/16 of the image instead of at 1/8 to 1/32. Anchors are four times the stride, and a
third and two thirds of an octave more, as published: 16, 20, 25, then 32, 40, 51, then 64, 81, 102 pixels. At 0.5 µm/px
signet ring cells have 15 to 50. The published levels P6 and P7 would be for objects of 64 µm and more, so they are left
out. Heads have group norms, as in torchvision's second version: without, those of narrow networks begin with signals so
small that they hardly learn.
"""

from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from histoseg.models.cerberus.network import CerberusParts
from histoseg.models.cerberus.network import build as build_cerberus
from histoseg.models.network import Network, innermost_channels
from histoseg.models.vision import import_torchvision

FIRST_LEVEL = 2  # Of the encoder's features; before it they are finer than any anchor needs.
STRIDES = (4, 8, 16)
SIZE_PER_STRIDE = 4  # Lin et al. 2017, Sec. 4: areas of 32² at P3, whose stride is 8
OCTAVES = (0, 1 / 3, 2 / 3)
RATIOS = (0.5, 1.0, 2.0)
CHANNELS_PER_GROUP = 8  # Of the heads' group norms, as 32 groups of 256 in torchvision's second version of the network
CHANNELS_PER_WIDTH = 4  # 256 channels of the pyramid (Sec. 4), where the encoder's width is 64


@dataclass(frozen=True, kw_only=True)
class RetinaNetParts:
    """All that a RetinaNet is built from; `num_classes` is without background."""

    task: str
    encoder: str
    width: int
    num_classes: int


@dataclass(frozen=True, kw_only=True)
class AnchorPredictions:
    """What the heads predict for each anchor of all levels.

    Attributes:
        sizes: How many anchors each level has.
    """

    logits: Float[Tensor, "B A K"]
    offsets: Float[Tensor, "B A 4"]
    anchors: Float[Tensor, "A 4"]
    sizes: tuple[int, ...]


class RetinaNet(Network):
    """The network; all of it is trained."""

    def __init__(self, parts: RetinaNetParts) -> None:
        super().__init__()
        import_torchvision()
        from torchvision.models.detection.anchor_utils import AnchorGenerator
        from torchvision.models.detection.retinanet import RetinaNetHead
        from torchvision.ops import FeaturePyramidNetwork

        self.parts = parts
        self.encoder: nn.Module = build_cerberus(CerberusParts(encoder=parts.encoder, width=parts.width), 0).encoder
        channels = CHANNELS_PER_WIDTH * parts.width
        self.pyramid = FeaturePyramidNetwork(list(self.encoder.widths[FIRST_LEVEL:]), channels)
        norm = partial(nn.GroupNorm, channels // CHANNELS_PER_GROUP)
        self.head = RetinaNetHead(channels, len(OCTAVES) * len(RATIOS), parts.num_classes, norm_layer=norm)
        sizes = tuple(tuple(SIZE_PER_STRIDE * stride * 2**octave for octave in OCTAVES) for stride in STRIDES)
        self.anchors = AnchorGenerator(sizes, (RATIOS,) * len(STRIDES))

    def forward(self, images: UInt8[Tensor, "B H W 3"]) -> AnchorPredictions:
        """What is found in images as stored; sides must be multiples of 16."""
        levels = self.features(images)
        with self._precision(images.device):
            outputs: dict[str, Tensor] = self.head(levels)
        anchors = self._anchors(images, levels)
        per_place = len(OCTAVES) * len(RATIOS)
        return AnchorPredictions(
            logits=outputs["cls_logits"].float(),
            offsets=outputs["bbox_regression"].float(),
            anchors=anchors,
            sizes=tuple(per_place * level.shape[2] * level.shape[3] for level in levels),
        )

    def features(self, images: UInt8[Tensor, "B H W 3"]) -> list[Tensor]:
        """The levels of the pyramid (B, D, H / stride, W / stride), finest first."""
        weight = next(self.encoder.parameters())
        with self._precision(images.device):
            own = self.encoder(images.permute(0, 3, 1, 2).to(weight.dtype) / 255)[FIRST_LEVEL:]
            levels: dict[str, Tensor] = self.pyramid({str(i): level for i, level in enumerate(own)})
        return list(levels.values())

    def _anchors(self, images: Tensor, levels: list[Tensor]) -> Float[Tensor, "A 4"]:
        """The anchors of an image of that size, level by level, in the order of the heads' outputs."""
        from torchvision.models.detection.image_list import ImageList

        size = (images.shape[1], images.shape[2])
        anchors: Tensor = self.anchors(ImageList(images.permute(0, 3, 1, 2), [size]), [x.float() for x in levels])[0]
        return anchors

    def compile_parts(self) -> None:
        vars(self).update(features=torch.compile(self.features))

    def interpret_parts(self) -> None:
        vars(self).pop("features", None)


def build(parts: RetinaNetParts, seed: int) -> RetinaNet:
    """A new network, the same for the same seed; its encoder is that of a new Cerberus of that seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = RetinaNet(parts)
    fresh = build_cerberus(CerberusParts(encoder=parts.encoder, width=parts.width), seed).encoder
    model.encoder.load_state_dict(fresh.state_dict())
    innermost_channels(model)
    return model
