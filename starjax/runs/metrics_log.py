"""TensorBoard events, written as they are told: the writer of tensorboardX has a thread, and hangs where a full disk ended that."""

import contextlib
import csv
import datetime
import hashlib
import io
import socket
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from flax.traverse_util import flatten_dict
from tensorboardX import RecordWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from starjax import errors
from starjax.io import files
from starjax.runs import profiler
from starjax.runs.directory import RunDirectory
from starjax.runs.member_progress import MemberProgress
from starjax.runtime import log, memory, progress_bar

# DOC """What a run says of itself while it trains: metrics.csv, timing.csv, TensorBoard events, lines for people.
# DOC
# DOC `metrics.csv` holds what the config fixes, so that two runs of one config give the same file;
# DOC `timing.csv` holds what the machine adds.
# DOC """


class EventWriter:
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


class MetricsLogError(errors.StarjaxError):
    """Records of a run that are damaged."""


class MetricsLogger:
    """Writes the records of one run; silent in all processes but the one that writes."""

    def __init__(
        self,
        run_dir: RunDirectory,
        max_epochs: int,
        num_sample: int,
        is_writer: bool,
        profiled_epoch: int = 0,
    ):
        self._run_dir = run_dir
        self._max_epochs = max_epochs
        self._num_sample = num_sample
        self._is_writer = is_writer
        self._profiled_epoch = profiled_epoch
        self._rows: list[dict] = []
        self._timings: list[dict] = []
        self._ends: list[float] = []
        self._events: EventWriter | None = None

    def start(self, epoch: int, metrics_sha256: str = "") -> None:
        """Begins after `epoch` epochs; rows of later ones, left by a killed process, are dropped.

        Args:
          metrics_sha256: of metrics.csv after that epoch; empty where it is not known.

        Raises:
          RecordError: that file has other rows, or cannot be read.
        """
        if not self._is_writer:
            return
        if epoch:
            log.info(f"going on after epoch {epoch}")
        self._ends = [time.perf_counter()]
        self._rows = rows_until(self._run_dir.metrics, epoch)
        if metrics_sha256 and (not self._rows or _digest(self._rows) != metrics_sha256):
            raise MetricsLogError(
                f"{self._experiment.metrics} is missing or damaged, and cannot be made from checkpoints: restore it, or remove "
                f"{self._experiment.path} and train again"
            )
        try:
            self._timings = rows_until(self._run_dir.timing, epoch)
        except MetricsLogError as error:
            log.warning(f"{error}; it is no result, and begun again")
        self._events = EventWriter(self._run_dir.events, epoch + 1)

    def __enter__(self):
        return self

    def __exit__(self, error, *_):
        if self._events is not None:
            # What went wrong first is what is told.
            with contextlib.suppress(OSError) if error else contextlib.nullcontext():
                self._events.close()

    @property
    def metrics_sha256(self) -> str:
        """The SHA-256 of metrics.csv as it stands."""
        return _digest(self._rows) if self._rows else ""

    @contextlib.contextmanager
    def shown_epoch(self, epoch: int, num_step: int) -> Iterator[Callable[[int], None]]:
        """Shows a bar, which the function that is yielded moves by a number of steps."""
        is_traced = self._is_writer and epoch == self._profiled_epoch
        trace = profiler.traced_epoch(self._run_dir.profile) if is_traced else contextlib.nullcontext()
        display = progress_bar.bar() if self._is_writer else contextlib.nullcontext()
        with trace, display:
            if self._is_writer:
                task = display.add_task(f"epoch {epoch}", total=num_step)
                yield lambda num: display.advance(task, num)
            else:
                yield lambda num: None
        if is_traced:
            idle = files.read_json(self._run_dir.profile / "idle.json")
            log.info(
                f"epoch {epoch} traced: the devices did nothing for {idle['idle_share']:.1%} of the "
                f"{idle['seconds']:.2f} s of its training steps; the trace lies in {self._experiment.profile}"
            )

    def epoch(
        self, epoch: int, seconds: float, rows: Sequence[dict], progress: Sequence[MemberProgress]
    ) -> None:
        """Records one epoch.

        Args:
          seconds: that its training took.
          rows: of each member that trained, `member`, `learning_rate`, `train`: means over its training samples as
            drawn, with dropout, while the epoch went on; `val`: validation loss and metrics after it.
          progress: of all members, after the epoch.
        """
        if not self._is_writer:
            return
        self._rows += [flatten_dict({"epoch": epoch, **row}, sep="_") for row in rows]
        timing = {
            "epoch": epoch,
            "seconds": seconds,
            "samples_per_s": len(rows) * self._num_sample / seconds,
            "device_memory_bytes": memory.peak_bytes(),
        }
        self._timings.append(timing)
        for path, table in ((self._run_dir.metrics, self._rows), (self._run_dir.timing, self._timings)):
            write_rows(path, table)
        self._write_events(epoch, rows, timing, len(progress))
        self._ends.append(time.perf_counter())
        # Validation and checkpoints included; the first epoch, which compiles, only while it is the only one.
        ends = self._ends[1:] if len(self._ends) > 2 else self._ends
        seconds_per_epoch = (ends[-1] - ends[0]) / (len(ends) - 1)
        left = datetime.timedelta(seconds=round(seconds_per_epoch * (self._max_epochs - epoch)))
        log.info(
            f"epoch {epoch:>3}/{self._max_epochs}  {_losses(epoch, rows, progress)}"
            f"  {timing['samples_per_s']:>9,.0f} samples/s  at most {left} left"
        )

    def _write_events(self, epoch: int, rows: Sequence[dict], timing: dict, num_member: int) -> None:
        scalars = {f"timing/{name}": value for name, value in timing.items() if name != "epoch"}
        for row in rows:
            of_member = f"/member-{row['member']}" if num_member > 1 else ""
            flat = flatten_dict({"train": row["train"], "val": row["val"]}, sep="_")
            scalars |= {f"{name.replace('_', '/', 1)}{of_member}": value for name, value in flat.items()}
            scalars[f"learning_rate{of_member}"] = row["learning_rate"]
        self._events.write(epoch, scalars)


