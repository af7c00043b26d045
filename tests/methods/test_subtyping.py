"""A decoder for the classes of nuclei: what it learns from, and that nothing but it is trained."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from histoseg.errors import ConfigError, DataError
from histoseg.methods.subtyping import Subtyping
from histoseg.models.cerberus.network import CerberusParts, build
from histoseg.models.losses import subtyping_loss
from histoseg.runs import catalog
from histoseg.runs.config import Select
from histoseg.runs.names import override
from histoseg.types import MixedBatch, Place


@pytest.fixture
def before():
    """The network of the stage before."""
    return build(
        CerberusParts(encoder="resnet18", width=4, decoders={"gland": 2, "nuclei": 2}, tissue=3, tissue_cells=2), 0
    )


def tasks(*sources):
    return {source: catalog.load("histoseg.sources", source).TASK for source in sources}


def draw_batch(size=3, side=32):
    rng = np.random.default_rng(0)
    return MixedBatch(
        images=rng.integers(0, 256, (size, side, side, 3), dtype=np.uint8),
        classes=np.zeros((size, side, side), np.uint8),
        weights=np.ones((size, side, side), np.float32),
        types=rng.integers(0, 7, (size, side, side), dtype=np.uint8),
        structures=("nuclei",) * size,
        keys=tuple(map(str, range(size))),
        seeds=tuple(range(size)),
        counts={"nuclei": size},
    )


def test_the_network_is_a_copy_with_a_decoder_for_the_classes(before, tiny_fold_run):
    wider = Subtyping().network(tiny_fold_run, tasks("lizard"), before, 1)
    assert wider.parts.decoders == {"gland": 2, "nuclei": 2, "nuclei_type": 7}  # Lizard has six classes of nuclei.
    assert wider.trains_only == "nuclei_type"
    for name, value in before.state_dict().items():
        assert torch.equal(wider.state_dict()[name], value)
    other = Subtyping().network(tiny_fold_run, tasks("lizard"), before, 2)
    drawn = "decoders.nuclei_type.head.1.weight"
    assert not torch.equal(wider.state_dict()[drawn], other.state_dict()[drawn])


@pytest.mark.parametrize(
    "method",
    [
        Subtyping(batch=3),
        Subtyping(batch=3, mode="PixelA"),
        Subtyping(batch=3, mode="PixelA", loss="ce"),
        Subtyping(batch=3, loss="ce+dice"),
    ],
)
def test_training_changes_the_new_part_alone(before, tiny_fold_run, method):
    """To the bit, running statistics included; so all other heads answer as before, to the bit."""
    images = torch.from_numpy(draw_batch().images)
    answers = before.eval()(images)
    wider = method.network(tiny_fold_run, tasks("lizard"), before, 1).train()
    optimizer = torch.optim.Adam([p for p in wider.parameters() if p.requires_grad], lr=0.1)
    old = {name: value.clone() for name, value in wider.state_dict().items()}
    for _ in range(3):
        optimizer.zero_grad()
        method.backward(wider, draw_batch())
        optimizer.step()
    changed = {name for name, value in wider.state_dict().items() if not torch.equal(value, old[name])}
    trained = {name for name in old if name.startswith("decoders.nuclei_type.")}
    assert changed == trained  # All of it, its running statistics and their counters as well.
    own = wider.eval()(images)
    assert all(torch.equal(own[name], value) for name, value in answers.items())


@pytest.mark.parametrize("loss", ["ce", "ce+dice", "masked"])
def test_the_loss_is_that_of_its_name(before, tiny_fold_run, loss):
    method, drawn = Subtyping(batch=3, mode="PixelA", loss=loss), draw_batch()
    wider = method.network(tiny_fold_run, tasks("lizard"), before, 1).eval()
    with torch.no_grad():
        logits = wider(torch.from_numpy(drawn.images))["nuclei_type"]
    types = torch.from_numpy(drawn.types).long()
    options = {"ce": {"masked": False, "dice": False}, "ce+dice": {"masked": False}, "masked": {}}
    wanted = float(subtyping_loss(logits, types, **options[loss]))
    assert method.backward(wider, drawn) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("mode", ["PixelA", "PixelB"])
def test_classes_are_of_objects_that_the_network_finds(mode, tiny_fold_run):
    lonely = build(CerberusParts(encoder="resnet18", width=4, decoders={"gland": 2}), 0)
    with pytest.raises(ConfigError, match=r"subtyping of nuclei: the network before has no branch .* only for gland"):
        Subtyping(mode=mode).network(tiny_fold_run, tasks("lizard"), lonely, 0)


def test_a_head_stands_on_the_branch_of_its_structure(before, tiny_fold_run):
    wider = Subtyping(mode="PixelA").network(tiny_fold_run, tasks("lizard"), before, 0)
    assert wider.parts.branches == {"nuclei_type": "nuclei"}


def test_the_loss_is_that_of_the_classes(before, tiny_fold_run):
    """Computed apart, by the network's own logits in evaluation mode."""
    wider, drawn = Subtyping().network(tiny_fold_run, tasks("lizard"), before, 1).eval(), draw_batch()
    with torch.no_grad():
        logits = wider.decode(wider.encode(torch.from_numpy(drawn.images)), "nuclei_type")
        wanted = float(subtyping_loss(logits, torch.from_numpy(drawn.types).long()))
    assert Subtyping(batch=3).backward(wider, drawn) == pytest.approx(wanted, rel=1e-6)


