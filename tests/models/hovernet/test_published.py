"""Published checkpoints of HoVer-Net. Those made here are networks of ours under the published names and shapes."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from histoseg.errors import CheckpointError
from histoseg.inference.array import segment
from histoseg.models.hovernet.network import HoVerNetParts, build
from histoseg.models.hovernet.published import PUBLISHED_CLASSES, import_published, published_name
from histoseg.models.published import import_published as import_any
from histoseg.models.weights import load_model, save_model
from histoseg.slides.objects import ObjectFile
from histoseg.sources import consep, pannuke
from histoseg.store.objects import FileStore
from tests.command import succeed

# Some names of the published state dict, from a listing of it in issue 92 of github.com/vqdang/hover_net, and shapes.
KNOWN = {
    "conv0./.weight": (64, 3, 7, 7),
    "conv0.bn.running_var": (64,),
    "d0.units.0.conv1.weight": (64, 64, 1, 1),
    "d0.units.1.preact/bn.weight": (256,),
    "d0.units.1.conv1/bn.bias": (64,),
    "d1.units.0.conv2/bn.running_mean": (128,),
    "d1.shortcut.weight": (512, 256, 1, 1),
    "d3.units.2.conv3.weight": (2048, 512, 1, 1),
    "d3.blk_bna.bn.weight": (2048,),
    "conv_bot.weight": (1024, 2048, 1, 1),
    "decoder.np.u3.conva.weight": (256, 1024, 3, 3),
    "decoder.np.u3.dense.units.7.preact_bna/bn.weight": (480,),
    "decoder.np.u3.dense.units.7.conv1/bn.running_var": (128,),
    "decoder.np.u3.dense.units.6.conv2.weight": (32, 32, 3, 3),
    "decoder.np.u3.dense.blk_bna.bn.bias": (512,),
    "decoder.np.u3.convf.weight": (512, 512, 1, 1),
    "decoder.hv.u2.conva.weight": (128, 512, 3, 3),
    "decoder.hv.u2.dense.units.0.preact_bna/bn.weight": (128,),
    "decoder.tp.u1.conva.weight": (64, 256, 3, 3),
    "decoder.tp.u0.bn.weight": (64,),
    "decoder.tp.u0.conv.bias": (6,),
}


def checkpoint(mode="fast", num_types=6, width=8):
    """Tensors of the published layout, statistics of norms included, all of them random; narrow, to be quick."""
    random = torch.Generator().manual_seed(0)
    network = build(HoVerNetParts(mode=mode, num_types=num_types, width=width), 0)
    tensors = {published_name(name): value for name, value in network.state_dict().items()}
    for value in tensors.values():
        if value.dim() == 1:  # All of norms, and biases
            value.uniform_(0.5, 1.5, generator=random)
    tensors["upsample2x.unpool_mat"] = torch.ones(2, 2)
    return tensors


@pytest.fixture(scope="module")
def pannuke_like():
    """Of the published width."""
    return checkpoint(width=64)


@pytest.fixture(scope="module")
def narrow():
    return checkpoint()


def saved(path, tensors):
    torch.save({"desc": tensors}, path)
    return path


def test_names_and_shapes_are_the_published_ones(pannuke_like):
    assert {name: tuple(pannuke_like[name].shape) for name in KNOWN} == KNOWN
    assert not [name for name in pannuke_like if name.startswith(("encoder", "decoders", "bottom"))]


class Published:
    """The published forward pass, restated from its description on the tensors of the file."""

    def __init__(self, tensors, kernel, crops):
        self.tensors, self.kernel, self.crops = tensors, kernel, crops

    def conv(self, x, name, **how):
        return functional.conv2d(x, self.tensors[f"{name}.weight"], self.tensors.get(f"{name}.bias"), **how)

    def active(self, x, name):
        parts = (self.tensors[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return functional.batch_norm(x, *parts, training=False, eps=1e-5).relu()

    def residual(self, x, name, count, stride):
        shortcut = self.conv(x, f"{name}.shortcut", stride=stride)
        for i in range(count):
            unit, step = f"{name}.units.{i}", 1 if i else stride
            if i:
                x = self.active(x, f"{unit}.preact/bn")
            x = self.active(self.conv(x, f"{unit}.conv1"), f"{unit}.conv1/bn")
            x = functional.pad(x, (0, 1, 0, 1) if step == 2 else (1, 1, 1, 1))
            x = self.active(self.conv(x, f"{unit}.conv2", stride=step), f"{unit}.conv2/bn")
            x = shortcut = self.conv(x, f"{unit}.conv3") + shortcut
        return self.active(x, f"{name}.blk_bna.bn")

    def dense(self, x, name, count):
        for i in range(count):
            unit = f"{name}.units.{i}"
            new = self.active(self.conv(self.active(x, f"{unit}.preact_bna/bn"), f"{unit}.conv1"), f"{unit}.conv1/bn")
            new = self.conv(new, f"{unit}.conv2", groups=4)
            cut = (self.kernel - 1) // 2
            x = torch.cat([x[:, :, cut:-cut, cut:-cut], new], dim=1)
        return self.active(x, f"{name}.blk_bna.bn")

    def up(self, x):
        return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)

    def __call__(self, images):
        x = images.permute(0, 3, 1, 2) / 255.0
        x = functional.pad(x, (3, 3, 3, 3)) if self.kernel == 3 else x
        x = d0 = self.residual(self.active(self.conv(x, "conv0./"), "conv0.bn"), "d0", 3, 1)
        x = d1 = self.residual(x, "d1", 4, 2)
        x = d2 = self.residual(x, "d2", 6, 2)
        bottom = self.conv(self.residual(x, "d3", 3, 2), "conv_bot")
        d0, d1 = (d[:, :, cut:-cut, cut:-cut] for d, cut in zip((d0, d1), self.crops, strict=True))
        found = {}
        for name in ("tp", "np", "hv"):
            own = f"decoder.{name}"
            x = self.conv(self.up(bottom) + d2, f"{own}.u3.conva")
            x = self.conv(self.dense(x, f"{own}.u3.dense", 8), f"{own}.u3.convf")
            x = self.conv(self.up(x) + d1, f"{own}.u2.conva")
            x = self.conv(self.dense(x, f"{own}.u2.dense", 4), f"{own}.u2.convf")
            pad = (self.kernel - 1) // 2
            x = self.conv(functional.pad(self.up(x) + d0, (pad, pad, pad, pad)), f"{own}.u1.conva")
            found[name] = self.conv(self.active(x, f"{own}.u0.bn"), f"{own}.u0.conv")
        return found


@pytest.mark.parametrize(
    ("mode", "num_types", "side", "crops"), [("fast", 6, 128, (46, 18)), ("original", 5, 206, (92, 36))]
)
def test_the_imported_network_computes_what_the_published_one_does(mode, num_types, side, crops, tmp_path):
    """Crops of 92 and 36 pixels in all, or 184 and 72, are stated in the published code."""
    tensors = checkpoint(mode, num_types)
    model = import_published(saved(tmp_path / "weights.tar", tensors))
    image = torch.randint(0, 256, (1, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        wanted = Published(tensors, 3 if mode == "fast" else 5, crops)(image)
        found = model.network(image)
    for name, value in wanted.items():
        assert value.shape == found[name].shape
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-3 * float(value.abs().max()))


def test_classes_are_those_of_the_data_set_that_mode_and_number_tell():
    assert PUBLISHED_CLASSES["fast", 6] == pannuke.TASK.classes
    assert PUBLISHED_CLASSES["original", 5] == consep.TASK.classes


def test_a_published_checkpoint_becomes_a_model(pannuke_like, tmp_path, capsys):
    path = saved(tmp_path / "weights.tar", pannuke_like)
    printed = succeed(capsys, "import-weights", path, "--out", tmp_path / "model").splitlines()
    assert printed[:2] == ["37,639,626 parameters", "2 heads with so many classes: nuclei 2, nuclei_type 6"]
    model = load_model(tmp_path / "model")
    assert model.mpp == 0.25
    assert model.classes == {"nuclei_type": PUBLISHED_CLASSES["fast", 6]}
    assert (model.spec.mode, model.spec.width) == ("fast", 64)


def test_an_imported_model_segments_an_image(narrow, tmp_path, capsys):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    path = saved(tmp_path / "weights.tar", narrow)
    succeed(capsys, "import-weights", path, "--out", tmp_path / "model")
    words = ("--mpp", "0.25", "--model", tmp_path / "model", "--out", tmp_path / "found")
    succeed(capsys, "segment", tmp_path / "one.png", *words)
    table = ObjectFile.open(FileStore(tmp_path / "found"), "one/objects.parquet").read()
    assert set(table["structure"].to_pylist()) <= {"nuclei"}
    assert set(table["class"].to_pylist()) <= {*PUBLISHED_CLASSES["fast", 6], None}


def test_a_checkpoint_without_classes_and_of_a_wrapped_network(tmp_path):
    """Kumar's, for example; networks that several GPUs trained have "module." before each name."""
    tensors = {f"module.{name}": value for name, value in checkpoint("original", 0).items()}
    model = import_any(saved(tmp_path / "weights.tar", tensors))
    assert (model.spec.mode, model.classes) == ("original", {})
    save_model(model, FileStore(tmp_path / "model"), "")
    assert dict(load_model(tmp_path / "model").spec.heads(model.network).num_classes) == {"nuclei": 2}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"decoder.tp.u0.conv.bias": torch.zeros(7)}, "has 7 classes in mode fast; the published ones have 6 in mode"),
        ({"decoder.np.u3.conva.weight": torch.zeros(32, 128, 7, 7)}, "expected kernels of 3 .fast. or 5 .original."),
        ({"d1.shortcut.weight": torch.zeros(64, 16, 1, 1)}, r"d1.shortcut.weight is \(64, 16, 1, 1\) instead of"),
        ({"decoder.xx.u0.conv.bias": torch.zeros(2)}, "has decoder.xx.u0.conv.bias, which the network has not"),
        ({"decoder.np.u3.conva.weight": None}, r"no published checkpoint.*conv_map.weight \(cerberus\)"),
        ({"conv_bot.weight": None}, "lacks conv_bot.weight"),
        ({"conv0./.weight": None}, "conv0./.weight is missing; expected"),
    ],
)
def test_other_layouts_are_refused_in_one_line(narrow, change, text, tmp_path):
    tensors = {name: value for name, value in {**narrow, **change}.items() if value is not None}
    with pytest.raises(CheckpointError, match=text) as caught:
        import_any(saved(tmp_path / "weights.tar", tensors))
    assert "\n" not in str(caught.value)


def test_a_file_that_would_run_code_is_not_read(tmp_path):
    torch.save({"desc": {"decoder.np.u3.conva.weight": segment}}, tmp_path / "weights.tar")
    with pytest.raises(CheckpointError, match="cannot be read safely"):
        import_any(tmp_path / "weights.tar")
