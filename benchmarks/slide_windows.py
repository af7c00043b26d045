"""How a slide is divided: the published 144 of 448 pixels, computed whole, against 720 of 1024 with cropped decoders.

    python benchmarks/slide_windows.py --width 16 --rounds 3

One square of 720 pixels, which is 25 published windows or one of ours, with the same margin of 152 and the same
network. Its weights are random, so it is sure of few pixels, and more of them than with a trained one depend on
rounding and on what lies beyond the margin. Every pixel of every decoder is compared before anything is timed.
"""

import argparse
from collections.abc import Sequence

import torch
from _slides import MPP, draw_mucosa, settled_network
from _timing import Finding, compare, interleaved, one_thread, print_times, table
from torch import Tensor

from histoseg.engines.eager import run_eagerly
from histoseg.engines.heap import keep_freed_memory
from histoseg.maps.windows import Window, read_windows
from histoseg.models.cerberus.fold import fold_norms
from histoseg.models.cerberus.heads import AllHeads
from histoseg.models.cerberus.network import Cerberus
from histoseg.types import Image

MARGIN_PX, CORE_PX = 152, 720
LEAST_AGREEMENT = 0.999
GOAL = 4.0


def run(width: int = 16, rounds: int = 3) -> list[Finding]:
    """Published windows and ours, and what of the difference is the windows' alone."""
    keep_freed_memory()  # For all, or the larger tensors of larger windows would also take longer to get.
    network, image = settled_network(width), draw_mucosa(CORE_PX + 2 * MARGIN_PX)
    heads = AllHeads(fold_norms(network), list(network.decoders), _windows(1024)[0])
    ours = run_eagerly(heads, "fp32")
    whole = torch.from_numpy(image)[None]
    calls = {
        "histoseg": lambda: [logits.argmax(1) for logits in ours(whole)[:-1]],
        "448 -> 144, whole windows": lambda: classify(network, image, 448),
        "1024 -> 720, whole windows": lambda: classify(network, image, 1024),
    }
    note = f"{check(calls['histoseg'](), calls['448 -> 144, whole windows']()):.4%} of classes equal"
    times = interleaved(calls, rounds)
    part = f"{CORE_PX}² pixels of a slide, width {width}"
    print(f"\n{part}: {note}")
    print_times(times, "mm2/min", (CORE_PX * MPP / 1000) ** 2 * 60)
    first, second = compare(times, part, {"448 -> 144, whole windows": GOAL})
    return [Finding(part=part, reference=first.reference, ratios=first.ratios, goal=GOAL, note=note), second]


def _windows(window_px: int) -> list[Window]:
    """The windows of the square, in pixels of the square."""
    inner = window_px - 2 * MARGIN_PX
    return [
        Window(top=top, left=left, height=inner, width=inner, margin_px=MARGIN_PX)
        for top in range(0, CORE_PX, inner)
        for left in range(0, CORE_PX, inner)
    ]


@torch.no_grad()
def classify(network: Cerberus, image: Image, window_px: int) -> list[Tensor]:
    """The most probable class of each pixel and decoder, with all of each window computed, as published."""
    found = [torch.zeros((1, CORE_PX, CORE_PX), dtype=torch.int64) for _ in network.decoders]
    for seen, pixels in read_windows(image, _windows(window_px), 1, is_padded=True):
        logits = network(torch.from_numpy(pixels))
        for name, whole in zip(network.decoders, found, strict=True):
            whole[:, *seen[0].place] = logits[name][:, :, *seen[0].core].argmax(1)
    return found


def check(ours: Sequence[Tensor], published: Sequence[Tensor]) -> float:
    """The share of equal classes over all pixels and decoders; stop if it is too small."""
    same = torch.cat([(one == other).flatten() for one, other in zip(ours, published, strict=True)])
    agreement = same.double().mean().item()
    if agreement < LEAST_AGREEMENT:
        raise ValueError(f"{agreement:.4%} of classes are equal; expected {LEAST_AGREEMENT:.2%}")
    return agreement


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    one_thread()
    print(table(run(arguments.width, arguments.rounds)))


if __name__ == "__main__":
    main()
