"""Names say where results lie: those of known runs stay, and what is added to a configuration renames nothing."""

import hashlib
import json
from dataclasses import MISSING, dataclass, field, fields, make_dataclass, replace
from pathlib import Path

import pytest

from histoseg.models.cerberus import CerberusSpec
from histoseg.runs import catalog, names
from histoseg.runs.config import Data, Optim, Run, Select, Stage
from histoseg.runs.names import FORMAT, PACKAGES, run_name, stage_name
from histoseg.runs.plain import digest, non_default
from histoseg.scoring.pixels import Pixels
from tests.runs.known import CHECKSUMS, EXPERIMENTS, LAYOUTS, NAMES, all_runs, known_run, names_of
from tests.stages import with_stage

DEFAULTS = Path(__file__).with_name("defaults.json")
PAPER = ("table1", "paper", "monuseg all_others.maml", 0)
CERBERUS = ("cerberus_table2", "paper", "cerberus fold1 to fold3", 0)


@pytest.mark.parametrize("known", NAMES, ids=lambda known: " ".join(map(str, known)))
def test_known_runs_keep_their_names(known):
    """If this fails, results that are stored under the old names are trained again.

    Where an experiment was changed on purpose, write its new names down; otherwise mend what renamed it.
    """
    assert " ".join(names_of(known_run(*known))) == NAMES[known]


def test_a_name_is_a_hash_of_what_differs_from_the_defaults():
    """The configuration of the smoke test, written down by hand from its file and hashed here."""
    data, network, source = {"patch_px": 64}, {"name": "unet", "width": 4}, "checksum of {}".format
    pixels = {"name": "pixels", "window_px": 96, "bootstrap": 100}
    pretrain = {
        "method": {"name": "transfer", "batch": 4},
        "select": {"sources": ["synthetic"]},
        "optim": {"lr": 2e-3, "steps": 6},
    }
    refine = {
        "method": {"name": "transfer", "batch": 4},
        "select": {"sources": ["glas"], "splits": ["train"]},
        "optim": {"lr": 3e-3, "steps": 0, "epochs": 2},
        "keep": "best val",
        "evaluator": pixels,
    }
    first = _hash([2, 0, data, network, pretrain, "", {"synthetic": source("synthetic")}])
    second = _hash([2, 0, data, network, refine, first, {"glas": source("glas")}])
    place = ["smoke", "laptop", "glas", "synthetic.transfer", "", ""]
    scored = [{"sources": ["glas"], "splits": ["test"]}, pixels, {"glas": source("glas")}]
    whole = _hash([2, second, place, scored])
    assert names_of(known_run("smoke", "laptop", "glas synthetic.transfer", 0)) == [first, second, whole]


def _hash(value):
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_scales_keep_their_layouts(experiment):
    """Shards are found by the layout: another one has every source prepared again."""
    scales = catalog.load("histoseg.experiments", experiment).SCALES
    found = {scale: {run.data.layout for run in all_runs(experiment, scale)} for scale in scales}
    assert found == {scale: {layout} for scale, layout in LAYOUTS[experiment].items()}


def test_no_two_runs_have_one_name():
    runs = [
        run
        for experiment in EXPERIMENTS
        for scale in catalog.load("histoseg.experiments", experiment).SCALES
        for run in all_runs(experiment, scale, seeds=2)
    ]
    assert len({run_name(run, CHECKSUMS) for run in runs}) == len(runs) > 700


def all_defaults():
    """Every default of what a run is made of, by part and field, as plain values."""
    parts = {kind.__name__: kind for kind in (Data, Select, Optim, Stage, Run)}
    for package in PACKAGES.values():
        names = catalog.names(package)
        parts |= {f"{package}.{name}": catalog.settings(package, name) for name in names}
    found = {part: {one.name: _default(one) for one in fields(kind)} for part, kind in parts.items()}
    whole = {part: {name: v for name, v in own.items() if v is not MISSING} for part, own in found.items()}
    return json.loads(json.dumps(whole))


def _default(one):
    return one.default if one.default_factory is MISSING else one.default_factory()


