"""Task sampling of Cerberus: what the paper draws, drawn with the stated probabilities, alike on every rank."""

from collections import Counter
from dataclasses import dataclass, replace
from itertools import islice

import cv2
import numpy as np
import pytest
from scipy.stats import chisquare

from histoseg.errors import ConfigError, DataError
from histoseg.loaders.mixed import MixedSampler, Pool, mixed_loader, pools_of
from histoseg.models.unet import UNetSpec
from histoseg.runs.config import Data
from histoseg.shards.reader import MetaDataset
from histoseg.types import IGNORE, Place, Target


def pool(name, shares):
    count = len(shares)
    return Pool(sources=(name,), owner=np.zeros(count, int), rows=np.arange(count), share=np.asarray(shares, float))


POOLS = {
    "gland": pool("a", [1] * 4),
    "lumen": pool("b", [1] * 3),
    "nuclei": pool("c", [1, 1, 2]),
    "tissue": pool("d", [1] * 5),
}


def sampler(**changes):
    return MixedSampler(**({"pools": POOLS, "batch": 9, "mixed": True, "seed": 0} | changes))


def with_contours(run):
    return replace(run, network=replace(run.network, contour=True))


def test_super_tasks_have_seven_and_three_of_ten():
    """Cerberus, Sec. 3.2.1; a chi-square test rejects one draw of a thousand."""
    kinds = Counter("tissue" in sampler().structures(step) for step in range(4000))
    assert chisquare([kinds[False], kinds[True]], [2800, 1200]).pvalue > 0.001


def test_structures_of_a_mixed_batch_are_equally_likely():
    drawn = Counter(s for step in range(2000) for s in sampler().structures(step) if s != "tissue")
    assert set(drawn) == {"gland", "lumen", "nuclei"}
    assert chisquare(list(drawn.values())).pvalue > 0.001


def test_super_tasks_are_never_mixed():
    for step in range(200):
        assert len({structure == "tissue" for structure in sampler().structures(step)}) == 1


def test_a_fixed_batch_has_one_structure():
    fixed = sampler(mixed=False)
    seen = [set(fixed.structures(step)) for step in range(400)]
    assert all(len(structures) == 1 for structures in seen)
    drawn = Counter(structures.pop() for structures in seen if "tissue" not in structures)
    assert chisquare([drawn[s] for s in ("gland", "lumen", "nuclei")]).pvalue > 0.001


def test_tissue_alone_is_always_drawn():
    assert set(sampler(pools={"tissue": POOLS["tissue"]}).structures(3)) == {"tissue"}


def test_samples_are_drawn_by_their_share():
    """Of nuclei the third sample has twice the area of the others: a half and two quarters of the draws."""
    only = sampler(pools={"nuclei": POOLS["nuclei"]})
    rows = Counter(p.row for step in range(500) for part in only.plan(step, Place()).patches.values() for p in part)
    assert chisquare([rows[0], rows[1], rows[2]], [1125, 1125, 2250]).pvalue > 0.001


def test_structures_in_turn_follow_the_published_samplers():
    """Of four data sets, tissue has every fourth step; patch i of the others has structure i modulo 3."""
    turn = sampler(in_turn=True, batch=8)
    steps = [Counter(turn.structures(step)) for step in range(8)]
    mixed = Counter(("gland", "lumen", "nuclei", "gland", "lumen", "nuclei", "gland", "lumen"))
    assert steps == [Counter({"tissue": 8}), mixed, mixed, mixed] * 2


def test_steps_of_one_structure_in_turn():
    objects = {name: POOLS[name] for name in ("gland", "lumen", "nuclei")}
    fixed = sampler(pools=objects, in_turn=True, mixed=False, batch=2)
    assert [fixed.structures(step)[0] for step in range(5)] == ["gland", "lumen", "nuclei", "gland", "lumen"]
    with_tissue = sampler(in_turn=True, mixed=False, batch=2)
    found = [set(with_tissue.structures(step)) for step in range(5)]
    assert found == [{"tissue"}, {"gland"}, {"lumen"}, {"nuclei"}, {"tissue"}]
    assert set(sampler(pools={"tissue": POOLS["tissue"]}, in_turn=True).structures(3)) == {"tissue"}


