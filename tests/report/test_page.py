import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from histoseg.report.layout import lay_out
from histoseg.report.origin import describe_origin, format_seconds, say_origin
from histoseg.report.page import Report, to_html, to_sections, write
from tests.report.records import (
    SHOTS_RECORDS,
    make_fold_record,
    make_record,
    read_class_panel,
    read_object_panel,
)
from tests.report.specs import make_folds_spec, make_pairs_spec, make_shots_spec

VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Collects what the tests ask about, and refuses tags that do not close in order."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.texts = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def parse(html):
    page = Page()
    page.feed(html)
    page.close()
    assert page.open == []
    return page


def make_report(spec, *records, **changes):
    report = Report(
        stem="table",
        command="histoseg report table && echo <done>",
        omissions=["CRAG is left out: <reason>."],
        table=lay_out(spec, records),
        read=read_object_panel if spec.compared == "rows" else read_class_panel,
    )
    return replace(report, **changes)


def pairs_report(**changes):
    spec = make_pairs_spec()
    return make_report(
        spec, *(make_record(row, *column.split("."), with_panels=True) for row, column in spec.keys[:4]), **changes
    )


def folds_report(**changes):
    alone = [
        make_fold_record("alone", i, structures=(structure,)) for i in range(3) for structure in ("gland", "lumen")
    ]
    together = [make_fold_record("together", i, structures=("gland", "lumen", "tissue")) for i in range(3)]
    return make_report(make_folds_spec(), *alone, *together, **changes)


def shots_report(**changes):
    return make_report(make_shots_spec(), *SHOTS_RECORDS, **changes)


REPORTS = {"pairs": pairs_report, "folds": folds_report, "shots": shots_report}
FIGURES = {
    "pairs": {"scores", "panels", "validation", "losses"},
    "folds": {"scores-gland", "scores-lumen", "scores-tissue", "panels", "losses"},
    "shots": {"scores"},
}


