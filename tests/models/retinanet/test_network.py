"""RetinaNet beside torchvision's own: the same losses and the same detections from the same weights."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.optimize
import scipy.spatial
import torch

from histoseg.errors import CheckpointError, ConfigError, DataError
from histoseg.maps.windows import MarginWindows, OverlapWindows
from histoseg.models.cerberus import CerberusSpec
from histoseg.models.retinanet import RetinaNetSpec
from histoseg.models.retinanet.detect import MAX_IOU, MIN_SCORE, MOST_PER_LEVEL, detect
from histoseg.models.retinanet.loss import losses_per_image, match
from histoseg.models.retinanet.network import FIRST_LEVEL, AnchorPredictions, RetinaNet
from histoseg.models.vision import import_torchvision
from histoseg.models.weights import Model, load_model, save_model
from histoseg.runs import catalog
from histoseg.store.objects import connect
from histoseg.types import Boxes

SPEC = RetinaNetSpec(encoder="resnet18", width=4)
TASKS = {"digestpath_signet": catalog.load("histoseg.sources", "digestpath_signet").TASK}


@pytest.fixture(scope="module")
def network():
    return SPEC.build(TASKS, 0, 0).eval()


def boxes(*rows):
    return Boxes(corners=np.array(rows, np.float32).reshape(-1, 4), classes=np.ones(len(rows), np.uint8))


def draw_images(count=2, side=64):
    return np.random.default_rng(1).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def torchvisions(network):
    """torchvision's network of the same modules, on images of numbers from 0 to 1 that stay as large as they are."""
    import_torchvision()
    from torchvision.models.detection import RetinaNet

    class Backbone(torch.nn.Module):
        out_channels = 16

        def forward(self, images):
            levels = network.encoder(images)[FIRST_LEVEL:]
            return network.pyramid({str(i): level for i, level in enumerate(levels)})

    return RetinaNet(
        Backbone(),
        1,
        min_size=64,  # That of the images here: in evaluation it resizes all.
        max_size=64,
        anchor_generator=network.anchors,
        head=network.head,
        image_mean=[0.0] * 3,
        image_std=[1.0] * 3,
        score_thresh=MIN_SCORE,
        nms_thresh=MAX_IOU,
        detections_per_img=10**6,
        topk_candidates=MOST_PER_LEVEL,
        _skip_resize=True,
    )


def test_losses_are_torchvisions(network):
    """One image with two objects, one without: the mean over images of both losses."""
    images, truth = draw_images(), [boxes([5, 6, 30, 27], [40, 20, 60, 52]), boxes()]
    none = [boxes(), boxes()]
    with torch.no_grad():
        own = losses_per_image(network, network(torch.from_numpy(images)), truth, none)
        other = torchvisions(network)
        other.train()
        network.eval()  # Its norms stay as they are; only torchvision's own module is in training, which gives losses.
        targets = [
            {"boxes": torch.from_numpy(one.corners), "labels": torch.zeros(len(one.classes), dtype=torch.int64)}
            for one in truth
        ]
        found = other([torch.from_numpy(image).permute(2, 0, 1) / 255 for image in images], targets)
    assert float(own.mean()) == pytest.approx(float(found["classification"] + found["bbox_regression"]), rel=1e-5)
    assert float(own[0]) > float(own[1]) > 0