@pytest.mark.parametrize("mixed", [True, False])
def test_a_step_equals_its_definition(mixed):
    """Restated with NumPy alone: another release must draw the same patches for the same seed.

    SeedSequence [seed, 0, step] draws the super task and the structures, [seed, 1, step, i] the sample of patch i.
    """
    draw = sampler(mixed=mixed, seed=7)
    for step in range(200):
        rng = np.random.default_rng(np.random.SeedSequence([7, 0, step]))
        choices = ["tissue"] if rng.random() < 0.3 else ["gland", "lumen", "nuclei"]
        numbers = rng.integers(len(choices), size=9) if mixed else np.repeat(rng.integers(len(choices)), 9)
        structures = [choices[i] for i in sorted(numbers)]
        assert draw.structures(step) == structures
        plan = draw.plan(step, Place())
        assert plan.counts == Counter(structures)
        patches = [patch for part in plan.patches.values() for patch in part]
        for i, (structure, patch) in enumerate(zip(structures, patches, strict=True)):
            rng = np.random.default_rng(np.random.SeedSequence([7, 1, step, i]))
            (source,), share = POOLS[structure].sources, POOLS[structure].share
            row = int((rng.random() >= np.cumsum(share) / share.sum()).sum())
            assert (patch.source, patch.row, patch.seed) == (source, row, rng.integers(2**32))


def test_every_sample_is_reached():
    plans = [sampler().plan(step, Place()) for step in range(300)]
    drawn = {(p.source, p.row) for plan in plans for part in plan.patches.values() for p in part}
    assert drawn == {(own.sources[0], int(row)) for own in POOLS.values() for row in own.rows}


def test_a_step_is_a_pure_function_of_seed_and_number():
    later = list(islice(sampler().steps(0, Place()), 12))[9:]
    assert list(islice(sampler().steps(9, Place()), 3)) == later
    assert list(islice(sampler(seed=1).steps(9, Place()), 3)) != later


@pytest.mark.parametrize("world_size", [2, 3, 4, 12])
def test_ranks_share_a_step_with_the_same_mix(world_size):
    for step in range(50):
        whole = sampler().plan(step, Place())
        shares = [sampler().plan(step, Place(rank=rank, world_size=world_size)) for rank in range(world_size)]
        assert all(share.counts == whole.counts for share in shares)
        for structure, patches in whole.patches.items():
            parts = [share.patches[structure] for share in shares]
            assert sorted(p.seed for share in parts for p in share) == sorted(p.seed for p in patches)
            lengths = [len(share) for share in parts]
            assert max(lengths) - min(lengths) <= 1  # As many of each structure on every rank, to within one.


def test_an_empty_pool_is_refused():
    with pytest.raises(DataError, match="no images to train on for lumen"):
        sampler(pools={**POOLS, "lumen": pool("b", [])})


def test_batches_hold_what_was_planned(fold_dataset, fold_data, tiny_fold_run):
    run = replace(tiny_fold_run, network=replace(tiny_fold_run.network, contour=True))
    draw = MixedSampler(pools=pools_of(fold_dataset, fold_data), batch=6, mixed=True, seed=0)
    assert set(draw.pools) == {"gland", "lumen", "nuclei", "tissue"}
    seen = set()
    for batch in islice(mixed_loader(fold_dataset, run, draw, place=Place()), 12):
        assert sum(batch.counts.values()) == len(batch.structures) == 6
        side = 48 if "tissue" in batch.counts else 64
        assert batch.images.shape == (6, side, side, 3)
        for structure, number in batch.counts.items():
            own = batch.owned(structure)
            assert own.stop - own.start == number
            assert set(batch.structures[own]) == {structure}
        seen |= set(np.unique(batch.classes).tolist()) if side == 64 else set()
        assert (batch.weights > 0).all()
    assert seen == {0, 1, 2}  # background, inner, contour


def test_without_contours_decoders_learn_two_classes(fold_dataset, tiny_fold_run):
    draw = MixedSampler(pools=pools_of(fold_dataset, tiny_fold_run.data), batch=6, mixed=True, seed=0)
    drawn = islice(mixed_loader(fold_dataset, tiny_fold_run, draw, place=Place()), 6)
    seen = [np.unique(batch.classes).tolist() for batch in drawn if "tissue" not in batch.counts]
    assert seen
    assert all(classes == [0, 1] for classes in seen)


