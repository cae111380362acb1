"""Whole epochs as the command trains them: steps, validation, records and a checkpoint, and what each has of the time.

python -m benchmarks.epoch --out=epoch.json
"""

import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from benchmarks import report

CONFIGS = ("summary_stats", "deep_sets", "set_transformer")


def lines_of(name: str, base: str, *options: str) -> Iterator[tuple[float, str]]:
    """What the command prints, line by line, and how many seconds after its start.

    Raises:
      RuntimeError: it failed.
    """
    command = [sys.executable, "-m", "starjax.main", f"--config={name}", "--config.resume=False"]
    command += [f"--config.output_base={base}", *options]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        yield time.perf_counter() - start, line
    if process.wait():
        raise RuntimeError(f"{command} ended with status {process.returncode}")


def run_directory(line: str) -> Path | None:
    """The run directory, from the line that tells it."""
    return Path(line.split()[-1]) if line.startswith("run directory") else None


def measure(name: str, num_epoch: int) -> dict:
    ends, directory = [], None
    with tempfile.TemporaryDirectory() as base:
        options = (f"--config.train.max_epochs={num_epoch}", f"--config.train.patience={num_epoch}")
        for seconds, line in lines_of(name, base, *options):
            ends += [seconds] if line.startswith("epoch") else []
            directory = directory or run_directory(line)
        timing = pd.read_csv(directory / "timing.csv")
    # Without the first epoch, which also compiles what validation takes.
    epoch_s = statistics.median(b - a for a, b in itertools.pairwise(ends))
    steps_s = statistics.median(timing["seconds"][1:])
    return {
        "config": name,
        "epoch_s": epoch_s,
        "training_steps_s": steps_s,
        "share_of_validation_records_and_checkpoint": 1 - steps_s / epoch_s,
    }


def main() -> None:
    parser = report.parser(__doc__)
    parser.add_argument("--config", nargs="+", default=list(CONFIGS), choices=CONFIGS)
    parser.add_argument("--num_epoch", type=int, default=12)
    options = parser.parse_args()
    rows = [measure(name, options.num_epoch) for name in options.config]
    report.show("whole epochs", rows, options.out)


if __name__ == "__main__":
    main()
