"""The listeners that a request names: refused in time, and each run in a thread of its own."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue

from histoseg.errors import ConfigError
from histoseg.runs import catalog
from histoseg.store.objects import Store
from histoseg.training.listeners import Listener, Status

logger = logging.getLogger(__name__)

GROUP = "histoseg.listeners"
MAX_QUOTED_CHARS = 500
CLOSE_S = 10.0  # How long the end of a training waits for a listener


@dataclass(frozen=True, kw_only=True)
class TrainingContext:
    """What a listener may say about the trainings of its process."""

    id: str  # The name that they share; their folder in the store is below runs/<id>
    experiment: str  # The experiment they belong to
    config: Mapping[str, object]  # The first run that they serve, as its record has it
    store: Store  # The store of their checkpoints
    home: Path  # An absolute folder of this machine for local files


def require_listeners(words: Sequence[str]) -> None:
    """Refuse listeners that cannot work, before anything is spent; each word is a name, perhaps with `=argument`."""
    for name, argument in map(_parsed, words):
        if name not in (choices := catalog.names(GROUP)):
            raise ConfigError(f"no {name!r} in listeners; choose from {', '.join(choices)}")
        try:
            module = catalog.load(GROUP, name)
        except ConfigError as error:
            logger.warning("listener %s: %s", name, error)
            continue
        if hasattr(module, "require"):
            module.require(argument)


@contextmanager
def listening(words: Sequence[str], context: TrainingContext) -> Iterator[list[Listener]]:
    """The listeners of a request, closed at the end; what goes wrong with one is a warning."""
    listeners = [_InThread(word, partial(_make, *_parsed(word), context)) for word in words]
    try:
        yield list(listeners)
    finally:
        for listener in listeners:
            listener.close()


def _parsed(word: str) -> tuple[str, str]:
    name, _, argument = word.partition("=")
    return name, argument


def _make(name: str, argument: str, context: TrainingContext) -> Listener:
    made: Listener = catalog.load(GROUP, name).listen(argument, context)
    return made


class _InThread:
    """A listener in a thread of its own, so that no training waits for it or ends by it."""

    def __init__(self, word: str, make: Callable[[], Listener]) -> None:
        """Make the listener in the thread: to import a tracking client can take seconds."""
        self._word, self._make = word, make
        self._queue: SimpleQueue[Status | None] = SimpleQueue()  # None is the end.
        self._has_warned = False
        self._thread = threading.Thread(target=self._run, name=f"listener {word}", daemon=True)
        self._thread.start()

    def on_status(self, status: Status) -> None:
        self._queue.put(status)

    def close(self) -> None:
        """Let the thread finish, but not for ever."""
        self._queue.put(None)
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            logger.warning("listener %s: not finished after %g s; its last values may be lost", self._word, CLOSE_S)

    def _run(self) -> None:
        listener: Listener | None = None
        try:
            listener = self._make()
        except Exception as error:  # It may be any lab's file, and no training must end by it.
            self._warn(error)
        while (status := self._queue.get()) is not None:
            if listener is not None:
                self._try(listener.on_status, status)
        if listener is not None:
            self._try(listener.close)

    def _try(self, action: Callable[..., None], *arguments: Status) -> None:
        try:
            action(*arguments)
        except Exception as error:  # See above.
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        """Log a listener's first error; the next status is tried all the same."""
        if not self._has_warned:
            reason = " ".join(str(error).split())[:MAX_QUOTED_CHARS]
            logger.warning(
                "listener %s: %s: %s; the training goes on without it", self._word, type(error).__name__, reason
            )
        self._has_warned = True