def test_samples_count_by_the_patches_that_they_hold(fold_dataset, fold_data):
    """Their area in patches, where a side that is shorter counts as one: the paper draws among patches."""
    data = replace(fold_data, patch_px=144, tissue_px=96)  # Demo images have sides of 136 to 160 pixels.
    sides = set()
    for structure, own in pools_of(fold_dataset, data).items():
        patch_px = 96 if structure == "tissue" else 144
        for owner, row, share in zip(own.owner, own.rows, own.share, strict=True):
            samples = fold_dataset.sources[own.sources[owner]].samples
            height, width = samples.height[row] / patch_px, samples.width[row] / patch_px
            assert share == pytest.approx(max(1, height) * max(1, width))
            sides |= {height < 1, width < 1}
    assert sides == {True, False}


def test_a_rank_without_patches_has_arrays_of_the_same_size(fold_dataset, fold_data, tiny_fold_run):
    draw = MixedSampler(pools=pools_of(fold_dataset, fold_data), batch=1, mixed=True, seed=0)
    loader = mixed_loader(fold_dataset, with_contours(tiny_fold_run), draw, place=Place(rank=1, world_size=2))
    seen = set()
    for batch in islice(loader, 12):
        is_tissue = "tissue" in batch.counts
        side, map_side = (48, 1) if is_tissue else (64, 64)
        assert batch.images.shape == (0, side, side, 3)
        assert {array.shape for array in (batch.classes, batch.weights, batch.types)} == {(0, map_side, map_side)}
        assert batch.keys == batch.seeds == ()
        seen.add(is_tissue)
    assert seen == {True, False}


@pytest.mark.parametrize("has_objects", [False, True])
def test_what_is_not_labelled_has_no_weight_unless_it_is_an_object_without_a_class(
    fold_dataset, fold_data, monkeypatch, tiny_fold_run, has_objects
):
    """One half of each image has no class: either there are no objects, or objects of which no class is known."""
    read, read_instances = MetaDataset.read, MetaDataset.read_instances

    def is_half(width):
        return np.arange(width) % 64 < 32

    def half_labelled(dataset, source, row):
        image, semantic_map = read(dataset, source, row)
        return image, np.where(is_half(image.shape[1]), IGNORE, semantic_map).astype(np.uint8)

    def half_of_objects(dataset, source, row):
        found = read_instances(dataset, source, row)
        return np.where(is_half(found.shape[1]), np.uint16(7 * has_objects), found)

    monkeypatch.setattr(MetaDataset, "read", half_labelled)
    monkeypatch.setattr(MetaDataset, "read_instances", half_of_objects)
    pools = {name: own for name, own in pools_of(fold_dataset, fold_data).items() if name != "tissue"}
    draw = MixedSampler(pools=pools, batch=6, mixed=True, seed=0)
    batch = next(mixed_loader(fold_dataset, tiny_fold_run, draw, place=Place()))
    assert 0.2 < (batch.types == IGNORE).mean() < 0.8
    if has_objects:  # At its rims a patch shows what lies outside of its image, where nothing is known.
        assert (batch.weights[batch.types == IGNORE] > 0).mean() > 0.5
        return
    np.testing.assert_array_equal(batch.weights == 0, batch.types == IGNORE)
    assert batch.weights[batch.weights > 0].min() >= 1
    assert set(np.unique(batch.classes)) == {0, 1}  # Background and inner, without contours.


def test_a_tissue_patch_has_the_class_of_its_image(fold_dataset, fold_data, tiny_fold_run):
    draw = MixedSampler(pools={"tissue": pools_of(fold_dataset, fold_data)["tissue"]}, batch=20, mixed=True, seed=0)
    (patches,) = draw.plan(0, Place()).patches.values()
    batch = next(mixed_loader(fold_dataset, tiny_fold_run, draw, place=Place()))  # Which begins with step 0.
    classes = [fold_dataset.patch_class(patch.source, patch.row) for patch in patches]
    assert len(set(classes)) > 1
    for found in (batch.classes, batch.types):
        assert found.tolist() == [[[label]] for label in classes]
    assert (batch.weights == 1).all()


def test_opencv_leaves_the_cores_to_the_threads_of_the_loader(fold_dataset, fold_data, tiny_fold_run):
    before = cv2.getNumThreads()
    cv2.setNumThreads(4)
    mixed_loader(fold_dataset, tiny_fold_run, sampler(), place=Place())
    assert cv2.getNumThreads() == 1
    cv2.setNumThreads(before)


