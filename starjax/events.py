"""TensorBoard events, written as they are told: the writer of tensorboardX has a thread, and hangs where a full disk ended that."""

import contextlib
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tensorboardX import RecordWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary


class Events:
    """One event file; what cannot be written is an OSError that names it."""

    def __init__(self, directory: Path, first_epoch: int):
        """Begins a file in `directory`, which hides what others there have of `first_epoch` and later."""
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}"
        self._file = RecordWriter(str(self._path))
        self._write(file_version="brain.Event:2")
        self._write(step=first_epoch, session_log=SessionLog(status=SessionLog.START))

    def write(self, epoch: int, scalars: Mapping[str, float]) -> None:
        """Writes values by their tags, so that a reader of the file sees them when this returns."""
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        self._write(step=epoch, summary=Summary(value=values))
        with self._named():
            self._file.flush()

    def close(self) -> None:
        with self._named():
            self._file.close()

    def _write(self, **content) -> None:
        with self._named():
            self._file.write(Event(wall_time=time.time(), **content).SerializeToString())

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            error.filename = str(self._path)
            raise
