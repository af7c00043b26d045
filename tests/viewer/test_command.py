"""`histoseg view` as a process: what it prints, how it ends, and results that lie on S3."""

import os
import re
import signal
import urllib.request

import pytest

from histoseg.store.objects import connect
from tests.command import run
from tests.store.servers import weed
from tests.viewer.client import Client, command, viewing


def test_it_prints_its_address_and_ends_at_ctrl_c(cohort):
    with command(cohort[0] / "results", "--port", "0") as (printed, process):
        assert "2 slides" in printed[0]
        address = printed[-1].strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
        with urllib.request.urlopen(address) as page:
            assert b"<title>histoseg view</title>" in page.read()
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert process.stderr.read() == ""


def test_other_machines_need_a_token(cohort):
    with command(cohort[0] / "results", "--port", "0", "--host", "0.0.0.0") as (printed, process):
        found = re.fullmatch(r"http://[^/]+:(\d+)/\?token=([\w-]{40,})\n", printed[-1])
        client = Client(port=int(found[1]))
        assert client.ask("/api/slides").status == 401
        assert client.ask("/api/slides", Authorization=f"Bearer {found[2]}").status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_a_folder_that_is_not_there_is_a_line(capsys, tmp_path):
    code, _, errors = run(capsys, "view", tmp_path / "nowhere")
    assert code == 1
    assert str(tmp_path / "nowhere") in errors


def test_a_port_in_use_is_a_line(capsys, cohort):
    store = connect((cohort[0] / "results").as_uri())
    with viewing(store) as client:
        code, _, errors = run(capsys, "view", cohort[0] / "results", "--port", str(client.port))
    assert code == 1
    assert str(client.port) in errors


@pytest.fixture(scope="module")
def bucket(cohort, tmp_path_factory):
    """The results and a slide in a bucket, whose summary names it there."""
    folder, _ = cohort
    with weed(tmp_path_factory.mktemp("weed")) as server:
        before = {name: os.environ.get(name) for name in server.environment}
        os.environ.update(server.environment)
        store = connect("s3://histoseg/cases")
        for path in (folder / "results" / "second & last").iterdir():
            store.put(f"results/second & last/{path.name}", path)
        slide = folder / "slides" / "second & last.tif"
        store.put("slides/second & last.tif", slide)
        key = "results/second & last/summary.json"
        store.put(key, store.get(key).replace(str(slide).encode(), b"s3://histoseg/cases/slides/second & last.tif"))
        yield connect("s3://histoseg/cases/results")
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def test_results_and_slides_on_s3(bucket, cohort):
    with viewing(bucket) as remote, viewing(connect((cohort[0] / "results").as_uri())) as local:
        assert [slide["folder"] for slide in remote.ask("/api/slides").json["slides"]] == ["second & last"]
        for what in (
            "census",
            "counts?box=0,0,900,900",
            "at?x=500&y=500",
            "objects/nuclei/2/0/0",
            "objects/gland/2/0/0",
            "tissue",
            "thumbnail",
            "picture/0/1/1",
            "picture/2/0/0",
        ):
            found, expected = remote.of("second & last", what), local.of("second & last", what)
            assert (found.status, found.body) == (200, expected.body), what