def test_only_the_training_fold_is_drawn(fold_dataset, fold_data):
    for structure, own in pools_of(fold_dataset, fold_data).items():
        (source,) = own.sources
        assert set(own.rows.tolist()) == set(fold_dataset.sources[source].rows("fold1").tolist()), structure


@pytest.mark.parametrize("world_size", [1, 2, 8])
def test_ranks_together_have_the_patches_of_one_rank(fold_dataset, tiny_fold_run, world_size):
    draw = MixedSampler(pools=pools_of(fold_dataset, tiny_fold_run.data), batch=5, mixed=True, seed=1)
    alone = mixed_loader(fold_dataset, tiny_fold_run, draw, place=Place(), first_step=2)
    ranks = [
        mixed_loader(fold_dataset, tiny_fold_run, draw, place=Place(rank=rank, world_size=world_size), first_step=2)
        for rank in range(world_size)
    ]
    for _ in range(3):
        whole, shares = next(alone), [next(rank) for rank in ranks]
        together = {seed: share.images[i] for share in shares for i, seed in enumerate(share.seeds)}
        assert set(together) == set(whole.seeds)
        for i, seed in enumerate(whole.seeds):
            np.testing.assert_array_equal(together[seed], whole.images[i])


@dataclass(frozen=True, kw_only=True)
class Ids:
    """Settings of a network that learns the middle of each patch: the ids of its objects, as a map of numbers."""

    def target(self, instance_map, structure, mpp):
        assert (structure, mpp) == ("nuclei", 0.5)
        middle = instance_map[8:-8, 8:-8]
        classes = (middle > 0).astype(np.uint8)
        return Target(classes=classes, weights=np.ones(middle.shape, np.float32), maps=middle[None].astype(np.float32))


def of_nuclei(dataset, run, **changes):
    run = replace(run, network=Ids(), data=replace(run.data, **changes))
    pools = {"nuclei": pools_of(dataset, run.data)["nuclei"]}
    return run, MixedSampler(pools=pools, batch=2, mixed=False, seed=0)


def test_a_network_may_learn_numbers_of_the_middle_of_a_patch(fold_dataset, tiny_fold_run):
    """Ids are above 0 where the class is 1, and types are of the same pixels: no object of Lizard is of class 0."""
    run, drawn = of_nuclei(fold_dataset, tiny_fold_run)
    step = next(mixed_loader(fold_dataset, run, drawn, place=Place()))
    assert step.images.shape == (2, 64, 64, 3)
    assert step.classes.shape == step.weights.shape == step.types.shape == (2, 48, 48)
    assert step.maps.shape == (2, 1, 48, 48)
    np.testing.assert_array_equal(step.maps[:, 0] > 0, step.classes == 1)
    known = step.types != IGNORE
    np.testing.assert_array_equal((step.types > 0)[known], (step.classes == 1)[known])
    empty = next(mixed_loader(fold_dataset, run, drawn, place=Place(rank=2, world_size=3)))
    assert (empty.classes.shape, empty.maps.shape) == ((0, 48, 48), (0, 1, 48, 48))


@pytest.mark.parametrize("side", [40, 90])
def test_patches_may_have_another_side_than_images_are_stored_for(fold_dataset, tiny_fold_run, side):
    run, drawn = of_nuclei(fold_dataset, tiny_fold_run, cut_px=side)
    assert run.data.layout == tiny_fold_run.data.layout
    step = next(mixed_loader(fold_dataset, run, drawn, place=Place()))
    assert step.images.shape == (2, side, side, 3)
    assert step.classes.shape == (2, side - 16, side - 16)


@pytest.mark.parametrize("side", [8, 33])
def test_a_side_that_cannot_be_cut_is_refused(side):
    with pytest.raises(ConfigError, match=rf"data\.cut_px = {side}"):
        Data(cut_px=side)


def test_a_network_that_learns_no_objects_is_refused(fold_dataset, tiny_fold_run):
    run = replace(tiny_fold_run, network=UNetSpec(width=4))
    with pytest.raises(ConfigError, match="'unet' learns no objects"):
        mixed_loader(fold_dataset, run, sampler(), place=Place())
