"""Measure whole epochs of the command: training steps, validation, logs and checkpoint.

python -m benchmarks.epoch --out=epoch.json
"""

import itertools
import re
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
    """Yield each line that the command prints, with the seconds since its start.

    Raises:
      RuntimeError: the command failed.
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
    """Return the run directory, if the line names it."""
    return Path(line.split()[-1]) if line.startswith("run directory") else None


def epoch_number(line: str) -> int | None:
    """Return the number of the epoch that the line reports, if it reports one."""
    match = re.search(r" epoch +(\d+)/", line)
    return int(match[1]) if match else None


def measure(name: str, num_epoch: int) -> dict:
    """Return a row of the table."""
    ends, directory = [], None
    with tempfile.TemporaryDirectory() as base:
        options = (f"--config.train.max_epochs={num_epoch}", f"--config.train.patience={num_epoch}")
        for seconds, line in lines_of(name, base, *options):
            ends += [seconds] if epoch_number(line) else []
            directory = directory or run_directory(line)
        timing = pd.read_csv(directory / "timing.csv")
    # Without the first epoch, which also compiles the validation.
    epoch_s = statistics.median(b - a for a, b in itertools.pairwise(ends))
    steps_s = statistics.median(timing["seconds"][1:])
    return {
        "config": name,
        "epoch_s": epoch_s,
        "training_steps_s": steps_s,
        "share_of_validation_logs_and_checkpoint": 1 - steps_s / epoch_s,
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
