"""From a store to a report, with a plan that is made up."""

import json
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from histoseg.errors import DataError
from histoseg.methods.transfer import Transfer
from histoseg.models.unet import UNetSpec
from histoseg.report.write import keep_model, read_records, replicates_of, write_report
from histoseg.runs import catalog
from histoseg.runs.config import Data, Optim, Run, Select, Stage
from histoseg.scoring.pixels import Pixels
from histoseg.store.keys import record_key
from histoseg.store.objects import connect
from tests.report.records import make_fold_record, make_record
from tests.report.specs import make_folds_spec, make_pairs_spec


@dataclass
class Plan:
    """What `write_report` asks of a plan."""

    experiment: str
    cells: dict
    sources: dict = field(default_factory=dict)
    available: dict = field(default_factory=dict)
    absent: tuple = ()
    incomplete: dict = field(default_factory=dict)


def run_of(record):
    """A run in the record's place of the table; how it trains does not matter here."""
    select = Select(sources=("glas",), splits=("train",))
    return Run(
        experiment=record.experiment,
        scale="laptop",
        row=record.row,
        column=record.column,
        division=record.replicate.removesuffix(f"seed {record.seed}").removesuffix(", "),
        seed=record.seed,
        data=Data(),
        network=UNetSpec(),
        stages=(Stage(label="train", method=Transfer(), select=select, optim=Optim()),),
        score=Select(sources=("glas",), splits=("test",)),
        evaluator=Pixels(),
    )


def plan_of(*records):
    return Plan(experiment=records[0].experiment, cells={record.name: run_of(record) for record in records})


@pytest.fixture
def store(tmp_path):
    return connect(f"file://{tmp_path / 'store'}")


def put(store, *records):
    for record in records:
        store.put(record_key(record.experiment, record.name), record.model_dump_json().encode())


@pytest.fixture
def experiment(monkeypatch):
    """An experiment's module, in place of that of the name."""

    def install(spec, why_missing=lambda row, column, sources: ""):
        module = SimpleNamespace(SPEC=spec, why_missing=why_missing)
        monkeypatch.setattr(catalog, "load", lambda package, name: module)

    return install


def test_a_report_shows_what_is_finished_and_why_the_rest_is_not(store, experiment, tmp_path):
    done, planned = make_record(miou_pooled=0.5), make_record(seed=1)
    put(store, done)
    experiment(
        make_pairs_spec(),
        lambda row, column, sources: f"no shards of {row}, {sorted(sources)}" if row == "monuseg" else "",
    )
    plan = plan_of(done, planned, make_record(method="transfer"))
    plan.sources = {"glas": SimpleNamespace(warnings=("glas was cut short.",), notes={"odd regions left out": 3})}
    plan.available = {"glas": "all that experiments ask of it"}
    plan.available = {"glas": "all that experiments ask of it"}
    plan.absent = ("crag",)
    written = write_report(plan, store, tmp_path, command="again")
    assert written.page == tmp_path / "table1" / "index.html"
    row = next(line for line in written.table.splitlines() if line.startswith("| **Glands**"))
    assert "| 0.500 (1 of 2)<br>[" in row
    assert "| —<br>not finished<br>paper 0.573 |" in row
    assert "| —<br>too few structures are prepared |" in row
    assert "| —<br>no shards of monuseg, ['glas'] |" in written.table
    page = written.page.read_text()
    assert "crag is not in this store." in page
    assert "glas was cut short." in page
    assert "odd regions left out" in page
    page = write_report(plan, store, tmp_path, command="again", omissions=["crag was not found."]).page.read_text()
    assert "crag was not found." in page
    assert "crag is not in this store." not in page
    assert "glas was cut short." in page


def test_a_row_that_a_person_must_complete_says_so(store, experiment, tmp_path):
    done = make_record(miou_pooled=0.5)
    put(store, done)
    experiment(make_pairs_spec())
    plan = plan_of(done)
    plan.incomplete = {"monuseg": "no file was given"}
    table = write_report(plan, store, tmp_path, command="again").table
    assert "no file was given" in table
    assert "no file was given" not in next(line for line in table.splitlines() if line.startswith("| **Glands**"))


def test_a_damaged_record_is_named(store, experiment, tmp_path):
    record = make_record()
    key = record_key("table1", record.name)
    store.put(key, b'{"format": 2')
    experiment(make_pairs_spec())
    with pytest.raises(DataError, match=rf"{store.url}/{key}: not a record: "):
        write_report(plan_of(record), store, tmp_path, command="again")


def test_records_of_another_format_are_counted_and_the_report_goes_on(store, experiment, tmp_path, caplog):
    """One has the name of a run that is wanted; the name of another comes from the version that wrote it."""
    done, wanted = make_record(miou_pooled=0.5), make_record(method="transfer")
    put(store, done)
    store.put(record_key("table1", wanted.name), json.dumps({"format": 1, "cell": "a"}).encode())
    store.put(record_key("table1", "0123456789abcdef"), b'{"format": 1}')
    store.put("records/table1/panels/0123456789abcdef/a.json", b'{"format": 1}')
    store.put(record_key("table1", "other"), b"damaged, but not wanted")
    experiment(make_pairs_spec())
    written = write_report(plan_of(done, wanted), store, tmp_path, command="again")
    first = f"{store.url}/{record_key('table1', wanted.name)}: record of format 1; evaluate the cell again"
    sentence = f"Records of another format that are left out: 2; the first is {first}."
    assert sentence in written.page.read_text()
    assert sentence in caplog.text
    assert "| 0.500<br>[" in written.table


def test_other_records_are_not_read_when_all_is_finished(store):
    done = make_record()
    put(store, done)
    store.put(record_key("table1", "0123456789abcdef"), b'{"format": 1}')
    records, old = read_records(plan_of(done), store)
    assert [record.name for record in records] == [done.name]
    assert old == []


def test_replicates_of_a_row_are_counted_once():
    records = [
        make_fold_record("alone", structures=(structure,), seed=seed)
        for structure in ("gland", "lumen")
        for seed in (0, 1)
    ]
    # Two networks of one row are trained on the same folds with each of two seeds.
    assert replicates_of(map(run_of, [*records, make_record()])) == {
        ("alone", ""): ["fold1 to fold3, seed 0", "fold1 to fold3, seed 1"],
        ("glas", "monuseg.maml"): ["seed 0"],
    }


def test_the_network_of_the_first_run_is_put_beside_the_page(store, experiment, tmp_path):
    record = make_fold_record(panels=())
    put(store, record)
    assert keep_model([record], store, tmp_path / "model") == ""
    assert keep_model([], store, tmp_path / "model") == ""
    for name in ("model.safetensors", "model.json"):
        store.put(f"{record.model}/{name}", name.encode())
    experiment(make_folds_spec(keeps_model=True))
    page = write_report(plan_of(record), store, tmp_path, command="again").page
    for name in ("model.safetensors", "model.json"):
        assert (page.parent / "model" / name).read_text() == name
    assert f"histoseg segment IMAGE --model {page.parent / 'model'} --out predictions" in page.read_text()


@pytest.mark.parametrize(("name", "keeps"), [("cerberus", True), ("cerberus_table4", False), ("table1", False)])
def test_the_one_network_is_kept(name, keeps):
    assert catalog.load("histoseg.experiments", name).SPEC.keeps_model is keeps