def check_defaults():
    frozen, found = json.loads(DEFAULTS.read_text()), all_defaults()
    assert frozen["format"] == FORMAT, f"FORMAT was raised: write format and defaults to {DEFAULTS.name} again"
    for part, own in frozen["defaults"].items():
        now = found.get(part, {})
        changed = [f"{name} = {value!r}" for name, value in own.items() if name not in now or now[name] != value]
        advice = "a default is no part of a name: raise FORMAT in histoseg/runs/names.py, or leave the default"
        assert not changed, f"{part} no longer has the defaults {', '.join(changed)}: {advice}"
    new = digest(found) != digest(frozen["defaults"])
    assert not new, f"there are new defaults, which rename nothing: write {json.dumps(found)} to {DEFAULTS.name}"


def test_defaults_are_those_that_names_leave_out():
    check_defaults()


@pytest.mark.parametrize(
    ("kind", "name", "value"), [(Optim, "lr", 2e-4), (Pixels, "overlap", 0.5), (Stage, "keep", "")]
)
def test_a_changed_default_is_noticed(monkeypatch, kind, name, value):
    monkeypatch.setattr(kind.__dataclass_fields__[name], "default", value)
    with pytest.raises(AssertionError, match=rf"{name} = .*raise FORMAT"):
        check_defaults()


def test_a_new_default_is_only_written_down(monkeypatch):
    wider = dict(Optim.__dataclass_fields__) | {"added": wide(Optim)().__dataclass_fields__["added"]}
    monkeypatch.setattr(Optim, "__dataclass_fields__", wider)
    with pytest.raises(AssertionError, match=r'new defaults, which rename nothing.*"added": 7'):
        check_defaults()


def wide(kind):
    """The same part of a configuration with one more field, which has a default."""
    namespace = {"__module__": kind.__module__}
    added = [("added", int, 7)]
    return make_dataclass(kind.__name__, added, bases=(kind,), frozen=True, kw_only=True, namespace=namespace)


def widened(part, **changes):
    return wide(type(part))(**{one.name: getattr(part, one.name) for one in fields(part)}, **changes)


WIDER = {
    "data": lambda run, **added: replace(run, data=widened(run.data, **added)),
    "network": lambda run, **added: replace(run, network=widened(run.network, **added)),
    "evaluator": lambda run, **added: replace(run, evaluator=widened(run.evaluator, **added)),
    "score": lambda run, **added: replace(run, score=widened(run.score, **added)),
    "stage": lambda run, **added: replace(run, stages=(widened(run.stages[0], **added), *run.stages[1:])),
    "method": lambda run, **added: with_stage(run, method=widened(run.stages[0].method, **added)),
    "select": lambda run, **added: with_stage(run, select=widened(run.stages[0].select, **added)),
    "optim": lambda run, **added: with_stage(run, optim=widened(run.stages[0].optim, **added)),
}


@pytest.mark.parametrize("known", [PAPER, CERBERUS])
@pytest.mark.parametrize("part", WIDER)
def test_a_new_field_with_a_default_renames_nothing(known, part):
    run = known_run(*known)
    assert " ".join(names_of(WIDER[part](run))) == NAMES[known]
    assert run_name(WIDER[part](run, added=8), CHECKSUMS) != run_name(run, CHECKSUMS)  # The field does count.


def test_the_network_of_a_stage_names_it_and_those_after_it(tiny_run):
    own = replace(tiny_run, stages=(tiny_run.stages[0], replace(tiny_run.stages[1], network=widened(tiny_run.network))))
    named = replace(own, stages=(own.stages[0], replace(own.stages[1], network=tiny_run.network)))
    assert names_of(named) == names_of(tiny_run) == names_of(own)  # The same network, said once or twice
    other = replace(own, stages=(own.stages[0], replace(own.stages[1], network=replace(tiny_run.network, width=8))))
    assert names_of(other)[0] == names_of(tiny_run)[0]
    assert not set(names_of(other)[1:]) & set(names_of(tiny_run))


def test_a_new_field_of_a_run_renames_nothing():
    run = known_run(*PAPER)
    assert " ".join(names_of(widened(run))) == NAMES[PAPER]


@pytest.mark.parametrize(
    "later",
    [
        {"experiment": "smoke"},
        {"scale": "paper"},
        {"row": "x"},
        {"column": "x"},
        {"part": "x"},
        {"division": "x"},
        {"evaluator": Pixels(window_px=32)},
        {"score": Select(sources=("monuseg", "crag"), splits=("test",))},
    ],
)
def test_runs_that_only_end_otherwise_share_their_first_stage(tiny_run, later):
    other = replace(tiny_run, **later)
    assert names_of(other)[0] == names_of(tiny_run)[0]
    assert names_of(other)[-1] != names_of(tiny_run)[-1]


