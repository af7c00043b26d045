"""torchvision beside a torch without its compiled operators, and suppression of overlapping boxes."""

import subprocess
import sys

import pytest
import torch

from histoseg.maps.boxes import suppress
from histoseg.models.vision import has_operators, import_torchvision, nms

# A 10×10 box; one shifted by 2 to the right (IoU 80 / 120 = 2/3); one shifted by 5 (IoU with the first 50 / 150 = 1/3,
# with the second 70 / 130 = 7/13); one far off.
BOXES = torch.tensor([[0, 0, 10, 10], [2, 0, 12, 10], [5, 0, 15, 10], [40, 40, 50, 50]], dtype=torch.float32)


def test_torchvision_is_imported_in_a_new_process():
    program = (
        "from histoseg.models.vision import import_torchvision as i; print(i().__version__[:2]);"
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


def test_suppression_worked_by_hand():
    """The first suppresses the second, which would have suppressed the third."""
    assert nms(BOXES, torch.tensor([0.9, 0.8, 0.7, 0.95]), 0.5).tolist() == [3, 0, 2]
    assert nms(torch.zeros(0, 4), torch.zeros(0), 0.5).shape == (0,)


def test_the_compiled_operator_keeps_the_same():
    if not has_operators():
        pytest.skip("runs where torchvision's compiled library fits torch")
    generator = torch.Generator().manual_seed(4)
    corner = torch.rand(300, 2, generator=generator) * 60
    boxes, scores = torch.cat([corner, corner + 15], 1), torch.rand(300, generator=generator)
    assert nms(boxes, scores, 0.3).tolist() == suppress(boxes.numpy(), scores.numpy(), 0.3).tolist()


def test_wrong_shape_and_type_are_refused():
    with pytest.raises(TypeError):
        nms(torch.zeros(2, 3), torch.zeros(2), 0.5)
    with pytest.raises(TypeError):
        nms(torch.zeros(2, 4, dtype=torch.int64), torch.zeros(2), 0.5)
