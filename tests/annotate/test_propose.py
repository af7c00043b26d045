"""A round's plan: regions that do not overlap, the difficult ones first, each only once over all rounds."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from histoseg.annotate.candidates import Box, Viewer, candidates
from histoseg.annotate.page import make_page
from histoseg.annotate.plan import TABLE, read_plan, write_plan
from histoseg.annotate.propose import Wish, propose
from histoseg.errors import ConfigError, DataError
from histoseg.maps.windows import MarginWindows
from histoseg.models.spec import Heads
from histoseg.models.unet import UNetSpec
from histoseg.slides.reader import open_slide
from histoseg.slides.tissue import all_of
from tests.annotate.rounds import MPP, draw_images
from tests.slides.blobs import draw_model


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    return draw_images(tmp_path_factory.mktemp("annotate") / "images")


def plan_of(addresses, **wish):
    wanted = {"count": 3, "structure": "nuclei", "size_px": 100, "mpp": MPP, **wish}
    return propose(addresses, draw_model(), "blobs", Wish(**wanted))


@pytest.mark.parametrize(
    ("size_px", "expected"),
    [
        (100, [(0, 0), (0, 100), (0, 200), (100, 0), (100, 100), (100, 200)]),
        (90, [(10, 15), (10, 105), (10, 195), (100, 15), (100, 105), (100, 195)]),  # 20 and 30 px left, half each side
        (250, [(0, 25)]),  # The height of 200 px is taken whole.
    ],
)
def test_regions_lie_side_by_side_in_the_middle(addresses, size_px, expected):
    with open_slide(addresses[0], MPP) as slide:
        boxes = candidates(slide, all_of(slide), size_px, MPP)
    assert [(box.top, box.left) for box in boxes] == expected
    assert {(box.height, box.width) for box in boxes} == {(min(size_px, 200), size_px)}


def look(slide, box, mpp=MPP, windows=None):
    viewer = Viewer(model=draw_model(), structure="nuclei", mpp=mpp, windows=windows or MarginWindows())
    return viewer.look(slide, box).difficulty


def test_the_score_is_the_mean_over_the_region(addresses):
    """The model of the tests finds dark pixels difficult: the mean darkness, computed here from the pixels."""
    box = Box(top=20, left=30, height=80, width=60)
    with open_slide(addresses[1], MPP) as slide:
        found = look(slide, box, windows=MarginWindows(window_px=96, margin_px=16))
        pixels = slide.read(20, 30, 80, 60, MPP)
    assert found == pytest.approx(np.mean(1 - pixels.mean(axis=2) / 255), abs=1e-6)


def test_a_region_at_another_resolution_than_the_model_is_the_same_tissue(addresses):
    with open_slide(addresses[1], MPP) as slide:
        coarse = look(slide, Box(top=10, left=20, height=50, width=40), 1.0)
        fine = look(slide, Box(top=20, left=40, height=100, width=80), 0.5)
    assert coarse == pytest.approx(fine)


def test_difficult_regions_come_first_from_several_images(addresses):
    plan, ranking = plan_of(addresses, per_image=2)
    scores = [region.score for region in ranking]
    assert scores == sorted(scores, reverse=True)
    assert len(ranking) == plan.candidates == 12
    assert [region.image for region in plan.regions] == ["dense", "dense", "sparse"]
    assert plan.regions[:2] == tuple(ranking[:2])
    assert plan.classes[0] == "background"


def test_representative_regions_come_before_the_others(addresses):
    plan, ranking = plan_of(addresses, strategy="representative")
    assert [region.rank for region in plan.regions] == [1, 2, 3]
    others = [region.score for region in ranking[3:]]
    assert others == sorted(others, reverse=True)
    assert len(ranking) == 12
    second, _ = plan_of(addresses, strategy="representative", done=done_by(plan))
    both, _ = plan_of(addresses, strategy="representative", count=6)
    assert [one.name for one in (*plan.regions, *second.regions)] == [one.name for one in both.regions]
    with pytest.raises(ConfigError, match="--per-image: leave it out"):
        plan_of(addresses, strategy="representative", per_image=1)


def test_chance_chooses_by_its_seed_and_gives_no_score(addresses):
    names = [[one.name for one in plan_of(addresses, strategy="random", seed=seed)[0].regions] for seed in (0, 0, 1)]
    assert names[0] == names[1] != names[2]
    assert {region.score for region in plan_of(addresses, strategy="random")[1]} == {None}


def done_by(plan):
    return {region.name: region.image for region in plan.regions}


def test_regions_of_earlier_rounds_are_left_out(addresses):
    first, _ = plan_of(addresses)
    second, _ = plan_of(addresses, done=done_by(first))
    assert not first.by_name.keys() & second.by_name.keys()
    everything, _ = plan_of(addresses, count=12)
    with pytest.raises(DataError, match="no region left"):
        plan_of(addresses, done=done_by(everything))


def test_an_image_that_has_more_from_earlier_rounds_waits(addresses):
    first, _ = plan_of(addresses, count=3, per_image=1)
    assert sorted(region.image for region in first.regions) == ["dense", "dense", "sparse"]
    second, ranking = plan_of(addresses, count=1, per_image=1, done=done_by(first))
    assert ranking[0].image == "dense"
    assert [region.image for region in second.regions] == ["sparse"]


def test_a_round_is_a_plan_a_table_and_a_page(addresses, tmp_path):
    plan, ranking = plan_of(addresses)
    write_plan(tmp_path, plan, ranking, make_page(plan, ranking))
    assert read_plan(tmp_path) == plan
    rows = list(csv.DictReader((tmp_path / TABLE).read_text().splitlines()))
    assert [int(row["rank"]) for row in rows] == list(range(1, 13))
    assert [row["name"] for row in rows if row["chosen"] == "True"] == [region.name for region in plan.regions]
    page = (tmp_path / "index.html").read_text()
    assert page.count("data:image/jpeg") == 3
    assert all(region.name in page for region in plan.regions)
    assert "representative" not in page
    assert "are representative" in make_page(*plan_of(addresses, strategy="representative"))


def test_a_plan_that_cannot_be_read_says_so(tmp_path):
    with pytest.raises(DataError, match=r"holds no plan\.json"):
        read_plan(tmp_path)
    (tmp_path / "plan.json").write_text('{"format": 1}')
    with pytest.raises(DataError, match="made_at"):
        read_plan(tmp_path)


def test_what_cannot_be_wished_for_is_refused(addresses):
    with pytest.raises(ConfigError, match="--structure"):
        plan_of(addresses, structure="")
    tissue = UNetSpec(width=4)
    network = tissue.rebuild(Heads(num_classes={"kather5k": 9}))
    with pytest.raises(ConfigError, match="of tissue finds no objects"):
        propose(addresses, replace(draw_model(), spec=tissue, network=network, origin="one of tissue"), "", Wish())
    with pytest.raises(ConfigError, match="vessel"):
        plan_of(addresses, structure="vessel")
    with pytest.raises(ConfigError, match="--region-mpp 50"):
        plan_of(addresses, region_mpp=50.0)
    with pytest.raises(ConfigError, match="--count 0"):
        plan_of(addresses, count=0)
