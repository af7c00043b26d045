"""TensorBoard: event files in a folder of this machine, and in the store, where they outlive the machine.

Without an argument the folder is `.histoseg/tensorboard`, and its files are copied below `tensorboard/` in the store.
With one, `tensorboard=/mnt/events`, they are only there. `tensorboard --logdir` reads folders, and with boto3 s3://….
"""

import logging
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from histoseg.errors import ConfigError
from histoseg.store.keys import tensorboard_folder
from histoseg.training.listeners import Status
from histoseg.training.listening import TrainingContext

if TYPE_CHECKING:
    from tensorboardX.event_file_writer import EventsWriter  # Of the extra `train`

logger = logging.getLogger(__name__)

SCALARS = ("loss", "images_per_s", "loader_wait")


def require(argument: str) -> None:  # noqa: ARG001 # any folder will do
    """Refuse it where its package is missing."""
    if find_spec("tensorboardX") is None:
        raise ConfigError("listener tensorboard needs the package tensorboardX; pip install 'histoseg[train]'")


def listen(argument: str, context: TrainingContext) -> "TensorBoard":
    """A listener that writes below the argument's folder, or without one also into the store."""
    return TensorBoard(context, Path(argument).absolute() if argument else None)


class TensorBoard:
    """Writes each training as a TensorBoard run of its own; what is restarted goes on in the same run."""

    def __init__(self, context: TrainingContext, folder: Path | None) -> None:
        self._store = context.store if folder is None else None
        self._folder = (folder or context.home / "tensorboard") / context.experiment / context.id
        self._target = tensorboard_folder(context.experiment, context.id)
        self._writers: dict[str, EventsWriter] = {}
        copies = f", copied to {self._store.url}/{self._target}" if self._store else ""
        logger.info("TensorBoard: event files in %s%s", self._folder, copies)

    def on_status(self, status: Status) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=getattr(status, name)) for name in SCALARS]
        writer = self._writer(status)
        writer.write_event(Event(wall_time=time.time(), step=status.step, summary=Summary(value=values)))
        writer.flush()
        self._copy(status.label)

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()

    def _writer(self, status: Status) -> "EventsWriter":
        """The file of a training, which hides what an earlier attempt wrote from this step on."""
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        if status.label not in self._writers:
            folder = self._folder / _as_name(status.label)
            folder.mkdir(parents=True, exist_ok=True)
            writer = EventsWriter(str(folder / "events"), f".{time.time_ns()}")
            start = SessionLog(status=SessionLog.START)
            writer.write_event(Event(wall_time=time.time(), step=status.step, session_log=start))
            self._writers[status.label] = writer
        return self._writers[status.label]

    def _copy(self, label: str) -> None:
        """Copy a training's files into the store; those of its earlier attempts on this machine are as they were."""
        if self._store is not None:
            for path in (self._folder / _as_name(label)).iterdir():
                self._store.put(f"{self._target}/{_as_name(label)}/{path.name}", path)


def _as_name(label: str) -> str:
    return "-".join(label.replace("/", "-").split())
