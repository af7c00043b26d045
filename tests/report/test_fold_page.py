import json

import pytest

from histoseg.errors import DataError
from tests.report import test_page
from tests.report.fold_records import load_folds, make_fold_record, make_fold_spec, read_fold_panel
from tests.report.test_figures import has_colour, pixels
from tests.report.test_page import parse

# What holds of every page: well formed, self-contained, tables that scroll.
test_the_page_is_well_formed = test_page.test_the_page_is_well_formed_and_its_headings_nest
test_the_page_loads_nothing = test_page.test_the_page_loads_nothing_from_elsewhere
test_tables_scroll = test_page.test_tables_scroll_and_name_their_heads


def make_report(*raws, **changes):
    from histoseg.report.fold_page import FoldReport
    from histoseg.report.frame import Frame

    fields = {
        "frame": Frame(stem="table3", command="histoseg report table3 && echo <done>", omissions=["CRAG: <gone>."]),
        "spec": make_fold_spec(),
        "records": load_folds(*raws),
        "read": read_fold_panel,
    }
    return FoldReport(**{**fields, **changes})


@pytest.fixture(scope="module")
def raws():
    alone = [
        make_fold_record("alone", i, structures=(structure,)) for i in range(3) for structure in ("gland", "lumen")
    ]
    return [*alone, *(make_fold_record("together", i, structures=("gland", "lumen", "tissue")) for i in range(3))]


@pytest.fixture(scope="module")
def html(raws, tmp_path_factory):
    from histoseg.report.fold_page import write

    folder = tmp_path_factory.mktemp("report") / "new"
    path = write(folder, make_report(*raws))
    scores = {f"table3-scores-{structure}.png" for structure in ("gland", "lumen", "tissue")}
    figures = {"table3-panels.png", "table3-training.png", *scores}
    assert {file.name for file in folder.iterdir()} == {"index.html", "table3.md", "table3.csv", *figures}
    return path.read_text(encoding="utf-8")


def test_the_page_says_what_it_is_of(html, raws):
    text = parse(html).text
    assert "Demo data drawn by the program: these numbers say nothing about tissue." in text
    assert "7 of 8 numbers are finished, at the laptop scale." in text
    assert "A note <to> be read." in text
    assert "CRAG: <gone>." in text
    assert "not finished: Alone, Tissue mAP (cross-validation)." in text
    assert "histoseg report table3 && echo <done>" in text
    for raw in raws:
        for known in (raw["cell"], raw["git_commit"], f"runs/{raw['pretraining']}/{raw['cell']}/model"):
            assert known in text


def test_classes_are_told_by_name(html):
    text = parse(html).text
    # The mean of three equal divisions; the third class is in no truth.
    assert "Tissue: average precision of each class, cross-validation, mean over divisions" in text
    assert "background stroma adipose Together 0.250 0.750 —" in text


def test_classes_without_names_are_numbered():
    from histoseg.report.fold_page import to_html

    text = parse(to_html(make_report(make_fold_record(structures=("tissue",), classes={})), {})).text
    assert "class 0 class 1 class 2 Together 0.250 0.750 —" in text


def test_figures_stand_for_few_records_and_without_paper():
    from histoseg.report.drawing import METHOD_COLOURS
    from histoseg.report.fold_page import draw_figures

    raw = make_fold_record("alone", structures=("gland",), curve=[], panels=[])
    drawn = draw_figures(make_report(raw, spec=make_fold_spec(paper={})))
    assert set(drawn) == {"scores-gland", "scores-lumen", "scores-tissue"}
    assert has_colour(pixels(drawn["scores-gland"]), METHOD_COLOURS[0])