@pytest.fixture(scope="module", params=REPORTS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def html(kind, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "new"
    path = write(folder, REPORTS[kind]())
    assert path == folder / "index.html"
    figures = {f"table-{name}.png" for name in FIGURES[kind]}
    # Nothing half written is left behind.
    assert {file.name for file in folder.iterdir()} == {"index.html", "table.md", "table.csv", *figures}
    return path.read_text(encoding="utf-8")


def test_the_page_is_well_formed_and_its_headings_nest(html):
    page = parse(html)
    assert html.startswith("<!doctype html>")
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(next_ <= level + 1 for level, next_ in pairwise(levels))
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {attrs["href"].removeprefix("#") for attrs in page.all("a")} <= set(ids)


def test_the_page_loads_nothing_from_elsewhere(html):
    page = parse(html)
    assert not page.all("script")
    assert not page.all("link")
    assert "default-src 'none'" in page.all("meta")[1]["content"]
    for _, attrs in page.tags:
        for name in ("src", "href", "srcset", "data", "action"):
            assert attrs.get(name, "#").startswith(("#", "data:image/png;base64,"))
    assert "url(" not in html
    assert "@import" not in html


def test_all_figures_are_embedded_with_a_text_in_their_place(kind, html):
    images = parse(html).all("img")
    assert len(images) == len(FIGURES[kind])
    for image in images:
        assert base64.b64decode(image["src"].partition(",")[2], validate=True).startswith(b"\x89PNG")
        assert len(image["alt"]) > 40


def test_tables_scroll_and_name_their_heads(html):
    page = parse(html)
    assert len(page.all("table")) == len([a for a in page.all("div") if a.get("class") == "scroll"]) >= 3
    assert all("scope" in attrs for attrs in page.all("th"))


def test_every_report_says_what_it_is_of(kind, html):
    text, report = parse(html).text, REPORTS[kind]()
    assert "Demo data drawn by the program: these numbers say nothing about tissue." in text
    assert "CRAG is left out: <reason>." in text
    assert "histoseg report table && echo <done>" in text
    for record in report.table.records:
        known = (record.name, record.stages[0].stage, record.git_commit, *record.checksums.values(), record.model)
        assert all(word in text for word in known)


HEADINGS = {
    "pairs": [
        *("Results", "Cell by cell", "Image, annotation, prediction", "How training went", "What to know"),
        *("Class by class", "Three ways to average", "Where the networks lie", "What was left out, and why"),
        *("Where the numbers come from", "How to get them again"),
    ],
    "folds": [
        *("Results", "Cell by cell", "Image, annotation, prediction", "How training went", "What to know"),
        *("Class by class", "Where the networks lie", "What was left out, and why"),
        *("Where the numbers come from", "How to get them again"),
    ],
    "shots": [
        *("Results", "Cell by cell", "Where the networks lie", "What was left out, and why"),
        *("Where the numbers come from", "How to get them again"),
    ],
}


def test_sections_without_content_are_left_out(kind, html):
    assert re.findall("<h2 .*>(.*)</h2>", html) == HEADINGS[kind]
    assert re.findall('<li><a href="#.*">(.*)</a>', html) == HEADINGS[kind]


def test_a_page_of_pairs():
    text = parse(to_html((report := pairs_report()).table, to_sections(report))).text
    assert "4 of 6 cells are finished, at the laptop scale." in text
    assert "not finished: Nuclei, All others, MAML; Nuclei, All others, TransferL." in text
    assert "Glands: IoU of each class, mean over seeds Column background gland All others, MAML 0." in text
    assert "New task Predecessors Method Pooled Reference Present Majority Paper Replicates Glands All others" in text


def test_a_page_of_folds():
    text = parse(to_html((report := folds_report()).table, to_sections(report))).text
    assert "7 of 8 cells are finished, at the laptop scale." in text
    assert "A note <to> be read." in text
    assert "not finished: Alone, Cross-validation, Tissue mAP." in text
    # The mean of three equal divisions; the third class is in no truth.
    assert (
        "Tissue, cross-validation: average precision of each class, mean over divisions of the folds and seeds" in text
    )
    assert "background stroma adipose Together 0.250 0.750 —" in text
    assert "9, of 9 trainings" in text
    assert "Trained as Structures Replicate Folder in the store Alone gland fold1 to fold3, seed 0 runs/" in text


def test_classes_are_averaged_over_replicates_that_have_them():
    first, second = make_record(), make_record(seed=1)
    first = first.model_copy(update={"per_class": {"iou": {"background": 0.5, "gland": float("nan")}}})
    second = second.model_copy(update={"per_class": {"iou": {"background": 0.7, "gland": 0.2}}})
    report = make_report(make_pairs_spec(), first, second)
    (listing,) = next(section for section in to_sections(report) if section.name == "classes").listings
    assert listing.rows == [("Nuclei only, MAML", "0.600", "0.200")]


def test_the_three_averages():
    scores = {"miou_pooled": 0.5, "miou_reference": 0.4, "miou_present": 0.45, "majority_miou_pooled": 0.25}
    report = make_report(make_pairs_spec(), make_record(**scores), make_record("glas", "all_others", seed=3, **scores))
    (listing,) = next(section for section in to_sections(report) if section.name == "averages").listings
    assert listing.rows == [
        ("Glands", "All others", "MAML", "0.500", "0.400", "0.450", "0.250", "—", "seed 3"),
        ("Glands", "Nuclei only", "MAML", "0.500", "0.400", "0.450", "0.250", "0.563", "seed 0"),
    ]


def test_names_are_escaped():
    record = make_record().model_copy(
        update={
            "device": "<b>cpu</b>",
            "git_commit": "<i>",
            "per_class": {"iou": {"<script>alert(1)</script>": 0.5, 'a"b&c': 0.5}},
        }
    )
    spec = make_pairs_spec(title="<u>", rows={"glas": "<Glands>", "monuseg": "<s>"})
    report = make_report(spec, record, model="<kbd>")
    page = parse(to_html(report.table, to_sections(report)))
    assert not {"script", "b", "i", "u", "s", "glands", "kbd"} & {tag for tag, _ in page.tags}
    assert '<script>alert(1)</script> a"b&c' in page.text


def test_the_better_method_is_bold():
    report = make_report(
        make_pairs_spec(), make_record(miou_pooled=0.5), make_record(method="transfer", miou_pooled=0.4)
    )
    html = to_html(report.table, to_sections(report))
    assert '<strong class="score">0.500</strong>' in html
    assert '<span class="score">0.400</span>' in html


def test_places_without_a_result_look_different():
    report = make_report(make_pairs_spec(), make_record(), make_record(method="transfer"))
    page = parse(to_html(report.table, to_sections(report)))
    grid = [attrs["class"].split() for attrs in page.all("td") if "class" in attrs][:8]
    # Glands after all others, twice, are not finished; nuclei after all others likewise; nuclei after nuclei cannot be.
    assert ["none" in kinds for kinds in grid] == [True, True, False, False, True, True, True, True]
    assert ["first" in kinds for kinds in grid] == [True, False] * 4


@pytest.mark.parametrize(("spec", "cells"), [(make_pairs_spec(), 6), (make_folds_spec(), 8), (make_shots_spec(), 4)])
def test_a_report_of_nothing_says_so(spec, cells, tmp_path):
    text = parse(write(tmp_path, make_report(spec)).read_text(encoding="utf-8")).text
    assert "Nothing is finished yet: there are no numbers." in text
    assert f"0 of {cells} cells are finished." in text
    assert {file.name for file in tmp_path.iterdir()} == {"index.html", "table.md", "table.csv"}


def test_nothing_left_out_is_said():
    report = shots_report(omissions=())
    assert "Nothing: every cell of the table has a result." in parse(to_html(report.table, to_sections(report))).text


def test_a_table_of_one_row_has_no_figure_of_scores():
    report = make_report(make_folds_spec(rows={"together": "Together"}), make_fold_record())
    assert {picture.name for section in to_sections(report) for picture in section.pictures} == {"panels", "losses"}


def test_the_caption_of_scores_explains_what_is_drawn():
    def caption(report):
        return next(section for section in to_sections(report) if section.name == "scores").pictures[0].caption

    assert caption(pairs_report()) == (
        "Large marks are means over seeds, lines the 95 % bootstrap interval over test images. "
        "The dotted line is a predictor that always answers the most frequent class."
    )
    assert caption(folds_report()) == (
        "Large marks are means over divisions of the folds and seeds, small dots single replicates. "
        "Otsu's threshold is what a program scores that has learned nothing."
    )
    assert caption(shots_report()) == "Large marks are means over seeds, bars their standard deviation."


def test_a_kept_network_comes_with_the_command_that_uses_it():
    report = folds_report(model="results/cerberus/model")
    command = "histoseg segment IMAGE --model results/cerberus/model --out predictions"
    assert command in parse(to_html(report.table, to_sections(report))).text
    assert "histoseg segment" not in parse(to_html(report.table, to_sections(folds_report()))).text


@pytest.mark.parametrize(
    ("origins", "statement"),
    [
        ({"glas": "raw", "monuseg": "raw"}, "Real images: glas, monuseg."),
        (
            {"glas": "raw", "monuseg": "demo"},
            "Not all data are real (demo: monuseg; raw: glas): a number that involves demo data says nothing about "
            "tissue.",
        ),
    ],
)
def test_real_and_mixed_data_are_told_apart(origins, statement):
    assert say_origin([make_record().model_copy(update={"origins": origins})]) == statement


@pytest.mark.parametrize(("precision", "said"), [("fp32", "float32"), ("", "not stated")])
def test_the_page_names_the_precision_of_scores(precision, said):
    records = tuple(one.model_copy(update={"precision": precision}) for one in folds_report().table.records)
    table = replace(folds_report().table, records=records)
    ((_, found),) = [fact for fact in describe_origin(table).facts if fact[0] == "Scored in"]
    assert said in found


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "0.0 s"), (59.94, "59.9 s"), (61.5, "1 min 2 s"), (90061.0, "25 h 1 min")]
)
def test_seconds_are_printed_for_people(seconds, text):
    assert format_seconds(seconds) == text


def test_what_reading_changed_stands_with_the_origin_of_numbers():
    notes = [("glas", "transparent pixels read as <glass>", 12_345), ("crag", "regions left out", 2)]
    page = to_html(pairs_report().table, to_sections(pairs_report(notes=notes)))
    assert "What reading the files left out or changed" in page
    text = parse(page).text
    assert "crag regions left out 2 glas transparent pixels read as <glass> 12,345" in text
    assert "What reading the files" not in to_html(pairs_report().table, to_sections(pairs_report()))
