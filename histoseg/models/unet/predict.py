"""The U-Net on a whole image, window by window."""

import torch

from histoseg.maps.windows import Windows, read_windows
from histoseg.models.tensors import device_of
from histoseg.models.unet.network import UNet
from histoseg.types import Image, SemanticMap

WINDOWS_AT_ONCE = 8


@torch.no_grad()
def predict(model: UNet, task: str, image: Image, windows: Windows) -> SemanticMap:
    """The most probable class of each pixel; probabilities of overlapping windows are averaged.

    An image smaller than a window is mirrored to its size.
    """
    total = torch.zeros(model.num_classes(task), *image.shape[:2], device=device_of(model))
    for seen, pixels in read_windows(image, windows.over(image), WINDOWS_AT_ONCE):
        probabilities = model(torch.from_numpy(pixels).to(total.device), task).softmax(dim=1)
        for window, part in zip(seen, probabilities, strict=True):
            place = total[:, *window.place]
            place += part[:, *window.core][:, : place.shape[1], : place.shape[2]]
    # Every class has the same number of windows at a pixel, so the sum ranks them as the mean does.
    classes: SemanticMap = total.argmax(dim=0).to(torch.uint8).cpu().numpy()
    return classes