def test_panels_are_of_one_image_and_of_different_trainings():
    from histoseg.report.fold_panels import choose_panels

    rows = {f"row{i}": f"Row {i}" for i in range(7)}
    spec = make_fold_spec(rows=rows, paper_only=frozenset())
    raws = [make_fold_record(row, structures=("gland",)) for row in rows]
    raws[1]["pretraining"] = raws[0]["pretraining"]
    other = make_fold_record("row0", 1, structures=("gland",))
    other["panels"][0]["key"] = "gland-001"
    shown = choose_panels(spec, load_folds(other, *raws), "gland")
    # Six trainings are left of seven rows; of those the first, the last and two between them.
    assert [record.row for record, _ in shown] == ["row0", "row3", "row4", "row6"]
    assert {panel.pictures.key for _, panel in shown} == {"gland-000"}


def test_a_damaged_panel_is_named():
    from histoseg.report.fold_page import draw_figures

    raw = make_fold_record(structures=("gland",))
    report = make_report(raw, read=lambda key: b"" if "truth" in key else read_fold_panel(key))
    with pytest.raises(DataError, match=r"gland-000-truth\.png: .* no 8-bit PNG"):
        draw_figures(report)


def test_names_are_escaped():
    from histoseg.report.fold_page import to_html

    raw = make_fold_record(structures=("tissue",), classes={"tissue": ["<b>", "<i>", "<u>"]})
    spec = make_fold_spec(
        title="<s>", rows={"together": "<em>"}, blocks={"<p>": {"test.tissue.map": "<q>"}}, paper_only=frozenset()
    )
    page = parse(to_html(make_report(raw, spec=spec, model="<kbd>"), {}))
    assert not {"b", "i", "u", "s", "em", "q", "kbd"} & {tag for tag, _ in page.tags}
    assert "<b> <i> <u>" in page.text


def test_a_report_of_nothing_says_so(tmp_path):
    from histoseg.report.fold_page import write

    text = parse(write(tmp_path, make_report()).read_text(encoding="utf-8")).text
    assert "Nothing is finished yet: there are no numbers." in text
    assert "0 of 8 numbers are finished." in text


def test_the_network_of_the_first_run_is_put_beside_the_page(tmp_path):
    from histoseg.report.write import keep_model
    from histoseg.store.objects import FileStore

    (record,) = load_folds(make_fold_record())
    store = FileStore(tmp_path / "store")
    assert keep_model([record], store, tmp_path / "model") == ""
    for name in ("model.safetensors", "model.json"):
        store.put(f"{record.model_folder}/{name}", json.dumps(name).encode())
    assert keep_model([record], store, tmp_path / "model") == str(tmp_path / "model")
    assert json.loads((tmp_path / "model" / "model.safetensors").read_text()) == "model.safetensors"
    assert json.loads((tmp_path / "model" / "model.json").read_text()) == "model.json"


def test_how_to_use_a_kept_network_is_told(raws):
    from histoseg.report.fold_page import to_html

    command = "histoseg predict IMAGE --model results/cerberus/model --out predictions"
    assert command in parse(to_html(make_report(*raws, model="results/cerberus/model"), {})).text
    assert "histoseg predict" not in parse(to_html(make_report(*raws), {})).text


@pytest.mark.parametrize(("experiment", "keeps"), [("cerberus", True), ("cerberus_table4", False)])
def test_the_one_network_is_kept(experiment, keeps):
    from histoseg.pipeline.plan import load_experiment

    assert load_experiment(experiment, "laptop").SPEC.keeps_model is keeps


def test_the_divisions_of_a_row_are_counted_once():
    from histoseg.methods.cerberus import MultiTask
    from histoseg.report.write import divisions_of
    from histoseg.runs.config import Data, FoldRun

    same = {"experiment": "e", "scale": "laptop", "row": "alone", "method": MultiTask(), "data": Data(folds=True)}
    folds = {"train": ("fold1",), "test": "fold3"}
    runs = [
        FoldRun(**same, **folds, structures=(structure,), sources=("source",), seed=seed)
        for structure in ("gland", "lumen")
        for seed in (0, 1)
    ]
    # Two networks of one row are trained on the same folds with each of two seeds.
    assert divisions_of(runs) == {"alone": [(("fold1",), "fold3", 0), (("fold1",), "fold3", 1)]}