def test_class_weights_are_those_of_the_loss(before, tiny_fold_run):
    weights = (12.0, 1.0, 2.0, 6.0, 12.0, 2.0)
    weighted = Subtyping(batch=3, class_weights=weights)
    wider, drawn = weighted.network(tiny_fold_run, tasks("lizard"), before, 1).eval(), draw_batch()
    with torch.no_grad():
        logits = wider.decode(wider.encode(torch.from_numpy(drawn.images)), "nuclei_type")
        wanted = float(subtyping_loss(logits, torch.from_numpy(drawn.types).long(), weights))
    assert weighted.backward(wider, drawn) == pytest.approx(wanted, rel=1e-6)
    assert weighted.backward(wider, drawn) != pytest.approx(Subtyping(batch=3).backward(wider, drawn), rel=0.01)


def test_class_weights_of_other_classes_are_refused(before, tiny_fold_run):
    with pytest.raises(ConfigError, match=r"class_weights = \(1.0, 2.0\).*neutrophil"):
        Subtyping(class_weights=(1.0, 2.0)).network(tiny_fold_run, tasks("lizard"), before, 0)
    with pytest.raises(ConfigError, match="above 0"):
        Subtyping(class_weights=(0.0, 2.0))


@pytest.mark.parametrize("sources", [("lizard", "consep"), ("glas", "lizard"), ()])
def test_sources_of_other_classes_are_refused(before, tiny_fold_run, sources):
    with pytest.raises(DataError, match=f"{', '.join(sources)} do not have the same classes"):
        Subtyping().network(tiny_fold_run, tasks(*sources), before, 0)


def test_no_first_stage_subtypes(tiny_fold_run):
    with pytest.raises(DataError, match="lizard"):
        Subtyping().network(tiny_fold_run, tasks("lizard"), None, 0)


def test_batches_are_of_the_selected_sources_with_their_classes(fold_dataset, tiny_fold_run):
    typed = fold_dataset.select(Select(sources=("lizard",), splits=("fold1",)), 0)
    drawn = next(Subtyping(batch=2).batches(typed, tiny_fold_run, seed=0, place=Place(), first_step=0))
    assert set(drawn.structures) == {"nuclei"}
    assert drawn.counts == {"nuclei": 2}
    assert drawn.types.max() > 1


@pytest.mark.parametrize(("assignment", "choices"), [("mode=PixelC", "'PixelA' or 'PixelB'"), ("loss=focal", "'ce', ")])
def test_modes_and_losses_are_those_of_the_paper(tiny_fold_run, assignment, choices):
    run = replace(tiny_fold_run, stages=(replace(tiny_fold_run.stages[0], method=Subtyping()),))
    with pytest.raises(ConfigError, match=f"method.{assignment[:4]} = .*must be {choices}"):
        override(run, f"method.{assignment}")


def test_nonsense_is_refused():
    with pytest.raises(ConfigError, match=r"batch = 0"):
        Subtyping(batch=0)
    assert replace(Subtyping(), batch=1).batch == 1
