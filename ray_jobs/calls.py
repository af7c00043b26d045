"""Calls of Ray's processes with bounded work in flight, repeated where a process, a node or the store was lost.

`Calls` has one thread, the only one of the driver that talks to Ray; others wait for futures. Ray is never handed more
calls of actors than these run at a time, so what a lost node costs is what it held.
"""

import heapq
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any

from histoseg.errors import ClusterError, HistosegError, StorageError, StoreRefusedError
from ray_jobs.failures import Loss, first_line, loss_of

logger = logging.getLogger("histoseg.slides")

LOST_AT_MOST = 5  # A call that lost its process so often is more likely to cause that than to suffer from it.
FAILED_AT_MOST = 4  # With pauses of 2, 4 and 8 s: each call waits for a store that is away, two minutes or more.
LOOK_EVERY_S = 0.1
INTERRUPTED = ClusterError("interrupted; the same command goes on where this one was")

Remote = Any  # A function, an actor, or a reference to what they compute: Ray makes them, and its stubs know little.


@dataclass(kw_only=True, eq=False)
class Call:
    """Something to be computed, and where it has got to.

    Attributes:
        start: Starts it, on an actor if it needs one; the flag says whether it was tried before.
        what: What it is about, for people.
    """

    start: Callable[[Remote, bool], Remote]
    what: str
    needs_actor: bool = False
    future: "Future[Remote]" = field(default_factory=Future)
    failures: int = 0
    losses: int = 0


@dataclass(kw_only=True, eq=False)
class _Place:
    """An actor, whether it has answered yet, and how many calls it has now."""

    actor: Remote
    is_ready: bool = False
    num_calls: int = 0


@dataclass(frozen=True, kw_only=True)
class Actors:
    """The actors that there may be: how one is made, how many at most, and how many calls each takes at a time."""

    make: Callable[[], Remote]
    most: int
    calls_each: int


