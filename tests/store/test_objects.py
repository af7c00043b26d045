"""The same promises for files and for a real S3 server."""

import pickle
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from botocore.exceptions import HTTPClientError

from histoseg.errors import ConfigError, StorageError, StoreRefusedError
from histoseg.store.objects import BRISK, MULTIPART_BYTES, PATIENT, USUAL, Patience, connect
from histoseg.store.s3_client import _AfterAnswer
from ray_jobs.local_store import local_store
from tests.store.servers import canned


@pytest.fixture(scope="module")
def s3_url(tmp_path_factory):
    with local_store(tmp_path_factory.mktemp("s3")) as server:
        yield f"{server.url}/some/prefix"


@pytest.fixture(params=["file", "s3"])
def store(request, tmp_path):
    if request.param == "file":
        return connect(f"file://{tmp_path}/store")
    return connect(f"{request.getfixturevalue('s3_url')}/{request.node.name.partition('[')[0]}")


def test_what_is_put_comes_back(store, tmp_path):
    store.put("a/b", b"0123456789")
    assert store.get("a/b") == b"0123456789"
    assert store.get_range("a/b", 3, 4) == b"3456"
    assert store.size("a/b") == 10
    store.download("a/b", tmp_path / "down" / "copy")
    assert (tmp_path / "down" / "copy").read_bytes() == b"0123456789"
    store.put("a/b", b"new")
    assert store.get("a/b") == b"new"


