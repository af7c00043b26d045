"""torchvision beside a torch without its compiled operators, and suppression of overlapping boxes."""

import subprocess
import sys

import pytest
import torch

from histoseg.models.vision import box_iou, has_operators, import_torchvision, nms, nms_in_torch

# A 10×10 box; one shifted by 2 to the right (IoU 80 / 120 = 2/3); one shifted by 5 (IoU with the first 50 / 150 = 1/3,
# with the second 70 / 130 = 7/13); one far off.
BOXES = torch.tensor([[0, 0, 10, 10], [2, 0, 12, 10], [5, 0, 15, 10], [40, 40, 50, 50]], dtype=torch.float32)


def test_torchvision_and_timm_are_imported_in_a_new_process():
    program = (
        "from histoseg.models.vision import import_torchvision as i; i(); import timm; print(i().__version__[:2]);"
        "from torchvision.models.detection import RetinaNet"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0."


def test_other_errors_of_the_import_are_raised(monkeypatch):
    def fails(name):
        raise RuntimeError("CUDA versions differ")

    monkeypatch.setattr("histoseg.models.vision.importlib.import_module", fails)
    with pytest.raises(RuntimeError, match="CUDA versions differ"):
        import_torchvision()


def test_iou_worked_by_hand():
    expected = torch.tensor([[1, 2 / 3, 1 / 3, 0], [2 / 3, 1, 7 / 13, 0]])
    torch.testing.assert_close(box_iou(BOXES[:2], BOXES), expected)


@pytest.mark.parametrize("suppress", [nms, nms_in_torch])
@pytest.mark.parametrize(
    ("scores", "max_iou", "kept"),
    [
        # The first suppresses the second, which would have suppressed the third.
        ([0.9, 0.8, 0.7, 0.95], 0.5, [3, 0, 2]),
        # The second is best: both its neighbours go.
        ([0.8, 0.9, 0.7, 0.1], 0.5, [1, 3]),
        # At exactly its IoU a box stays; equal scores keep their order.
        ([0.5, 0.1, 0.5, 0.5], 1 / 3, [0, 2, 3]),
        ([0.5, 0.1, 0.4, 0.5], 0.3, [0, 3]),
    ],
)
def test_suppression_worked_by_hand(suppress, scores, max_iou, kept):
    exact = torch.tensor(max_iou, dtype=torch.float32).item() if max_iou == 1 / 3 else max_iou
    assert suppress(BOXES, torch.tensor(scores), exact).tolist() == kept


@pytest.mark.parametrize("suppress", [nms, nms_in_torch])
def test_no_boxes(suppress):
    assert suppress(torch.zeros(0, 4), torch.zeros(0), 0.5).shape == (0,)


def test_property_of_what_stays_and_what_goes():
    """No two that stay overlap too much, and each that goes overlaps a better one that stays."""
    generator = torch.Generator().manual_seed(3)
    corner, size = torch.rand(200, 2, generator=generator) * 50, torch.rand(200, 2, generator=generator) * 20 + 1
    boxes, scores = torch.cat([corner, corner + size], 1), torch.rand(200, generator=generator)
    kept = nms_in_torch(boxes, scores, 0.4)
    assert scores[kept].tolist() == sorted(scores[kept].tolist(), reverse=True)
    among = box_iou(boxes[kept], boxes[kept]).fill_diagonal_(0)
    assert 1 < len(kept) < 200
    assert among.max() <= 0.4
    for gone in set(range(200)) - set(kept.tolist()):
        overlaps = box_iou(boxes[gone][None], boxes[kept])[0] > 0.4
        assert (scores[kept][overlaps] >= scores[gone]).any()


def test_the_compiled_operator_keeps_the_same():
    if not has_operators():
        pytest.skip("runs where torchvision's compiled library fits torch")
    generator = torch.Generator().manual_seed(4)
    corner = torch.rand(300, 2, generator=generator) * 60
    boxes, scores = torch.cat([corner, corner + 15], 1), torch.rand(300, generator=generator)
    assert torch.equal(nms(boxes, scores, 0.3), nms_in_torch(boxes, scores, 0.3))


def test_wrong_shape_and_type_are_refused():
    with pytest.raises(TypeError):
        nms_in_torch(torch.zeros(2, 3), torch.zeros(2), 0.5)
    with pytest.raises(TypeError):
        nms_in_torch(torch.zeros(2, 4, dtype=torch.int64), torch.zeros(2), 0.5)
