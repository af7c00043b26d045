"""RetinaNet on a whole image: windows with a margin, and one box where several of them find the same object."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from histoseg.maps.boxes import centred_within, cut
from histoseg.maps.windows import MarginWindows, Window, read_windows
from histoseg.models.prediction import Detections
from histoseg.models.retinanet.network import STRIDES, AnchorPredictions, RetinaNet
from histoseg.models.tensors import device_of
from histoseg.models.vision import import_torchvision, nms
from histoseg.models.window_maps import PIXELS_AT_ONCE, require_finite
from histoseg.types import Image

MIN_SCORE = 0.01  # Below torchvision's 0.05: curves of recall go on to 32 wrong boxes in an image.
MAX_IOU = 0.5  # Of two boxes that both stay, and:
MOST_PER_LEVEL = 1000  # The best of each level of a window go on (both Lin et al. 2017, Sec. 4.1).


@torch.no_grad()
def detect(network: RetinaNet, image: Image, windows: MarginWindows) -> Detections:
    """The boxes that are found in an image, from the highest score down.

    A window keeps what is centred in it without its margin; then boxes of one class suppress each other across all
    windows.

    Raises:
        DataError: If the network produces NaN or infinite values.
    """
    found = []
    places = windows.over(image, STRIDES[-1])
    at_once = max(1, PIXELS_AT_ONCE // places[0].num_seen)
    for chosen, pixels in read_windows(image, places, at_once):
        outputs = network(torch.from_numpy(pixels).to(device_of(network)))
        for values in (outputs.logits, outputs.offsets):
            require_finite(values, network.parts.task)
        found += [_in_window(outputs, i, window, (image.shape[0], image.shape[1])) for i, window in enumerate(chosen)]
    return _suppressed(found)


def _in_window(found: AnchorPredictions, i: int, window: Window, size: tuple[int, int]) -> Detections:
    """What is centred in one window without its margin, in pixels of the image and cut at its border."""
    import_torchvision()
    from torchvision.models.detection._utils import BoxCoder

    scores, rows, kinds = _best(found.logits[i].sigmoid(), found.sizes)
    coder = BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))
    corners = coder.decode_single(found.offsets[i][rows], found.anchors[rows]).cpu().numpy()
    shift = np.array([window.left - window.margin_px, window.top - window.margin_px] * 2, np.float32)
    corners = np.asarray(corners + shift, np.float32)
    top, left = window.top, window.left
    part = (top, left, min(window.height, size[0] - top), min(window.width, size[1] - left))
    corners = cut(corners, size)
    kept = centred_within(corners, part) & (corners[:, 2:] > corners[:, :2]).all(axis=1)
    return Detections(
        corners=corners[kept],
        classes=(kinds.cpu().numpy()[kept] + 1).astype(np.uint8),
        scores=scores.cpu().numpy()[kept].astype(np.float32),
    )


def _best(scores: Float[Tensor, "A K"], sizes: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, anchors and classes, counted from 0, of the best of each level."""
    parts, first, num_classes = [], 0, scores.shape[1]
    for count in sizes:
        level = scores[first : first + count].flatten()
        best, places = level.topk(min(MOST_PER_LEVEL, len(level)))
        kept = best > MIN_SCORE
        parts.append(torch.stack([best[kept].double(), (places[kept] + first * num_classes).double()]))
        first += count
    values, places = torch.cat(parts, dim=1)
    return values.float(), places.long() // num_classes, places.long() % num_classes


def _suppressed(parts: list[Detections]) -> Detections:
    corners, classes, scores = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("corners", "classes", "scores")
    )
    kept = [_stay(corners, scores, np.flatnonzero(classes == kind)) for kind in np.unique(classes)]
    order = np.concatenate([np.zeros(0, np.int64), *kept])
    order = order[np.argsort(-scores[order], kind="stable")]
    return Detections(corners=corners[order], classes=classes[order], scores=scores[order])


def _stay(corners: np.ndarray, scores: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Those of some rows that no better one suppresses."""
    return np.asarray(rows[nms(torch.from_numpy(corners[rows]), torch.from_numpy(scores[rows]), MAX_IOU).numpy()])
