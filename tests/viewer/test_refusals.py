"""What the viewer refuses, and what still works when something is missing or damaged."""

import hashlib
import shutil
from pathlib import Path

import pytest

from histoseg.store.objects import FileStore
from histoseg.viewer.vendor import FOLDER, SHA256
from tests.viewer.client import viewing

SLIDE = "first slide"
TOKEN = "correct-horse"


@pytest.fixture(scope="module")
def client(cohort):
    with viewing(FileStore(cohort[0] / "results")) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(cohort):
    with viewing(FileStore(cohort[0] / "results"), token=TOKEN) as running:
        yield running


@pytest.fixture
def results(cohort, tmp_path):
    """A copy to damage."""
    return Path(shutil.copytree(cohort[0] / "results", tmp_path / "results"))


@pytest.mark.parametrize(
    "path",
    [
        "/web/../server.py",
        "/web/%2e%2e/server.py",
        "/web/..%2fserver.py",
        "/web//etc/passwd",
        "/web/vendor",
        "/../../etc/passwd",
        "//etc/passwd",
        "/api/slides/../../../etc/passwd/v/about",
        "/api/slides/..%2f..%2fslides/v/thumbnail",
        "/api/slides/first%20slide%2f..%2fsecond%20&%20last/v/about",
        "/api/slides/first slide/v/nothing".replace(" ", "%20"),
        "/api/slides/nobody/v/about",
        "/api/slides/first%20slide/about",
        "/favicon.ico",
    ],
)
def test_only_known_names_are_served(client, path):
    reply = client.ask(path)
    assert reply.status == 404
    assert reply.error


@pytest.mark.parametrize(
    ("what", "named"),
    [
        ("counts", "box"),
        ("counts?box=1,2,3", "box"),
        ("counts?box=a,b,c,d", "a,b,c,d"),
        ("counts?box=nan,0,1,1", "nan"),
        ("counts?box=inf,0,1,1", "inf"),
        ("at?x=1", "y"),
        ("objects/nuclei/2/0/-1", "-1"),
        ("objects/nuclei/x/0/0", "x"),
        ("objects/nuclei/99/0/0", "99"),
        ("objects/nuclei/2/9999999/0", "up to"),
        ("objects/vessel/2/0/0", "nuclei, gland, lumen"),
        ("density/nuclei/0/0/0", "level 0"),
        ("density/gland/9/0/0", "gland"),
        ("picture/0/²/0", "²"),
    ],
)
def test_bad_input_is_a_line(client, what, named):
    reply = client.of(SLIDE, what.replace("²", "%C2%B2"))
    assert reply.status == 400
    assert named in reply.error


def test_a_tile_beyond_the_slide_is_not_there(client):
    assert client.of(SLIDE, "picture/0/12/0").status == 404  # 12 * 512 = 6144 of 6000
    assert client.of(SLIDE, "picture/0/11/0").status == 200
    assert len(client.of(SLIDE, "objects/nuclei/2/400/0").body) == 20  # No object, and the end of no ring


def test_every_answer_has_a_strict_policy(client):
    for path in ("/", "/web/page.js", "/api/slides", "/nowhere"):
        headers = client.ask(path).headers
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_the_page_asks_no_other_server():
    page = FOLDER.parent
    for path in page.glob("*.*"):
        for line in path.read_text().splitlines():
            assert "http" not in line.replace("http://www.w3.org/2000/svg", ""), path


def test_the_library_is_the_one_that_was_taken():
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in FOLDER.iterdir()} == SHA256


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_written(client, method):
    assert client.ask("/api/slides", method=method).status == 501


def test_a_head_has_no_body(client):
    reply = client.ask("/api/slides", method="HEAD")
    assert (reply.status, reply.body) == (200, b"")


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "192.0.2.7"])
def test_a_name_that_is_not_this_machine_is_refused(client, host):
    """A page elsewhere may let its own name lead to 127.0.0.1 and then read what is here."""
    assert client.ask("/api/slides", Host=host).status == 403
    assert client.ask("/api/slides", Host=f"{host}:{client.port}").status == 403


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:9"])
def test_every_name_of_this_machine_is_allowed(client, host):
    assert client.ask("/api/slides", Host=host).status == 200