class Calls:
    """Calls in their order, as many at a time as there is room for; for as long as the context of `calls` lasts."""

    def __init__(self, actors: Actors) -> None:
        self._actors, self._most = actors, actors.most
        self._new = SimpleQueue[Call]()
        self._waiting = deque[Call]()
        self._later: list[tuple[float, int, Call]] = []
        self._number = count()
        self._running: dict[Remote, tuple[Call, _Place | None]] = {}
        self._starting: dict[Remote, _Place] = {}
        self._places: list[_Place] = []
        self._over = Event()
        self._error: HistosegError | None = None
        self._starts_lost = 0

    @property
    def num_waiting(self) -> int:
        """How many calls wait for an actor."""
        return len(self._waiting) + len(self._later)

    @property
    def num_actors(self) -> int:
        """How many actors compute or could."""
        return sum(place.is_ready for place in self._places)

    @property
    def error(self) -> HistosegError | None:
        """Why nothing can be computed any more, if that is so."""
        return self._error

    def put(self, call: Call) -> "Future[Remote]":
        """Have something computed; the future is cancelled or fails as soon as that is not possible any more."""
        if self._over.is_set():
            call.future.set_exception(self._error or INTERRUPTED)
        else:
            self._new.put(call)
        return call.future

    def run(self) -> None:
        """What the thread does."""
        try:
            while not self._over.is_set():
                self._take_new()
                self._hand_out()
                self._gather()
        except Exception as error:  # Of Ray itself; nobody could be told otherwise.
            logger.exception("calls cannot go on")
            self._error = self._error or ClusterError(f"Ray could not go on: {first_line(error)}; submit again")
        finally:
            self._over.set()
            self._give_up(self._error or INTERRUPTED)

    def stop(self) -> None:
        """End the thread; what waits fails."""
        self._over.set()

    def _take_new(self) -> None:
        is_idle = not self._running and not self._starting
        with suppress(Empty):
            if is_idle:
                self._line_up(self._new.get(timeout=LOOK_EVERY_S))
            while True:
                self._line_up(self._new.get_nowait())
        while self._later and self._later[0][0] <= time.monotonic():
            self._line_up(heapq.heappop(self._later)[2])

    def _line_up(self, call: Call) -> None:
        """Start a call that needs no actor; have others wait, those that were begun already first."""
        if not call.needs_actor:
            self._start(call, None)
        elif call.failures or call.losses:
            self._waiting.appendleft(call)
        else:
            self._waiting.append(call)

    def _hand_out(self) -> None:
        each = self._actors.calls_each
        while self._waiting and (free := [one for one in self._places if one.is_ready and one.num_calls < each]):
            self._start(self._waiting.popleft(), min(free, key=lambda one: one.num_calls))
        wanted = -(-(len(self._waiting) + sum(place.num_calls for place in self._places)) // each)
        while len(self._places) < min(self._most, wanted):
            place = _Place(actor=self._actors.make())
            self._places.append(place)
            self._starting[place.actor.is_ready.remote()] = place

    def _start(self, call: Call, place: _Place | None) -> None:
        if not call.future.running() and not call.future.set_running_or_notify_cancel():
            return
        is_again = call.failures + call.losses > 0
        self._running[call.start(place.actor if place else None, is_again)] = call, place
        if place:
            place.num_calls += 1

    def _gather(self) -> None:
        """Take what has ended."""
        import ray

        refs = [*self._running, *self._starting]
        ended, _ = ray.wait(refs, timeout=LOOK_EVERY_S) if refs else ([], [])
        for ref in ended:
            try:
                value, error = ray.get(ref), None
            except Exception as caught:  # Of any kind: a program's own, or Ray's
                value, error = None, caught
            if ref in self._starting:
                self._started(self._starting.pop(ref), error)
            else:
                self._ended(*self._running.pop(ref), value, error)

    def _started(self, place: _Place, error: Exception | None) -> None:
        if error is None:
            place.is_ready, self._starts_lost = True, 0
            return
        loss = loss_of(error)
        self._remove(place, loss)
        self._starts_lost += 1
        if loss is None or self._starts_lost > LOST_AT_MOST:
            self._error = ClusterError(f"no process with the model could be started: {first_line(error)}")
            self.stop()

    def _ended(self, call: Call, place: _Place | None, value: object, error: Exception | None) -> None:
        if place:
            place.num_calls -= 1
        if error is None:
            call.future.set_result(value)
            return
        loss = loss_of(error)
        if loss is not None and place in self._places:
            self._remove(place, loss)
        if not self._again(call, loss, error):
            call.future.set_exception(_plain(error))

    def _again(self, call: Call, loss: Loss | None, error: Exception) -> bool:
        """Whether a call is tried once more, after a pause if it failed by itself."""
        cause = _plain(error)
        if loss is not None:
            call.losses += not loss.is_of_node
            may = call.losses <= LOST_AT_MOST
        else:
            call.failures += 1
            is_final = isinstance(cause, HistosegError) and (
                not isinstance(cause, StorageError) or isinstance(cause, StoreRefusedError)
            )
            may = call.failures < FAILED_AT_MOST and not is_final
        if may:
            logger.warning("%s: %s; it is tried again", call.what, first_line(error))
            pause_s = 0.0 if loss else 2.0**call.failures
            heapq.heappush(self._later, (time.monotonic() + pause_s, next(self._number), call))
        return may

    def _remove(self, place: _Place, loss: Loss | None) -> None:
        """Forget an actor, which Ray ends after its last call; after a loss of memory there are fewer from now on."""
        self._places.remove(place)
        if loss is not None and loss.was_memory and self._most > 1:
            self._most = max(1, len(self._places))
            logger.warning("%s; from now on there are %d processes with the model", loss.text, self._most)

    def _give_up(self, error: HistosegError) -> None:
        while not self._new.empty():
            self._waiting.append(self._new.get())
        left = [*self._waiting, *(call for *_, call in self._later), *(call for call, _ in self._running.values())]
        for call in left:
            if not call.future.done() and not call.future.cancel():
                call.future.set_exception(error)


@contextmanager
def calls(actors: Actors) -> Iterator[Calls]:
    """Calls that can be put while this lasts."""
    made = Calls(actors)
    thread = Thread(target=made.run, name="calls", daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.stop()
        thread.join()


def answer(ref: Remote) -> Remote:
    """What a reference stands for; an error is raised as it was there."""
    import ray

    try:
        return ray.get(ref)
    except Exception as error:
        raise _plain(error) from None


def _plain(error: Exception) -> Exception:
    """An error as it was raised, without what Ray wraps around it."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, Exception) else error
