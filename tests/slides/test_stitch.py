"""Regions that are settled one by one and stitched give the objects of the whole slide, pixel by pixel."""

from dataclasses import replace

import numpy as np
import pytest

from histoseg.maps.evidence import Evidence, RegionEvidence
from histoseg.maps.windows import MarginWindows
from histoseg.slides import settle as settling
from histoseg.slides import stitch as stitching
from histoseg.slides.grid import Grid, Region
from histoseg.slides.settle import Settled, Sides, settle
from histoseg.slides.stitch import stitch
from tests.slides.fields import cut, draw_evidence, find_whole, list_pixels, separator


def find_by_region(evidence, rules, size_px, region_px):
    """All objects, with the number of those that were stitched."""
    grid = Grid(size_px=size_px, windows=MarginWindows(window_px=16, margin_px=0), unit_px=16, region_px=region_px)
    rows, columns = grid.counts
    settled = []
    for region in grid.regions():
        sides = Sides(
            top=region.row > 0, left=region.column > 0, bottom=region.row < rows - 1, right=region.column < columns - 1
        )
        settled.append(settle(cut(evidence, region), rules, sides, (region.name, region.top, region.left)))
    left_over = Settled(
        pieces=[piece for one in settled for piece in one.pieces],
        solids=[solid for one in settled for solid in one.solids],
        strips=[strip for one in settled for strip in one.strips],
    )
    stitched = list(stitch(left_over, rules, size_px))
    return [*(found for one in settled for found in one.found), *stitched], len(list_pixels(stitched))


