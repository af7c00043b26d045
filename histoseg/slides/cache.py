"""What was read of a slide and may be asked for again: the least recently used makes room for others."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from threading import Lock
from typing import Generic, Protocol, TypeVar, runtime_checkable


@runtime_checkable
class Sized(Protocol):
    """What is kept: arrays, for example."""

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it takes."""


Value = TypeVar("Value", bound=Sized)


class Cache(Generic[Value]):
    """Values by key, of at most so many bytes together, and at least one.

    Threads may share it. Those that ask for the same value at once have it made once, by the first.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._held_bytes = 0
        self._lock = Lock()
        self._values: OrderedDict[Hashable, Future[Value]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of a key, made if it is not here; what `make` raises is raised, and nothing is kept."""
        with self._lock:
            found = self._values.get(key)
            if found is not None:
                self._values.move_to_end(key)
            else:
                self._values[key] = mine = Future[Value]()
        return found.result() if found is not None else self._fill(key, mine, make)

    def holds(self, key: Hashable) -> bool:
        """Whether `get` would return at once, or wait for another thread."""
        return key in self._values

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._values.clear()
            self._held_bytes = 0

    def _fill(self, key: Hashable, mine: "Future[Value]", make: Callable[[], Value]) -> Value:
        try:
            value = make()
        except BaseException as error:
            with self._lock:
                if self._values.get(key) is mine:
                    del self._values[key]
            mine.set_exception(error)
            raise
        mine.set_result(value)
        with self._lock:
            if self._values.get(key) is mine:  # Else it was forgotten meanwhile.
                self._held_bytes += value.nbytes
            self._make_room(key)
        return value

    def _make_room(self, newest: Hashable) -> None:
        for key in [*self._values] if self._held_bytes > self._most_bytes else ():
            if self._held_bytes <= self._most_bytes:
                return
            if key != newest and self._values[key].done():  # Others are being made, and not counted yet.
                self._held_bytes -= self._values.pop(key).result().nbytes