def _losses(epoch: int, rows: Sequence[dict], progress: Sequence[MemberProgress]) -> str:
    """The losses of an epoch, as people read them; of many members their means."""
    train, val = (statistics.fmean(row[split]["loss"] for row in rows) for split in ("train", "val"))
    is_best = [p.best_epoch == epoch for p in progress]
    if len(progress) == 1:
        return f"loss {train:.4f}  validation {val:.4f}{' *' if is_best[0] else '  '}"
    low, high = (choose(row["val"]["loss"] for row in rows) for choose in (min, max))
    return (
        f"{len(rows)} members  loss {train:.4f}  validation {val:.4f} ({low:.4f} to {high:.4f})"
        f"  {sum(is_best):>{len(str(len(progress)))}} better"
    )


def rows_until(path: Path, epoch: int) -> list[dict]:
    """The rows of a CSV file of records up to an epoch, to the last digit; none where there is no file."""
    if epoch == 0 or not path.exists():
        return []
    try:
        with open(path, newline="") as file:
            rows = [{name: _number(text) for name, text in row.items()} for row in csv.DictReader(file)]
        return [row for row in rows if row["epoch"] <= epoch]
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise MetricsLogError(
            f"{path} is damaged ({error!r}): restore it, or remove the run and train again"
        ) from error


def write_rows(path: Path, rows: list[dict]) -> None:
    """Writes rows, at least one, as CSV."""
    with files.atomic_write(path) as temporary, open(temporary, "w", newline="") as file:
        _write(file, rows)


def _write(file, rows: list[dict]) -> None:
    # By the csv module, which writes and reads back every digit of a float.
    writer = csv.DictWriter(file, rows[0].keys())
    writer.writeheader()
    writer.writerows(rows)


def _digest(rows: list[dict]) -> str:
    """The SHA-256 of the file that `write_rows` makes of rows."""
    text = io.StringIO(newline="")
    _write(text, rows)
    return hashlib.sha256(text.getvalue().encode()).hexdigest()


def _number(text: str) -> int | float:
    return int(text) if text.isdecimal() else float(text)