@pytest.mark.parametrize("contour", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_the_objects_are_those_of_one_large_region(seed, contour):
    rng = np.random.default_rng(seed)
    size_px = tuple(int(side) for side in rng.integers(150, 420, 2))
    rules = separator(contour)
    evidence = draw_evidence(rng, size_px, grains=(int(rng.integers(6, 14)), 5, 2), contour=contour)
    whole = list_pixels(find_whole(evidence, rules))
    found, num_stitched = find_by_region(evidence, rules, size_px, int(rng.choice([48, 64, 112])))
    assert {one[0] for one in whole} >= {"nuclei"}
    assert num_stitched > 0
    assert list_pixels(found) == whole


def ring(size_px, centre, radius, width):
    y, x = np.mgrid[: size_px[0], : size_px[1]]
    distance = np.hypot(y - centre[0], x - centre[1])
    return (distance <= radius) & (distance > radius - width)


def disc(size_px, centre, radius):
    return ring(size_px, centre, radius, radius + 1)


def test_a_gland_larger_than_a_region_is_one_object():
    """It touches twelve regions; its hole is filled, and what is a lumen in there lies within it."""
    size_px, centre = (400, 300), (200, 150)
    gland, lumen = ring(size_px, centre, 120, 40), disc(size_px, centre, 50)
    evidence = RegionEvidence(objects={"gland": Evidence(mask=gland), "lumen": Evidence(mask=lumen)})
    rules = replace(separator(), chosen=("gland", "lumen"))
    found, _ = find_by_region(evidence, rules, size_px, 96)
    objects = list_pixels(found)
    assert [one[0] for one in objects] == ["gland", "lumen"]
    assert objects == list_pixels(find_whole(evidence, rules))
    areas = [len(one[1]) for one in objects]
    assert areas[0] == pytest.approx(np.pi * 124.5**2, rel=0.01)  # Grown by an ellipse of 10 px
    assert areas[1] == pytest.approx(np.pi * 51**2, rel=0.03)  # By one of 2 px, which reaches one pixel up and left


def test_what_a_ring_across_a_corner_of_regions_surrounds_is_its_own():
    """Markers of nuclei are filled, so the small nucleus in the middle belongs to the ring around it."""
    size_px, centre = (256, 256), (124, 132)
    marks = ring(size_px, centre, 40, 12) | disc(size_px, (112, 112), 5)
    inner = np.where(marks, np.random.default_rng(0).uniform(0.6, 0.9, size_px), 0.1).astype(np.float32)
    evidence = RegionEvidence(objects={"nuclei": Evidence(mask=marks, inner=inner)})
    rules = replace(separator(), chosen=("nuclei",))
    found, num_stitched = find_by_region(evidence, rules, size_px, 128)
    objects = list_pixels(found)
    assert num_stitched == len(objects) == 1
    assert objects == list_pixels(find_whole(evidence, rules))


def test_a_large_region_settles_most_by_itself():
    evidence = draw_evidence(np.random.default_rng(1), (600, 640))
    found, num_stitched = find_by_region(evidence, separator(), (600, 640), 320)
    assert 10 < num_stitched < len(list_pixels(found)) / 2


def test_lumina_outside_of_every_gland_are_dropped_wherever_they_lie():
    size_px = (200, 200)
    lumen = disc(size_px, (100, 100), 12) | disc(size_px, (30, 30), 12) | disc(size_px, (160, 96), 12)
    gland = disc(size_px, (40, 40), 30)
    evidence = RegionEvidence(objects={"gland": Evidence(mask=gland), "lumen": Evidence(mask=lumen)})
    rules = replace(separator(), chosen=("gland", "lumen"))
    found, _ = find_by_region(evidence, rules, size_px, 96)
    assert list_pixels(found) == list_pixels(find_whole(evidence, rules))
    assert [one[0] for one in list_pixels(found)] == ["gland", "lumen"]


def test_a_group_too_large_for_memory_is_made_square_by_square(monkeypatch):
    """Its objects are all smaller than what is seen around a square, so they are the same."""
    monkeypatch.setattr(stitching, "MOST_PX", 0)
    monkeypatch.setattr(stitching, "SQUARE_PX", 64)
    monkeypatch.setattr(stitching, "AROUND_PX", 160)
    drawn = draw_evidence(np.random.default_rng(4), (300, 320))
    evidence = RegionEvidence(objects={"nuclei": drawn.objects["nuclei"]})
    rules = replace(separator(), chosen=("nuclei",))
    found, num_stitched = find_by_region(evidence, rules, (300, 320), 96)
    assert num_stitched > 50
    assert list_pixels(found) == list_pixels(find_whole(evidence, rules))


def test_of_a_part_as_large_as_a_region_only_what_is_near_its_border_is_kept(monkeypatch):
    """Nuclei that touch each other everywhere; each is made of its own marker, so no other can change it from afar."""
    size_px = (400, 400)
    y, x = np.mgrid[:400, :400]
    hills = np.cos(2 * np.pi * x / 20) * np.cos(2 * np.pi * y / 20)  # A nucleus every 20 pixels, and half way between
    inner = (0.35 + 0.3 * hills + np.random.default_rng(0).uniform(0, 1e-3, size_px)).astype(np.float32)
    evidence = RegionEvidence(objects={"nuclei": Evidence(mask=np.ones(size_px, bool), inner=inner)})
    rules = replace(separator(), chosen=("nuclei",))
    whole = list_pixels(find_whole(evidence, rules))
    assert len(whole) > 700
    monkeypatch.setattr(settling, "LARGE_PX", 5000)
    monkeypatch.setattr(settling, "NEAR_PX", 30)
    sides = Sides(bottom=True, right=True)
    region = Region(row=0, column=0, top=0, left=0, height=208, width=208)
    settled = settle(cut(evidence, region), rules, sides, ("0000-0000", 0, 0))
    assert sum(piece.part.sum() for piece in settled.pieces) < 0.6 * 208**2  # A strip of 60 to 80 of 208 on two sides
    assert settled.found[0].instance_map.max() > 100
    found, _ = find_by_region(evidence, rules, size_px, 208)
    assert list_pixels(found) == whole


def test_nuclei_beside_a_chain_along_the_borders_are_settled():
    """The chain's box is the whole region, but none of its markers, which are filled, surrounds anything."""
    size_px = (200, 200)
    chain = np.zeros(size_px, bool)
    chain[180:] = chain[:, 180:] = True
    marks = chain & (np.indices(size_px).sum(axis=0) % 20 < 8)
    nucleus = disc(size_px, (60, 60), 8)
    inner = np.where(marks | nucleus, np.random.default_rng(0).uniform(0.6, 0.9, size_px), 0.1).astype(np.float32)
    rules = replace(separator(), chosen=("nuclei",))
    objects = {"nuclei": Evidence(mask=chain | nucleus, inner=inner)}
    settled = settle(objects, rules, Sides(bottom=True, right=True), ("0000-0000", 0, 0))
    assert settled.found[0].instance_map.max() == 1
    assert len(settled.pieces) == 1
