"""Whole images by overlapping windows."""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
import torch
from jaxtyping import UInt8

from histoseg.metrics.iou import confusion
from histoseg.models.tensors import device_of
from histoseg.models.unet.network import UNet
from histoseg.types import Image, Sample, SemanticMap

WINDOWS_AT_ONCE = 8


@torch.no_grad()
def predict(model: UNet, task: str, image: Image, window_px: int, overlap: float) -> SemanticMap:
    """The most probable class of each pixel; probabilities of overlapping windows are averaged.

    An image smaller than a window is mirrored to its size first, and the result cut back.
    """
    height, width = image.shape[:2]
    padded = _mirrored(image, window_px)
    corners = [
        (top, left)
        for top in window_starts(padded.shape[0], window_px, overlap)
        for left in window_starts(padded.shape[1], window_px, overlap)
    ]
    total = torch.zeros(model.num_classes(task), *padded.shape[:2], device=device_of(model))
    for chosen in _chunks(corners, WINDOWS_AT_ONCE):
        windows = np.stack([padded[top : top + window_px, left : left + window_px] for top, left in chosen])
        probabilities = model(torch.from_numpy(windows).to(total.device), task).softmax(dim=1)
        for (top, left), part in zip(chosen, probabilities, strict=True):
            total[:, top : top + window_px, left : left + window_px] += part
    # Every class has the same number of windows at a pixel, so the sum ranks them as the mean does.
    classes: SemanticMap = total[:, :height, :width].argmax(dim=0).to(torch.uint8).cpu().numpy()
    return classes


def score(
    model: UNet, task: str, samples: Iterable[Sample], window_px: int, overlap: float
) -> Iterator[tuple[Sample, SemanticMap, np.ndarray]]:
    """Each image with its predicted map and its confusion matrix, int64 (C, C), rows true."""
    training = model.training
    model.eval()
    num_classes = model.num_classes(task)
    for sample in samples:
        predicted = predict(model, task, sample.image, window_px, overlap)
        yield sample, predicted, confusion(sample.semantic_map, predicted, num_classes)
    model.train(training)


def window_starts(length_px: int, window_px: int, overlap: float) -> list[int]:
    """Where windows begin along one side: evenly stepped, the last flush with the end."""
    last = length_px - window_px
    step = max(1, round(window_px * (1 - overlap)))
    return [*range(0, last, step), last]


def _mirrored(image: Image, least_px: int) -> UInt8[np.ndarray, "P Q 3"]:
    """The image, mirrored at its right and lower edge as often as it takes to reach a size."""
    below, beside = (max(0, least_px - side) for side in image.shape[:2])
    return np.asarray(cv2.copyMakeBorder(image, 0, below, 0, beside, cv2.BORDER_REFLECT_101))


def _chunks(items: list[tuple[int, int]], size: int) -> Iterator[list[tuple[int, int]]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
