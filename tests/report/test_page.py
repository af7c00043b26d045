import base64
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from tests.report.records import make_record, read_panel
from tests.report.table_of_four import make_spec
from tests.report.test_tables import load

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


def make_report(*raws, omissions=(), **changes):
    from histoseg.report.frame import Frame
    from histoseg.report.page import Report

    fields = {
        "frame": Frame(stem="table1", command="histoseg report table1 && echo <done>", omissions=omissions),
        "spec": make_spec(),
        "records": load(*raws),
        "read": read_panel,
    }
    return Report(**{**fields, **changes})


@pytest.fixture(scope="module")
def raws():
    return [make_record(*address, with_panels=True) for address in make_spec().addresses[:4]]


@pytest.fixture(scope="module")
def html(raws, tmp_path_factory):
    from histoseg.report.page import write

    folder = tmp_path_factory.mktemp("report") / "new"
    path = write(folder, make_report(*raws, omissions=["Gleason is left out: <reason>."]))
    assert path == folder / "index.html"
    figures = {f"table1-{name}.png" for name in ("comparison", "panels", "refinement", "pretraining")}
    # Nothing half written is left behind.
    assert {file.name for file in folder.iterdir()} == {"index.html", "table1.md", "table1.csv", *figures}
    return path.read_text(encoding="utf-8")


def test_the_page_is_well_formed_and_its_headings_nest(html):
    page = parse(html)
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


def test_all_figures_are_embedded_with_a_text_in_their_place(html):
    images = parse(html).all("img")
    assert len(images) == 4
    for image in images:
        assert base64.b64decode(image["src"].partition(",")[2], validate=True).startswith(b"\x89PNG")
        assert len(image["alt"]) > 40


def test_tables_scroll_and_name_their_heads(html):
    page = parse(html)
    assert len(page.all("table")) == len([a for a in page.all("div") if a.get("class") == "scroll"]) > 3
    assert all("scope" in attrs for attrs in page.all("th"))


def test_the_page_says_what_it_is_of(html, raws):
    text = parse(html).text
    assert "Demo data drawn by the program: these numbers say nothing about tissue." in text
    assert "4 of 6 cells are finished, at the laptop scale." in text
    assert "Gleason is left out: <reason>." in text
    assert "histoseg report table1 && echo <done>" in text
    assert "not finished: Nuclei after All others, MAML; Nuclei after All others, TransferL." in text
    for raw in raws:
        for known in (raw["cell"], raw["pretraining"], raw["git_commit"], *raw["checksums"].values()):
            assert known in text


def test_names_are_escaped():
    from histoseg.report.page import to_html

    raw = make_record()
    raw["task"]["classes"] = ["<script>alert(1)</script>", 'a"b&c']
    raw["device"] = "<b>cpu</b>"
    raw["git_commit"] = "<i>"
    spec = make_spec(title="<u>", rows={"glas": "<Glands>"}, methods={"maml": "M<", "transfer": "T&"}, citation="<a>")
    page = parse(to_html(make_report(raw, spec=spec), {}))
    assert not {"script", "b", "i", "u", "glands"} & {tag for tag, _ in page.tags}
    assert '<script>alert(1)</script> a"b&c' in page.text


def test_the_better_method_is_bold():
    from histoseg.report.page import to_html

    html = to_html(make_report(make_record(miou=0.5), make_record(method="transfer", miou=0.4)), {})
    assert "<strong>0.500</strong>" in html
    assert "<strong>0.400</strong>" not in html


def test_a_report_of_nothing_says_so(tmp_path):
    from histoseg.report.page import write

    text = parse(write(tmp_path, make_report()).read_text(encoding="utf-8")).text
    assert "Nothing is finished yet: there are no numbers." in text
    assert "0 of 6 cells are finished." in text


@pytest.mark.parametrize(
    ("origins", "statement"),
    [
        ({"glas": "raw", "monuseg": "raw"}, "Real images: glas, monuseg."),
        ({"glas": "raw", "monuseg": "demo"}, "Not all data are real (demo: monuseg; raw: glas)"),
    ],
)
def test_real_and_mixed_data_are_told_apart(origins, statement):
    from histoseg.report.provenance import say_origin

    assert say_origin(load({**make_record(), "origins": origins})).startswith(statement)


def test_a_shared_pretraining_counts_once():
    from histoseg.report.provenance import sum_seconds

    # Two runs of one pretraining: 61.5 once, then 20.25 + 4 each; on two GPUs, twice that in GPU time.
    first = make_record("glas", "monuseg")
    second = {**make_record("glas", "monuseg", seed=1), "pretraining": first["pretraining"]}
    assert sum_seconds(load(first, second)) == (61.5 + 2 * 24.25, 0)
    on_gpus = [{**record, "world_size": 2, "gpu_seconds": 171.5} for record in (first, second)]
    assert sum_seconds(load(*on_gpus)) == (61.5 + 2 * 24.25, 2 * (61.5 + 2 * 24.25))


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "0.0 s"), (59.94, "59.9 s"), (61.5, "1 min 2 s"), (90061.0, "25 h 1 min")]
)
def test_seconds_are_printed_for_people(seconds, text):
    from histoseg.report.provenance import format_seconds

    assert format_seconds(seconds) == text