def test_detections_are_torchvisions(monkeypatch):
    """In one window without a margin, before boxes suppress each other: near ties would end in another order."""
    network = SPEC.build(TASKS, 0, 0).eval()
    classify = network.head.classification_head.cls_logits  # As it begins, all scores are about 0.01.
    torch.nn.init.normal_(classify.weight, std=0.2, generator=torch.Generator().manual_seed(0))
    other = torchvisions(network).eval()
    from torchvision.ops import boxes as box_ops

    monkeypatch.setattr(
        box_ops, "batched_nms", lambda _corners, scores, _labels, _most: scores.argsort(descending=True)
    )
    monkeypatch.setattr("histoseg.models.retinanet.detect.nms", lambda _corners, scores, _most: scores.argsort())
    (image,) = draw_images(1)
    with torch.no_grad():
        (expected,) = other([torch.from_numpy(image).permute(2, 0, 1) / 255])
    found = detect(network, image, MarginWindows(window_px=64, margin_px=0))
    has_area = (expected["boxes"][:, 2:] > expected["boxes"][:, :2]).all(dim=1)  # Ours leaves out what has none.
    wanted = torch.cat([expected["boxes"], expected["scores"][:, None]], dim=1)[has_area].numpy()
    assert len(wanted) > 1000
    distances = scipy.spatial.distance.cdist(wanted, np.column_stack([found.corners, found.scores]))
    ours, theirs = scipy.optimize.linear_sum_assignment(distances)
    assert len(found.scores) == len(wanted)
    assert distances[ours, theirs].max() < 1e-3
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    assert set(found.classes.tolist()) == {1}


def test_anchors_lie_on_three_levels(network):
    with torch.no_grad():
        found = network(torch.from_numpy(draw_images(1, 96)))
    assert found.sizes == (9 * 24**2, 9 * 12**2, 9 * 6**2)
    assert found.logits.shape == (1, sum(found.sizes), 1)
    square = [
        (found.anchors[start + 3 + i, 2:] - found.anchors[start + 3 + i, :2]).tolist()
        for start in (0, 5184, 6480)
        for i in range(3)
    ]
    assert [side[0] for side in square] == pytest.approx([16, 20, 25, 32, 40, 51, 64, 81, 102], abs=1)


def test_anchors_on_objects_that_are_cut_off_learn_nothing():
    """The first anchor is on the box, the second on the hidden one, the third on neither (IoU 1, 1, 0)."""
    anchors = torch.tensor([[0, 0, 10, 10], [20, 0, 30, 10], [50, 50, 60, 60]], dtype=torch.float32)
    box, hidden, none = anchors[:1], anchors[1:2], torch.zeros(0, 4)
    assert match(anchors, box, hidden).tolist() == [0, -2, -1]
    assert match(anchors, box, none).tolist() == [0, -1, -1]
    assert match(anchors, none, hidden).tolist() == [-1, -2, -1]
    assert match(anchors, none, none).tolist() == [-1, -1, -1]


class Squares(RetinaNet):
    """Finds white squares of 16 pixels whose corners lie on multiples of 4: a network whose answer is known."""

    def __init__(self):
        torch.nn.Module.__init__(self)
        self.parts = SimpleNamespace(task="squares")
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, images):
        white = (images[..., 0] == 255).float()[:, None]
        share = torch.nn.functional.avg_pool2d(white, 16, stride=4)[:, 0]  # Of the square that begins at each corner
        top, left = torch.meshgrid(*(4 * torch.arange(side) for side in share.shape[1:]), indexing="ij")
        anchors = torch.stack([left, top, left + 16, top + 16], dim=-1).reshape(-1, 4).float()
        logits = torch.where(share == 1, 4.0, -9.0).reshape(len(images), -1, 1)
        return AnchorPredictions(
            logits=logits + self.weight,
            offsets=torch.zeros(len(images), len(anchors), 4),
            anchors=anchors,
            sizes=(len(anchors),),
        )


def test_a_network_of_nan_is_refused_instead_of_finding_nothing():
    network = Squares()
    torch.nn.init.constant_(network.weight, torch.nan)
    with pytest.raises(DataError, match=r"head squares produced NaN.*may be corrupt"):
        detect(network, np.zeros((64, 64, 3), np.uint8), MarginWindows(window_px=64, margin_px=16))


