"""The values used last, made once each, whichever thread asks."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """At most `capacity` values; threads that ask for the same one wait for a single making of it.

    `drop` is called with each value that gives way: the one whose last use is longest ago.
    """

    def __init__(self, capacity: int, drop: Callable[[Value], None] = lambda _: None) -> None:
        self._capacity = capacity
        self._drop = drop
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._making: dict[Key, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """The value of a key, made now if it is not there; what fails is tried again next time."""
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        with making:
            with self._lock:
                if key in self._values:
                    self._values.move_to_end(key)
                    return self._values[key]
            value = make()
            with self._lock:
                self._values[key] = value
                surplus = len(self._values) - self._capacity
            self._drop_oldest(surplus)
            return value

    def clear(self) -> None:
        """Drop all values."""
        self._drop_oldest(len(self._values))

    def _drop_oldest(self, count: int) -> None:
        for _ in range(count):
            with self._lock:
                key, value = self._values.popitem(last=False)
                self._making.pop(key, None)
            self._drop(value)
