"""The experiment of affinity on tiny images, from runs to its page, and a suggestion for a source of one's own."""

import json
from dataclasses import replace

import numpy as np
import pytest

from histoseg.errors import ConfigError, DataError
from histoseg.experiments._affinity_advice import suggestions
from histoseg.experiments._affinity_table import heat_maps, say_agreement
from histoseg.experiments.affinity import SPEC
from histoseg.pipeline.complete import complete
from histoseg.pipeline.plan import make_plan
from histoseg.pipeline.suggest import suggest_predecessors
from histoseg.records.read import read_record
from histoseg.report.layout import lay_out
from histoseg.report.write import read_records
from histoseg.runs.request import Request
from histoseg.shards.in_memory import put_source
from histoseg.store.keys import is_record_key, records_folder
from histoseg.store.objects import FileStore, connect
from histoseg.training.process import Process
from tests.command import succeed
from tests.pipeline.small_runs import TASKS, without_times
from tests.small_store import make_task, squares_samples

SETS = (
    *("data.patch_px=32", "data.scale=(1.0,1.0)", "data.rotate_deg=0.0", "network.width=4", "pretrain.optim.steps=2"),
    *("pretrain.method.batch=2", "refine.method.batch=2", "refine.optim.epochs=1", "evaluator.window_px=32"),
    *("evaluator.bootstrap=0", "evaluator.patches=4"),
)
SOURCES = ("monuseg", "glas", "digestpath")


def put(store, name, seed, splits=("train", "val", "test")):
    rng = np.random.default_rng(seed)
    samples = {split: squares_samples(rng, [f"{split}{i}" for i in range(2)], "semantic") for split in splits}
    put_source(store, make_task(name), TASKS, samples)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """A store in which every run of three sources is recorded, and two more sources are prepared."""
    folder = tmp_path_factory.mktemp("affinity")
    store = FileStore(folder / "store")
    for seed, name in enumerate((*SOURCES, "mine")):
        put(store, name, seed)
    put(store, "untrained", 9, splits=("test",))
    for runs in make_plan("affinity", store, "laptop", 1, SETS).groups.values():
        complete(runs, store, folder / "cache", Process())
    return store.url


@pytest.fixture
def store(url):
    return connect(url)


def records_in(store):
    return {key: store.get(key) for key in store.list(records_folder("affinity")) if is_record_key(key)}


def request(url, **changes):
    return replace(Request(experiment="affinity", store=url, sets=SETS), **changes)


def test_trainings_are_shared_and_measures_are_recorded_beside_gains(store):
    plan = make_plan("affinity", store, "laptop", 1, SETS)
    # Of three sources six sets can be predecessors, each trained once, and three tasks are refined without any.
    assert len(plan.groups) == 6 + 3
    # Each of three tasks has two single predecessors, both together, and none; what is measured has the first three.
    assert len(plan.cells) == 3 * 4 + 3 * 3
    records = read_records(plan, store)[0]
    assert len(records) == len(plan.cells)
    measured = [record for record in records if record.measures]
    assert len(measured) == 9
    for record in measured:
        assert (record.column, record.scores, [stage.label for stage in record.stages]) == ("", {}, ["pretrain"])
        assert record.row not in record.run["stages"][0]["select"]["sources"]
        assert record.row not in record.run["part"]


def test_sections_show_maps_correlations_and_what_would_have_been_suggested(store):
    table = lay_out(SPEC, read_records(make_plan("affinity", store, "laptop", 1, SETS), store)[0])
    maps, blind = heat_maps(table), suggestions(table)
    assert [len(listing.rows) for listing in maps.listings] == [3, 9]  # Measures; cells
    assert [picture.name for picture in maps.pictures] == ["affinity"]
    assert [row[0] for row in blind.listings[0].rows] == [SPEC.rows[name] for name in SOURCES]
    assert sum("rank correlation" in line for line in say_agreement(table)) == 3


def test_a_source_is_measured_against_every_finished_network_and_nothing_is_trained(url, store, tmp_path):
    before = set(store.list("runs/"))
    found = suggest_predecessors("mine", request(url), store, tmp_path / "cache", Process())
    assert set(store.list("runs/")) == before
    sets = {"monuseg", "glas", "digestpath", "monuseg+glas", "monuseg+digestpath", "glas+digestpath"}
    three = (
        "monuseg+glas+digestpath"  # For a source outside the table all three can be predecessors; no row needs them.
    )
    for numbers in found.measures.values():
        assert {before for _, before in numbers} == sets
    assert found.unfinished == (found.titles[three],)
    assert "suggests" in found.lines[0]
    assert "rank correlation" in found.lines[1]


def test_a_suggestion_asked_for_again_is_the_same_and_costs_nothing(url, store, tmp_path):
    first = suggest_predecessors("mine", request(url), store, tmp_path / "cache", Process())
    records = records_in(store)
    assert suggest_predecessors("mine", request(url), store, tmp_path / "other", Process()) == first
    assert records_in(store) == records
    one = next(key for key, body in records.items() if read_record(body, key).row == "mine")
    store.delete(one)  # As if the command had ended before it
    assert suggest_predecessors("mine", request(url), store, tmp_path / "third", Process()) == first
    assert without_times(json.loads(store.get(one))) == without_times(json.loads(records[one]))


def test_a_task_of_the_table_is_judged_by_the_others(url, store, tmp_path):
    found = suggest_predecessors("glas", request(url), store, tmp_path / "cache", Process())
    assert {before for _, before in found.measures["logme"]} == {"monuseg", "digestpath", "monuseg+digestpath"}
    assert "On 2 tasks" in found.lines[1]


def test_the_command_prints_measures_and_the_suggestion_last(url, tmp_path, capsys):
    words = ("--store", url, "--cache", tmp_path / "cache", "--set", " ".join(SETS))
    lines = succeed(capsys, "suggest", "mine", *words).splitlines()
    heads = [
        number
        for number, line in enumerate(lines)
        if line.startswith(("Gradient alignment:", "Feature distance:", "LogME:"))
    ]
    assert len(heads) == 3
    nearest = [float(line.split()[0]) for line in lines[heads[1] + 1 : heads[2]]]
    assert nearest == sorted(nearest)
    assert len(nearest) == 6
    assert any("left out: MoNuSeg + GlaS + DigestPath" in line for line in lines)
    assert any(" suggests " in line for line in lines)


@pytest.mark.parametrize(
    ("source", "changes", "error"),
    [
        ("nowhere", {}, DataError("no shards of nowhere laid out as 32px")),
        ("untrained", {}, DataError("no images in its split train")),
        ("mine", {"sets": (*SETS, "pretrain.optim.steps=3")}, ConfigError("make submit EXP=affinity")),
        ("mine", {"experiment": "table1"}, ConfigError("choose affinity")),
    ],
)
def test_what_cannot_be_suggested_is_said(store, tmp_path, source, changes, error):
    with pytest.raises(type(error), match=str(error)):
        suggest_predecessors(source, request(store.url, **changes), store, tmp_path / "cache", Process())