def test_files_are_put_too_in_parts_if_large(store, tmp_path):
    path = tmp_path / "large"
    body = bytes(range(256)) * (MULTIPART_BYTES // 256) + b"end"
    path.write_bytes(body)
    store.put("large", path)
    assert store.size("large") == len(body)
    assert store.get_range("large", len(body) - 5, 5) == b"\xfe\xffend"


def test_listing_is_sorted_and_by_prefix(store):
    for key in ("b/2", "a/1", "b/1", "ba"):
        store.put(key, b"x")
    assert store.list() == ["a/1", "b/1", "b/2", "ba"]
    assert store.list("b/") == ["b/1", "b/2"]
    assert store.list("nothing/") == []


def test_deleting_is_idempotent(store):
    store.put("a", b"x")
    store.delete("a")
    store.delete("a")
    assert store.size("a") is None


def test_an_absent_object_says_so(store, tmp_path):
    assert store.size("nope") is None
    with pytest.raises(StorageError, match=r"no.* object.*nope"):
        store.get("nope")
    with pytest.raises(StorageError):
        store.download("nope", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_of_many_who_put_if_absent_one_wins(store):
    won = []

    def attempt(name):
        if store.put_if_absent("record", name):
            won.append(name)

    threads = [threading.Thread(target=attempt, args=(b"%d" % i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert store.get("record") == won[0]


@contextmanager
def answering(statuses, cuts=0, page=b""):
    """An S3 server that answers PUTs with these statuses, the last for ever; gives the variables that lead to it.

    Of what is read, `cuts` times only half arrives. With a page, every answer is that page.
    """
    left, bodies = list(statuses), [b"01234"] * cuts + [b"0123456789"]

    class Answer(BaseHTTPRequestHandler):
        def do_PUT(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(left.pop(0) if len(left) > 1 else left[0])
            self.send_body(page)

        def send_body(self, body):
            if page:
                self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else body)

        def do_HEAD(self):
            self.send_response(200)
            self.send_body(page)

        def do_GET(self):
            self.send_response(200)
            if page:
                self.send_body(page)
                return
            self.send_header("Content-Length", "10")
            self.end_headers()
            self.wfile.write(bodies.pop(0))

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        yield {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
        server.shutdown()


@pytest.mark.parametrize(
    ("statuses", "won"), [([200], True), ([412], False), ([409, 409, 200], True), ([409, 412], False)]
)
def test_a_conflict_is_nobodys_victory_so_one_asks_again(statuses, won, monkeypatch):
    """As S3's documentation of conditional writes wants it: 412 means that there is one, 409 that one must retry."""
    with answering(statuses) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        assert connect("s3://bucket").put_if_absent("record", b"x") is won


def test_a_conflict_that_does_not_end_is_an_error(monkeypatch):
    monkeypatch.setattr("histoseg.store.objects.CONFLICT_PAUSES", 1)
    with answering([409]) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(StorageError, match="record"):
            connect("s3://bucket").put_if_absent("record", b"x")


@pytest.mark.parametrize(
    "read", [lambda store: store.get("a"), lambda store: store.get_range("a", 0, 10)], ids=["all", "part"]
)
def test_a_body_that_is_cut_is_asked_for_again(read, monkeypatch):
    with answering([200], cuts=1) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        assert read(connect("s3://bucket", BRISK)) == b"0123456789"


def test_but_not_for_ever(monkeypatch):
    with answering([200], cuts=2) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(StorageError, match="check AWS_ENDPOINT_URL"):
            connect("s3://bucket", BRISK).get("a")


@pytest.mark.parametrize(("status", "is_for_good"), [(401, True), (403, True), (501, True), (400, False), (503, False)])
@pytest.mark.parametrize("kind", ["bytes", "file"])
def test_a_no_that_will_stay_one_is_told_from_what_passes(status, is_for_good, kind, tmp_path, monkeypatch):
    (tmp_path / "body").write_bytes(b"x")
    with answering([status]) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(StorageError, match="s3://bucket at http") as caught:
            connect("s3://bucket", BRISK).put("a", b"x" if kind == "bytes" else tmp_path / "body")
    assert isinstance(caught.value, StoreRefusedError) is is_for_good


@pytest.mark.parametrize("ask", ["get", "delete", "put", "put_if_absent"])
def test_what_a_file_system_refuses_is_one_line(ask, tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    store = connect(f"file://{tmp_path}/file")
    words = [b"x"] if ask.startswith("put") else []
    with pytest.raises(StoreRefusedError, match=r"cannot .*/file/a: (Not a directory|File exists)"):
        getattr(store, ask)("a", *words)


def test_a_store_travels_to_another_process(store):
    store.put("a", b"x")
    assert pickle.loads(pickle.dumps(store)).get("a") == b"x"


@pytest.mark.parametrize("name", ["plain", "with blank", "a#b", "a?b", "100%", "a%20b"])
def test_a_folder_may_have_any_name(name, tmp_path):
    (tmp_path / name).mkdir()
    store = connect((tmp_path / name).as_uri())
    store.put("a", b"x")
    assert connect(store.url).get("a") == (tmp_path / name / "a").read_bytes() == b"x"


def test_a_folder_is_taken_as_it_is_typed(tmp_path):
    connect(f"file://{tmp_path}/a#b").put("a", b"x")
    assert (tmp_path / "a#b" / "a").read_bytes() == b"x"


@pytest.mark.parametrize("url", ["/some/folder", "s3:///x", "http://x/y", "file://host/x", "file://", ""])
def test_other_urls_are_refused(url):
    with pytest.raises(ConfigError, match="write file:///absolute/folder or s3://bucket/prefix"):
        connect(url)


def test_a_key_cannot_leave_the_store(tmp_path):
    with pytest.raises(StorageError, match="leaves the store"):
        connect(f"file://{tmp_path}/store").get("../outside")


def test_a_wrong_bucket_or_key_or_endpoint_says_what_to_do(s3_url, monkeypatch):
    with pytest.raises(StoreRefusedError, match="no such bucket"):
        connect("s3://another-bucket").list()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(StoreRefusedError, match="check AWS_SECRET_ACCESS_KEY"):
        connect(s3_url).get("a")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "wrong")
    with pytest.raises(StoreRefusedError, match="check AWS_ACCESS_KEY_ID"):
        connect(s3_url).get("a")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StorageError, match="check AWS_ENDPOINT_URL"):
        connect(s3_url).get("a")


@pytest.mark.parametrize("ask", ["list", "get", "size", "put", "put_if_absent", "upload"])
def test_a_console_is_told_from_an_s3_service(ask, tmp_path, monkeypatch):
    (tmp_path / "body").write_bytes(b"x")
    arguments = {"list": (), "put": ("a", b"x"), "put_if_absent": ("a", b"x"), "upload": ("a", tmp_path / "body")}
    with answering([200], page=b"<html>Console</html>") as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(StoreRefusedError, match=r"a web page.* set AWS_ENDPOINT_URL to the address of"):
            getattr(connect("s3://bucket"), ask.replace("upload", "put"))(*arguments.get(ask, ("a",)))


def test_an_object_that_is_a_page_is_no_console(s3_url):
    store = connect(s3_url)
    store._client.put_object(Bucket=store.bucket, Key=f"{store.prefix}a.html", Body=b"<p>", ContentType="text/html")
    assert store.get("a.html") == b"<p>"
    assert store.size("a.html") == 3


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN"])
def test_a_key_with_a_line_break_is_not_shown(name, monkeypatch):
    """Python's message has the whole header: the token itself, or the key and the signature."""
    with answering([200]) as environment:
        for variable, value in {**environment, name: "Sesame\nopen"}.items():
            monkeypatch.setenv(variable, value)
        with pytest.raises(StoreRefusedError, match=r"holds a line break.*AWS_ACCESS_KEY_ID") as caught:
            connect("s3://bucket", BRISK).get("a")
    assert "Sesame" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("ask", ["get", "put", "upload"])
def test_many_failures_use_up_no_quota(ask, tmp_path, monkeypatch):
    """boto3's own retries have one for all requests of a client: after 35 failed ones it repeats none."""
    (tmp_path / "body").write_bytes(b"x")
    arguments = {"get": ("a",), "put": ("a", b"x"), "upload": ("a", tmp_path / "body")}[ask]
    monkeypatch.setattr("histoseg.store.s3_client.FIRST_PAUSE_S", 0.0)
    with canned(503) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        store = connect("s3://bucket", Patience(attempts=11))
        for _ in range(5):
            with pytest.raises(StorageError, match="503"):
                getattr(store, ask.replace("upload", "put"))(*arguments)
    assert len(server.seen) == 5 * 11


def test_a_patient_request_waits_two_minutes_on_average_and_a_usual_one_half_a_minute(monkeypatch):
    """By the definition of the pauses: 0.25 * (1 + 2 + ... + 64), then 20 s each, halved on average."""
    monkeypatch.setattr("histoseg.store.s3_client.random.random", lambda: 0.5)
    operation = SimpleNamespace(name="GetObject")
    for patience, expected_s in ((PATIENT, 0.5 * (31.75 + 10 * 20)), (USUAL, 0.5 * (31.75 + 20)), (BRISK, 0.125)):
        after = _AfterAnswer(url="s3://bucket", attempts=patience.attempts)
        pauses = [after.pause(None, i, HTTPClientError(error="reset"), operation) for i in range(1, 30)]
        assert sum(filter(None, pauses)) == expected_s
        assert pauses[patience.attempts - 1 :] == [None] * (30 - patience.attempts)


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    store = connect(f"file://{tmp_path}/store")
    store.put("a", b"old")
    monkeypatch.setattr(
        "histoseg.store.objects.os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    with pytest.raises(StorageError, match=r"cannot write .*/a: No space left"):
        store.put("a", b"new")
    with pytest.raises(StorageError, match=r"cannot write .*/b: No space left"):
        store.put_if_absent("b", b"new")
    assert store.get("a") == b"old"
    assert store.list() == ["a"]
