"""The loss of RetinaNet as torchvision computes it: of each image by its own anchors, so that ranks' shares add up."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from histoseg.models.retinanet.network import AnchorPredictions, RetinaNet
from histoseg.models.tensors import device_of, to_device
from histoseg.models.vision import import_torchvision
from histoseg.types import BoxBatch, Boxes

FOREGROUND, BACKGROUND = (
    0.5,
    0.4,
)  # IoU with a box from which and below which an anchor learns (Lin et al. 2017, Sec. 4)


def total_loss(network: RetinaNet, batch: BoxBatch) -> Float[Tensor, ""]:
    """The sum of the losses of a rank's images; a rank without an image takes part in the norms of the others."""
    images = to_device(batch.images, device_of(network))
    if not batch.boxes:  # torchvision's heads take no empty batch.
        return torch.stack([level.sum().float() for level in network.features(images)]).sum()
    return losses_per_image(network, network(images), batch.boxes, batch.hidden).sum()


def losses_per_image(
    network: RetinaNet, found: AnchorPredictions, boxes: Sequence[Boxes], hidden: Sequence[Boxes]
) -> Float[Tensor, " B"]:
    """Each image's focal loss plus L1 loss of its boxes, both divided by its anchors on an object, at least 1.

    Anchors on `hidden` boxes, of objects that are mostly cut off, learn neither that there is an object nor that there
    is none.
    """
    device, losses = found.logits.device, []
    for i, (own, cut) in enumerate(zip(boxes, hidden, strict=True)):
        corners = to_device(own.corners, device)
        target = {"boxes": corners, "labels": to_device(own.classes, device).long() - 1}
        matched = match(found.anchors, corners, to_device(cut.corners, device))
        outputs = {"cls_logits": found.logits[i : i + 1], "bbox_regression": found.offsets[i : i + 1]}
        parts = network.head.compute_loss([target], outputs, [found.anchors], [matched])
        losses.append(parts["classification"] + parts["bbox_regression"])
    return torch.stack(losses)


def match(
    anchors: Float[Tensor, "A 4"], boxes: Float[Tensor, "N 4"], hidden: Float[Tensor, "M 4"]
) -> Int64[Tensor, " A"]:
    """The box that each anchor stands for; -1 for background, -2 for neither.

    An anchor stands for the box that it overlaps most if their IoU is at least FOREGROUND, or if no anchor overlaps the
    box more.
    """
    import_torchvision()
    from torchvision.models.detection._utils import Matcher
    from torchvision.ops import box_iou

    matched = torch.full((len(anchors),), Matcher.BELOW_LOW_THRESHOLD, dtype=torch.int64, device=anchors.device)
    if len(boxes):
        matched = Matcher(FOREGROUND, BACKGROUND, allow_low_quality_matches=True)(box_iou(boxes, anchors))
    if len(hidden):
        on_hidden = box_iou(hidden, anchors).amax(dim=0) >= BACKGROUND
        matched[on_hidden & (matched < 0)] = Matcher.BETWEEN_THRESHOLDS
    return matched
