"""`histoseg import-weights`: a published checkpoint becomes a model."""

import torch

from histoseg.models.cerberus.network import CerberusParts, build
from histoseg.models.cerberus.published import published_name
from histoseg.models.weights import load_model
from tests.command import run


def test_import_weights_makes_a_model_that_predict_takes(capsys, tmp_path):
    network = build(CerberusParts(decoders={"nuclei": 2}), 0)
    tensors = {published_name(name): value for name, value in network.state_dict().items()}
    torch.save({"desc": tensors}, tmp_path / "weights.tar")
    code, out, err = run(capsys, "import-weights", tmp_path / "weights.tar", "--out", tmp_path / "model")
    assert code == 0, err
    count, heads, last = out.splitlines()
    assert count == "22,678,242 parameters"  # Encoder 21,284,672, 1×1 131,072, decoder 1,255,872, two classes 6,626
    assert heads == "1 heads with so many classes: nuclei 2"
    assert last == str(tmp_path / "model")
    assert load_model(tmp_path / "model").mpp == 0.5


def test_import_weights_of_no_file_leaves_nothing(capsys, tmp_path):
    code, _, err = run(capsys, "import-weights", tmp_path / "weights.tar", "--out", tmp_path / "model")
    assert code == 1
    assert "weights.tar: no such file" in err
    assert not (tmp_path / "model").exists()
