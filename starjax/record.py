"""What a run says of itself while it trains: metrics.csv, timing.csv, TensorBoard events, lines for people.

`metrics.csv` holds what the config fixes, so that two runs of one config give the same file;
`timing.csv` holds what the machine adds.
"""

import contextlib
import csv
import datetime
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import tensorboardX
from flax.traverse_util import flatten_dict

from starjax import files, progress
from starjax.experiment import Experiment


def device_memory_bytes() -> int:
    """Most memory in use so far on the first device; of the process, where the device is the CPU."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"]
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024  # macOS counts bytes, Linux KiB


class Recorder:
    """Writes the records of one run; silent in all processes but the one that writes."""

    def __init__(self, experiment: Experiment, max_epochs: int, num_sample: int, is_writer: bool):
        self._experiment = experiment
        self._max_epochs = max_epochs
        self._num_sample = num_sample
        self._is_writer = is_writer
        self._rows: list[dict] = []
        self._timings: list[dict] = []
        self._seconds = 0.0
        self._ends: list[float] = []
        self._events = None

    def start(self, epoch: int) -> None:
        """Begins after `epoch` epochs; rows of later ones, left by a killed process, are dropped."""
        if not self._is_writer:
            return
        self._ends = [time.perf_counter()]
        self._rows = _rows_until(self._experiment.metrics, epoch)
        self._timings = _rows_until(self._experiment.timing, epoch)
        self._events = tensorboardX.SummaryWriter(str(self._experiment.events), purge_step=epoch + 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._events is not None:
            self._events.close()

    @contextlib.contextmanager
    def timed_epoch(self, epoch: int, num_step: int) -> Iterator[Callable[[int], None]]:
        """Times what is done inside, and yields a function that moves the bar by a number of steps."""
        start = time.perf_counter()
        with progress.bar() if self._is_writer else contextlib.nullcontext() as display:
            if display is None:
                yield lambda num: None
            else:
                task = display.add_task(f"epoch {epoch}", total=num_step)
                yield lambda num: display.advance(task, num)
        self._seconds = time.perf_counter() - start

    def epoch(self, state, learning_rate: float, train: dict, val: dict) -> None:
        """Records one epoch.

        Args:
          state: the run's progress after the epoch (`epoch`, `best_epoch`).
          train: means over the training samples as drawn, with dropout, while the epoch went on.
          val: validation loss and metrics after it.
        """
        if not self._is_writer:
            return
        row = {"epoch": state.epoch, "learning_rate": learning_rate}
        row |= flatten_dict({"train": train, "val": val}, sep="_")
        timing = {
            "epoch": state.epoch,
            "seconds": self._seconds,
            "samples_per_s": self._num_sample / self._seconds,
            "device_memory_bytes": device_memory_bytes(),
        }
        self._rows.append(row)
        self._timings.append(timing)
        for path, rows in ((self._experiment.metrics, self._rows), (self._experiment.timing, self._timings)):
            _write_rows(path, rows)
        scalars = {"learning_rate": learning_rate}
        for group, values in {"train": train, "val": val, "timing": timing}.items():
            flat = flatten_dict(values, sep="_")
            scalars |= {f"{group}/{name}": value for name, value in flat.items() if name != "epoch"}
        for tag, value in scalars.items():
            self._events.add_scalar(tag, value, state.epoch)
        self._events.flush()
        self._ends.append(time.perf_counter())
        # Validation and checkpoints included; the first epoch, which compiles, only while it is the only one.
        ends = self._ends[1:] if len(self._ends) > 2 else self._ends
        seconds_per_epoch = (ends[-1] - ends[0]) / (len(ends) - 1)
        left = datetime.timedelta(seconds=round(seconds_per_epoch * (self._max_epochs - state.epoch)))
        print(
            f"epoch {state.epoch:>3}/{self._max_epochs}  loss {train['huber']:.4f}  validation {val['huber']:.4f}"
            f"{' *' if state.best_epoch == state.epoch else '  '}  {timing['samples_per_s']:>9,.0f} samples/s"
            f"  at most {left} left",
            flush=True,
        )


def _rows_until(path: Path, epoch: int) -> list[dict]:
    if epoch == 0 or not path.exists():
        return []
    with open(path, newline="") as file:
        rows = [{name: _number(text) for name, text in row.items()} for row in csv.DictReader(file)]
    return [row for row in rows if row["epoch"] <= epoch]


def _write_rows(path: Path, rows: list[dict]) -> None:
    # By the csv module, which writes and reads back every digit of a float.
    with files.written_whole(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def _number(text: str) -> int | float:
    return int(text) if text.isdecimal() else float(text)