@pytest.mark.parametrize("path", ["/", "/api/slides", "/web/page.js", "/?token=", "/?token=wrong"])
def test_without_the_token_nothing_is_served(guarded, path):
    reply = guarded.ask(path, Cookie=f"histoseg-{guarded.port}=wrong; other={TOKEN}", Authorization="Bearer nothing")
    assert reply.status == 401
    assert "token" in reply.error


def test_the_token_becomes_a_cookie(guarded):
    reply = guarded.ask(f"/?token={TOKEN}", Host="lab.example")
    assert (reply.status, reply.headers["Location"]) == (303, "/")
    cookie = reply.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    kept = cookie.partition(";")[0]
    assert guarded.ask("/api/slides", Cookie=kept).status == 200
    assert guarded.ask("/api/slides", Authorization=f"Bearer {TOKEN}").status == 200


@pytest.mark.parametrize("path", ["//evil.example/", "/%2f/evil.example", "/\\evil.example", "/web/page.js"])
def test_the_token_leads_to_no_other_machine(guarded, path):
    assert guarded.ask(f"{path}?token={TOKEN}").headers["Location"] == "/"


def test_a_damaged_file_takes_nothing_else_down(results):
    (results / SLIDE / "objects.parquet").write_bytes(b"PAR1 nothing of the kind")
    with viewing(FileStore(results)) as client:
        assert "objects.parquet" in client.of(SLIDE, "census").error
        assert "objects.parquet" in client.of(SLIDE, "at?x=1&y=1").error
        assert client.of(SLIDE, "picture/3/0/0").status == 200
        assert client.of("second & last", "census").status == 200


def test_a_truncated_file_is_a_line(results):
    path = results / SLIDE / "objects.parquet"
    path.write_bytes(path.read_bytes()[:-1000])
    with viewing(FileStore(results)) as client:
        assert "objects.parquet" in client.of(SLIDE, "census").error


def test_classes_that_the_summary_lacks_are_a_line(results):
    path = results / SLIDE / "summary.json"
    path.write_text(path.read_text().replace("lymphocyte", "monocyte"))
    with viewing(FileStore(results)) as client:
        assert "lymphocyte" in client.of(SLIDE, "census").error


def test_a_summary_that_cannot_be_read_is_listed_with_the_reason(results):
    (results / SLIDE / "summary.json").write_text('{"format": 1, "name": 3}')
    (results / "new" / ".parts").mkdir(parents=True)
    (results / "new" / ".parts" / "0000-0000.objects.parquet").write_bytes(b"")
    with viewing(FileStore(results)) as client:
        listed = client.ask("/api/slides").json
        assert [(slide["folder"], bool(slide["problem"])) for slide in listed["slides"]] == [
            (SLIDE, True),
            ("second & last", False),
        ]
        assert listed["unfinished"] == ["new"]
        assert "summary.json" in client.of(SLIDE, "about").error


def test_a_slide_that_has_moved_is_found_in_a_folder(results, cohort, tmp_path):
    path = results / SLIDE / "summary.json"
    path.write_text(path.read_text().replace(str(cohort[0]), "/nowhere"))
    with viewing(FileStore(results)) as client:
        error = client.of(SLIDE, "picture").error
        assert "/nowhere/slides/first slide.tif" in error
        assert "--slides" in error
        assert client.of(SLIDE, "census").status == 200
        assert client.of(SLIDE, "objects/gland/2/0/0").status == 200
    with viewing(FileStore(results), slides=cohort[0] / "slides") as client:
        assert client.of(SLIDE, "picture").json == {"width": 6000, "height": 5000}


def test_another_slide_under_the_name_is_refused(results, cohort, tmp_path):
    shutil.copy(cohort[0] / "slides" / "second & last.tif", tmp_path / "first slide.tif")
    with viewing(FileStore(results), slides=tmp_path) as client:
        assert "2000 x 1500" in client.of(SLIDE, "picture").error


def test_a_folder_without_results_is_an_empty_list(tmp_path):
    with viewing(FileStore(tmp_path)) as client:
        assert client.ask("/api/slides").json == {"address": tmp_path.as_uri(), "slides": [], "unfinished": []}
