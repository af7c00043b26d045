"""All wanted heads of a Cerberus as one module: a graph that can be compiled or exported."""

from collections.abc import Sequence

from jaxtyping import Float, UInt8
from torch import Tensor, nn

from histoseg.maps.windows import Window
from histoseg.models.cerberus.crop import crop_to_core
from histoseg.models.cerberus.network import STRIDE_PX, Cerberus


class AllHeads(nn.Module):
    """The encoder once, then some decoders, and the head for tissue if there is one.

    All windows have the size and the margin of `window`.
    """

    def __init__(self, network: Cerberus, decoders: Sequence[str], window: Window) -> None:
        super().__init__()
        self.network, self.names, self.window = network, tuple(decoders), window
        self.crop = crop_to_core(window)

    def forward(self, images: UInt8[Tensor, "B H W 3"]) -> tuple[Tensor, ...]:
        """Logits of each decoder, (B, C, h, w) without margins, and of tissue last, (B, K, I, J) for its squares."""
        features = self.network.encode(images)
        found = self.network.decode_all(features, self.names, self.crop)
        if self.network.tissue is not None:
            found.append(self.network.classify([self._squares(features[-1])]))
        return tuple(logits.float() for logits in found)

    def _squares(self, smallest: Float[Tensor, "B F I J"]) -> Float[Tensor, "B F K L"]:
        """The smallest features of what the squares of the window's middle show.

        A margin that is not a multiple of 16 shifts squares by up to half a cell: 8 pixels for the published 152.
        """
        window = self.window
        first, rows, columns = (side // STRIDE_PX for side in (window.margin_px, window.height, window.width))
        return smallest[:, :, first : first + rows, first : first + columns]
