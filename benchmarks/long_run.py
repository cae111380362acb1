"""Measure whether the memory of host and devices grows during a long run of a small model.

    python -m benchmarks.long_run --out=long_run.json

The run is that of the command, with validation, logs and checkpoints, and has many short epochs. It is done
twice, which must give the same parameters to the bit.
"""

import contextlib
import gc
import math
import os
import tempfile

import jax
import numpy as np
import psutil
import scipy.stats
from ml_collections import ConfigDict

from benchmarks import cases, report, training
from starjax.configs import common
from starjax.runs.checkpoints import Checkpoints
from starjax.runs.directory import create_record, locate_run
from starjax.runs.metrics_log import MetricsLogger
from starjax.runtime import devices
from starjax.training import loop

BATCH_SIZE = 32
# Fraction of the run after which all programs are compiled and all caches filled.
WARM_UP = 0.2
MEASURED = ("host_MiB", "objects", "device_buffers", "device_MiB")


class MeasuringLogger(MetricsLogger):
    """A logger that also records the memory in use, every `interval` epochs.

    Attributes:
      notes: a row for each of these epochs, with losses and memory.
    """

    def __init__(self, *arguments, interval: int):
        super().__init__(*arguments)
        self._interval = interval
        self.notes: list[dict] = []

    def log_epoch(self, epoch, seconds, rows, progress):
        """Log one epoch (see `MetricsLogger`)."""
        super().log_epoch(epoch, seconds, rows, progress)
        if epoch % self._interval:
            return
        gc.collect()
        arrays = jax.live_arrays()
        [row] = rows
        self.notes.append(
            {
                "epoch": epoch,
                "loss": row["train"]["loss"],
                "validation_loss": row["val"]["loss"],
                "host_MiB": psutil.Process().memory_info().rss / 2**20,
                "objects": len(gc.get_objects()),
                "device_buffers": len(arrays),
                "device_MiB": sum(x.nbytes for x in arrays) / 2**20,
            }
        )


def toy(output_base: str) -> ConfigDict:
    """Return the config of Deep Sets on one sample of 32 stars of each snapshot."""
    config = common.get_config("deep_sets")
    config.name, config.output_base = "long-run", output_base
    config.data.num_star_per_sample, config.data.num_sample_per_snapshot = 32, 1
    config.train.batch_size = BATCH_SIZE
    return config


def one_run(num_step: int, num_note: int) -> tuple[list[dict], dict]:
    """Train for `num_step` steps and the rest of an epoch; return `num_note` notes and the parameters."""
    with tempfile.TemporaryDirectory() as base, open(os.devnull, "w") as nowhere:
        config = toy(base)
        num_step_per_epoch = math.ceil(cases.NUM_SNAPSHOT / BATCH_SIZE)
        num_epoch = math.ceil(num_step / num_step_per_epoch)
        config.train.max_epochs = config.train.patience = num_epoch
        setup, run_dir = training.set_up(config).setup, locate_run(config)
        create_record(run_dir, config, setup.data, setup.layout)
        num_sample = setup.data.shards["train"].num_snapshot
        interval = max(1, num_epoch // num_note)
        logger = MeasuringLogger(run_dir, num_epoch, num_sample, True, interval=interval)
        with (
            Checkpoints(run_dir.checkpoints) as checkpoints,
            Checkpoints(run_dir.interrupted) as interrupted,
            logger,
            contextlib.redirect_stdout(nowhere),
        ):
            trained = loop.fit(config, setup, loop.Storage(checkpoints, interrupted, logger))
        notes = [{"steps": row["epoch"] * num_step_per_epoch, **row} for row in logger.notes]
        return notes, jax.device_get(trained.arrays["state"]["params"])


def growth(notes: list[dict], name: str) -> dict:
    """Return a quantity of the notes after the warm-up and at the end, and its growth by least squares."""
    later = [row for row in notes if row["steps"] > WARM_UP * notes[-1]["steps"]]
    line = scipy.stats.linregress([row["steps"] / 1000 for row in later], [row[name] for row in later])
    ends = {"after_warm_up": later[0][name], "at_the_end": later[-1][name]}
    return {
        "quantity": name,
        **ends,
        "per_1000_steps": float(line.slope),
        "standard_error": float(np.nan_to_num(line.stderr)),
    }


def main() -> None:
    parser = report.parser(__doc__)
    parser.add_argument("--num_step", type=int, default=100_000)
    parser.add_argument("--num_note", type=int, default=50)
    options = parser.parse_args()
    devices.use_cores(BATCH_SIZE)
    runs = [one_run(options.num_step, options.num_note) for _ in range(2)]
    (_, first), (_, second) = runs
    is_same = jax.tree.all(jax.tree.map(np.array_equal, first, second))
    rows = [{"run": i, **row} for i, (notes, _) in enumerate(runs) for row in notes]
    is_finite = all(np.isfinite([row["loss"], row["validation_loss"]]).all() for row in rows)
    title = f"a long run, twice; losses are finite: {is_finite}; the same parameters to the bit: {is_same}"
    report.show(title, rows, options.out)
    found = [{"run": i, **growth(notes, name)} for i, (notes, _) in enumerate(runs) for name in MEASURED]
    report.show("growth after the warm-up", found, None)


if __name__ == "__main__":
    main()
