"""A store of a process that is killed at a write of one's choice: before it, within it, or after it."""

import http.client
import os
import signal
import uuid
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from histoseg.store.objects import FileStore


class Killed(BaseException):
    """What a kill looks like from inside; no handler of exceptions stops it."""


def raise_killed():
    raise Killed


def kill_process():
    """A real one, which runs nothing of what would still be done."""
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Point:
    """Where a process dies. After a write is before the next one, but for the last."""

    write: int  # The number of the write, or delete, counted from 0
    moment: str  # "before", "within" or "after"


class MortalStore:
    """A store that counts its writes and deletes, and dies at a point; everything later dies as well."""

    def __init__(self, inner, point=None, end=raise_killed):
        self.inner, self.point, self.end = inner, point, end
        self.url = inner.url
        self.get, self.get_range, self.download = inner.get, inner.get_range, inner.download
        self.size, self.list = inner.size, inner.list
        self.written = []  # Keys
        self.puts = set()  # The numbers of those writes that are no deletes
        self.is_dead = False

    def put(self, key, body):
        return self._write(key, lambda: self.inner.put(key, body), body)

    def put_if_absent(self, key, body):
        return self._write(key, lambda: self.inner.put_if_absent(key, body), body)

    def delete(self, key):
        return self._write(key, lambda: self.inner.delete(key), None)

    def _write(self, key, act, body):
        moment = self.point.moment if self.point and self.point.write == len(self.written) else ""
        if self.is_dead or moment == "before":
            self._die()
        if moment == "within":
            leave_half(self.inner, key, body)
            self._die()
        answer = act()
        self.puts |= set() if body is None else {len(self.written)}
        self.written.append(key)
        if moment == "after":
            self._die()
        return answer

    def _die(self):
        self.is_dead = True
        self.end()


def points_of(store):
    """Every point of a process that wrote to this mortal store; a delete has no middle."""
    points = []
    for number in range(len(store.written)):
        points += [Point(number, "before"), *([Point(number, "within")] if number in store.puts else [])]
    return [*points, Point(len(store.written) - 1, "after")]


def leave_half(store, key, body):
    """What a process leaves that dies while it writes an object."""
    content = body.read_bytes() if isinstance(body, Path) else body
    half = content[: len(content) // 2]
    if isinstance(store, FileStore):
        part = store.path(key).parent / f".new-{uuid.uuid4().hex[:8]}" / "part"  # As `whole_file` names it
        part.parent.mkdir(parents=True)
        part.write_bytes(half)
        return
    url = store._client.generate_presigned_url("put_object", {"Bucket": store.bucket, "Key": store.prefix + key})
    server = urlsplit(url)
    connection = http.client.HTTPConnection(server.netloc, timeout=10)
    connection.putrequest("PUT", f"{server.path}?{server.query}")
    connection.putheader("Content-Length", str(len(content)))
    connection.endheaders()
    connection.send(half)
    connection.close()


def restore(store, objects):
    """Bring a store back to these objects, without what killed processes left."""
    for key in store.list():
        if key not in objects:
            store.delete(key)
    for key, body in objects.items():
        if store.size(key) is None or store.get(key) != body:
            store.put(key, body)
    if isinstance(store, FileStore):
        for part in store.root.rglob(".new-*/part"):
            part.unlink()
            part.parent.rmdir()


def objects_of(store):
    return {key: store.get(key) for key in store.list()}
