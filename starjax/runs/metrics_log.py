"""Logs of a run while it trains: metrics.csv, timing.csv, TensorBoard events, and lines on the terminal.

`metrics.csv` depends on the config alone, so that two runs of one config give the same file; `timing.csv`
contains what depends on the machine.
"""

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


class EventWriter:
    """Writes one TensorBoard event file, in the calling thread.

    The writer of tensorboardX has a thread of its own, and hangs once a full disk has ended that thread. This
    one raises an OSError that names the file.
    """

    def __init__(self, directory: Path, first_epoch: int):
        """Start a file in `directory`; readers ignore `first_epoch` and later ones in older files there."""
        directory.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads files with `tfevents` in their name, in the order of the names.
        self._path = directory / f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}"
        self._file = RecordWriter(str(self._path))
        self._write(file_version="brain.Event:2")
        self._write(step=first_epoch, session_log=SessionLog(status=SessionLog.START))

    def write(self, epoch: int, scalars: Mapping[str, float]) -> None:
        """Write values by tag; they are visible to readers of the file when this returns."""
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        self._write(step=epoch, summary=Summary(value=values))
        with self._naming_file():
            self._file.flush()

    def close(self) -> None:
        with self._naming_file():
            self._file.close()

    def _write(self, **content) -> None:
        with self._naming_file():
            self._file.write(Event(wall_time=time.time(), **content).SerializeToString())

    @contextlib.contextmanager
    def _naming_file(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            error.filename = str(self._path)
            raise


class MetricsLogError(errors.StarjaxError):
    """Logs of a run that are missing or damaged."""


class MetricsLogger:
    """Logs the epochs of a run; does nothing in processes other than the main one."""

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
        """Continue after `epoch` epochs; rows of later ones, left by a killed process, are dropped.

        Args:
          metrics_sha256: of metrics.csv after that epoch; empty if unknown.

        Raises:
          MetricsLogError: metrics.csv has other rows, or cannot be read.
        """
        if not self._is_writer:
            return
        if epoch:
            log.info(f"resuming after epoch {epoch}")
        self._ends = [time.perf_counter()]
        self._rows = rows_until(self._run_dir.metrics, epoch)
        if metrics_sha256 and (not self._rows or _digest(self._rows) != metrics_sha256):
            raise MetricsLogError(
                f"{self._run_dir.metrics} is missing or damaged, and cannot be rebuilt from checkpoints: "
                f"restore it, or remove {self._run_dir.path} and train again"
            )
        try:
            self._timings = rows_until(self._run_dir.timing, epoch)
        except MetricsLogError as error:
            log.warning(f"{error}; timings are not a result, and start again")
        self._events = EventWriter(self._run_dir.events, epoch + 1)

    def __enter__(self):
        return self

    def __exit__(self, error, *_):
        if self._events is not None:
            # The first error is the one to report.
            with contextlib.suppress(OSError) if error else contextlib.nullcontext():
                self._events.close()

    @property
    def metrics_sha256(self) -> str:
        """SHA-256 of the current metrics.csv; empty before the first epoch."""
        return _digest(self._rows) if self._rows else ""

    @contextlib.contextmanager
    def show_progress(self, epoch: int, num_step: int) -> Iterator[Callable[[int], None]]:
        """Show the progress of an epoch, and trace it if it is to be profiled; yield `(num_step) -> None`."""
        if not self._is_writer:
            yield lambda num: None
            return
        is_traced = epoch == self._profiled_epoch
        trace = profiler.traced_epoch(self._run_dir.profile) if is_traced else contextlib.nullcontext()
        with trace, progress_bar.bar() as display:
            task = display.add_task(f"epoch {epoch}", total=num_step)
            yield lambda num: display.advance(task, num)
        if is_traced:
            idle = files.read_json(self._run_dir.profile / "idle.json")
            log.info(
                f"epoch {epoch} traced: the devices were idle for {idle['idle_share']:.1%} of the "
                f"{idle['seconds']:.2f} s of its training steps; the trace is in {self._run_dir.profile}"
            )

    def log_epoch(
        self, epoch: int, seconds: float, rows: Sequence[dict], progress: Sequence[MemberProgress]
    ) -> None:
        """Log one epoch.

        Args:
          seconds: duration of its training.
          rows: of each member that was trained, `member`; `learning_rate`; `train`: means over its training
            samples during the epoch, with augmentation and dropout; `val`: validation loss and metrics
            afterwards.
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
        # Whole files, few and small: appending could leave part of a line.
        for path, table in ((self._run_dir.metrics, self._rows), (self._run_dir.timing, self._timings)):
            write_rows(path, table)
        self._write_events(epoch, rows, timing, len(progress))
        self._ends.append(time.perf_counter())
        # Includes validation and checkpoints. The first epoch compiles: it counts only if it is the only one.
        ends = self._ends[1:] if len(self._ends) > 2 else self._ends
        seconds_per_epoch = (ends[-1] - ends[0]) / (len(ends) - 1)
        left = datetime.timedelta(seconds=round(seconds_per_epoch * (self._max_epochs - epoch)))
        log.info(
            f"epoch {epoch:>3}/{self._max_epochs}  {_losses(epoch, rows, progress)}"
            f"  {timing['samples_per_s']:>9,.0f} samples/s  at most {left} left"
        )

    def _write_events(self, epoch: int, rows: Sequence[dict], timing: dict, num_member: int) -> None:
        assert self._events is not None, "start comes before the first epoch"
        scalars = {f"timing/{name}": value for name, value in timing.items() if name != "epoch"}
        for row in rows:
            member = f"/member-{row['member']}" if num_member > 1 else ""
            flat = flatten_dict({"train": row["train"], "val": row["val"]}, sep="_")
            # `val/loss`: TensorBoard groups charts by what is before the slash.
            scalars |= {f"{name.replace('_', '/', 1)}{member}": value for name, value in flat.items()}
            scalars[f"learning_rate{member}"] = row["learning_rate"]
        self._events.write(epoch, scalars)


def _losses(epoch: int, rows: Sequence[dict], progress: Sequence[MemberProgress]) -> str:
    """Return the losses of an epoch in words; means over members if there are many."""
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
    """Return the rows of a CSV log up to an epoch, exact to the last digit; none if there is no file."""
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
    """Write rows, at least one, as CSV."""
    with files.atomic_write(path) as temporary, open(temporary, "w", newline="") as file:
        _write(file, rows)


def _write(file, rows: list[dict]) -> None:
    # The csv module writes floats by repr, which preserves every digit; pandas need not.
    writer = csv.DictWriter(file, rows[0].keys())
    writer.writeheader()
    writer.writerows(rows)


def _digest(rows: list[dict]) -> str:
    """Return the SHA-256 of the file that `write_rows` writes."""
    text = io.StringIO(newline="")
    _write(text, rows)
    return hashlib.sha256(text.getvalue().encode()).hexdigest()


def _number(text: str) -> int | float:
    return int(text) if text.isdecimal() else float(text)