@pytest.mark.parametrize("change", [{"optim": {"epochs": 3}}, {"select": Select(sources=("crag",), splits=("val",))}])
def test_later_stages_leave_the_first_ones_name(tiny_run, change):
    other = with_stage(tiny_run, 1, **change)
    assert [a == b for a, b in zip(names_of(other), names_of(tiny_run), strict=True)] == [True, False, False]
    (first,) = tiny_run.stages[:1]
    assert names_of(replace(tiny_run, stages=(first,)))[0] == names_of(tiny_run)[0]


def test_a_first_stage_renames_all_that_follows(tiny_run):
    for other in (
        with_stage(tiny_run, optim={"steps": 9}),
        with_stage(tiny_run, select=Select(sources=("synthetic", "glas"), shots=3)),
        replace(tiny_run, seed=1),
        replace(tiny_run, data=Data(patch_px=32, blur=True)),
        replace(tiny_run, network=replace(tiny_run.network, norm="batch")),
    ):
        assert not set(names_of(other)) & set(names_of(tiny_run))


@pytest.mark.parametrize(
    ("revised", "uses", "does_not"),
    [
        ("blur", {"data": Data(patch_px=32, blur=True)}, {"data": Data(patch_px=32)}),
        ("unet", {}, {"network": CerberusSpec(width=8)}),
    ],
)
def test_a_revision_renames_what_uses_it_and_nothing_else(monkeypatch, tiny_run, revised, uses, does_not):
    using, other = replace(tiny_run, **uses), replace(tiny_run, **does_not)
    before, kept = names_of(using), names_of(other)
    monkeypatch.setitem(names.REVISIONS, revised, 7)
    assert not set(names_of(using)) & set(before)
    assert names_of(other) == kept


def test_every_revision_is_of_a_field_or_a_module():
    known = {one.name for one in fields(Data)} | {
        name for package in PACKAGES.values() for name in catalog.names(package)
    }
    assert set(names.REVISIONS) <= known


def test_a_label_is_for_people(tiny_run):
    assert names_of(with_stage(tiny_run, 1, label="tune")) == names_of(tiny_run)


@pytest.mark.parametrize(
    ("source", "same"),
    [("glas", [False, False, False]), ("monuseg", [True, False, False]), ("crag", [True, True, False])],
)
def test_a_stage_is_named_by_the_shards_it_reads_and_by_no_others(tiny_run, source, same):
    """Pretraining reads glas; refining monuseg; only the score reads crag, too."""
    run = replace(tiny_run, score=Select(sources=("monuseg", "crag"), splits=("test",)))
    other = names_of(run, CHECKSUMS | {source: "other shards"})
    assert [a == b for a, b in zip(other, names_of(run), strict=True)] == same


def test_the_evaluator_names_a_stage_whose_epoch_it_chooses(tiny_run, tiny_fold_run):
    """Nothing is chosen in a stage that keeps its last weights, so all evaluators share that one."""
    other = replace(tiny_run, evaluator=replace(tiny_run.evaluator, window_px=32))
    assert stage_name(other, 1, CHECKSUMS) != stage_name(tiny_run, 1, CHECKSUMS)
    other = replace(tiny_fold_run, evaluator=replace(tiny_fold_run.evaluator, window_px=384))
    assert stage_name(other, 1, CHECKSUMS) == stage_name(tiny_fold_run, 1, CHECKSUMS)


@dataclass(frozen=True, kw_only=True)
class Part:
    number: int
    text: str = "a"
    pair: tuple[int, ...] = field(default_factory=lambda: (1, 2))
    optim: Optim = field(default_factory=Optim)


def test_only_what_differs_from_its_default_is_kept():
    assert non_default(Part(number=1)) == {"number": 1}  # Without a default it is always kept.
    assert non_default(Part(number=1, text="b", pair=(1, 3))) == {"number": 1, "text": "b", "pair": [1, 3]}
    assert non_default(Part(number=1, optim=Optim(steps=5))) == {"number": 1, "optim": {"steps": 5}}


def test_a_digest_does_not_depend_on_the_order_of_keys():
    """Of the text {"a":[1],"b":2}, by `sha256sum`."""
    assert digest({"b": 2, "a": [1]}) == digest({"a": [1], "b": 2}) == "ef251833a4268e69"
    assert digest({"a": [2], "b": 1}) != digest({"a": [1], "b": 2})
