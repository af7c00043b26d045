"""The network of the package cellpose, trained as the other networks are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from jaxtyping import Float, UInt8
from torch import Tensor, nn

from histoseg.models.cellpose.loss import loss_of
from histoseg.models.initial import drawn
from histoseg.models.network import EncodingNetwork
from histoseg.models.norm import SyncedBatchNorm
from histoseg.models.tensors import device_of, to_device
from histoseg.runs.extras import import_extra
from histoseg.types import MixedBatch

NUM_OUT = 3  # Flows down and right, and the logit of being in an object
KERNEL = 3


@dataclass(frozen=True, kw_only=True)
class CellposeParts:
    """All that the network is built from; see `CellposeSpec`."""

    structure: str
    width: int = 32
    enlarge: int = 2


class Cellpose(EncodingNetwork):
    """The package's network, which sees images enlarged."""

    def __init__(self, parts: CellposeParts) -> None:
        super().__init__()
        self.parts = parts
        widths = [parts.width * 2**level for level in range(4)]
        self.net: nn.Module = import_extra("cellpose", "resnet_torch").CPnet([3, *widths], NUM_OUT, KERNEL)
        synchronise(self.net)

    @property
    def encoder(self) -> nn.Module:
        """The way down."""
        return cast(nn.Module, self.net.downsample)

    def encode(self, images: UInt8[Tensor, "B H W 3"]) -> Float[Tensor, "B 3 H W"]:
        """Flows down and right, and the logit of being in an object, of each pixel of images as stored."""
        factor = self.parts.enlarge
        with self._precision(images.device):
            pixels = images.permute(0, 3, 1, 2).to(self._dtype) / 255
            if factor > 1:
                pixels = nn.functional.interpolate(pixels, scale_factor=factor, mode="bilinear")
            found: Tensor = self.net(pixels)[0]
        return nn.functional.avg_pool2d(found.to(self._dtype), factor)

    def step_loss(self, batch: MixedBatch, weights: Mapping[str, float], *, masked: bool = False) -> Float[Tensor, ""]:  # noqa: ARG002  # it has no head without patches
        """This rank's share of the loss, see `MixedLearner` and `loss.py`."""
        loss = loss_of(self.encode(to_device(batch.images, device_of(self))), batch)
        return weights.get(self.parts.structure, 1.0) * loss


def synchronise(module: nn.Module) -> None:
    """Make the batch of each normalisation that of all ranks."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, SyncedBatchNorm(child.num_features, eps=child.eps, momentum=child.momentum))
        else:
            synchronise(child)


def build(parts: CellposeParts, seed: int) -> Cellpose:
    """A new network, the same for the same seed; the global random state is left alone."""
    return drawn(lambda: Cellpose(parts), "net", seed, draw_as_torch)


def draw_as_torch(module: nn.Module) -> None:
    """Weights and biases uniform within 1/√fan-in, torch's own, which the package leaves as they are."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        module.reset_parameters()