@pytest.mark.parametrize("windows", [(64, 16), (96, 16), (256, 32)])
def test_each_object_is_found_once_wherever_windows_meet(windows):
    """Within a window, on the border of two and across it."""
    corners = [[4, 8, 20, 24], [24, 20, 40, 36], [88, 60, 104, 76], [132, 84, 148, 100], [32, 64, 48, 80]]
    image = np.zeros((108, 164, 3), np.uint8)
    for left, top, right, bottom in corners:
        image[top:bottom, left:right] = 255
    found = detect(Squares(), image, MarginWindows(window_px=windows[0], margin_px=windows[1]))
    assert sorted(found.corners.tolist()) == sorted(corners)


def test_an_encoder_is_taken_over(network):
    cerberus = CerberusSpec(encoder="resnet18", width=4).build(
        {"glas": catalog.load("histoseg.sources", "glas").TASK}, 3, 96
    )
    wider = SPEC.extend(cerberus, TASKS, 1)
    for name, value in cerberus.encoder.state_dict().items():
        assert torch.equal(wider.encoder.state_dict()[name], value), name
    again = SPEC.extend(wider, TASKS, 2)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in wider.state_dict().items())
    assert not torch.equal(
        SPEC.build(TASKS, 1, 0).head.state_dict()["classification_head.conv.0.0.weight"],
        network.head.state_dict()["classification_head.conv.0.0.weight"],
    )


@pytest.mark.parametrize("other", [{"encoder": "resnet34"}, {"width": 8}, {"encoder": "unet"}])
def test_another_encoder_is_refused(other):
    task = {"glas": catalog.load("histoseg.sources", "glas").TASK}
    cerberus = replace(CerberusSpec(encoder="resnet18", width=4), **other).build(task, 0, 96)
    with pytest.raises(CheckpointError, match="the Cerberus of the stage before has no resnet18 of width 4"):
        SPEC.extend(cerberus, TASKS, 0)


def test_a_network_without_an_encoder_is_refused():
    unet = catalog.load("histoseg.models", "unet").SPEC(width=4)
    before = unet.build({"glas": catalog.load("histoseg.sources", "glas").TASK}, 0, 0)
    with pytest.raises(CheckpointError, match="the UNet of the stage before has no resnet18"):
        SPEC.extend(before, TASKS, 0)


def test_a_random_encoder_is_that_of_a_random_cerberus(network):
    task = {"glas": catalog.load("histoseg.sources", "glas").TASK}
    cerberus = CerberusSpec(encoder="resnet18", width=4).build(task, 0, 96)
    for name, value in cerberus.encoder.state_dict().items():
        assert torch.equal(network.encoder.state_dict()[name], value), name


def test_sources_without_boxes_and_several_are_refused():
    with pytest.raises(DataError, match="glas is of kind 'instance'"):
        SPEC.build({"glas": catalog.load("histoseg.sources", "glas").TASK}, 0, 0)
    with pytest.raises(DataError, match="finds the objects of one source"):
        SPEC.build({}, 0, 0)


def test_settings_are_refused_as_those_of_cerberus():
    with pytest.raises(ConfigError, match="multiple of 4"):
        RetinaNetSpec(width=6)
    with pytest.raises(ConfigError, match="empty unless the encoder is a ResNet of width 64"):
        RetinaNetSpec(width=8, weights="imagenet")


def test_a_saved_model_finds_the_same(network, tmp_path):
    classes = {"digestpath_signet": TASKS["digestpath_signet"].classes}
    model = Model(spec=SPEC, network=network, classes=classes, mpp=0.5, origin="a test", steps=1000)
    save_model(model, connect(f"file://{tmp_path}"), "model")
    loaded = load_model(tmp_path / "model")
    (image,), windows = draw_images(1), MarginWindows(window_px=64, margin_px=0)
    found = loaded.spec.predict(loaded.network, image, windows).boxes["digestpath_signet"]
    np.testing.assert_array_equal(found.corners, detect(network, image, windows).corners)


def test_outlines_cannot_be_had(network):
    with pytest.raises(ConfigError, match="finds boxes around digestpath_signet, not outlines"):
        SPEC.regions(network)
    with pytest.raises(ConfigError, match="must have a margin"):
        SPEC.detect(network, draw_images(1)[0], OverlapWindows(window_px=64))
