"""Measure time and temporary memory of training with large samples, and with large batches.

    python -m benchmarks.large_sets --out=large_sets.json

The stars are random: 64 clusters of 5,000 stars.
"""

import dataclasses

import jax
import numpy as np

from benchmarks import cases, report
from benchmarks import training as training_lib
from starjax.datasets import shard
from starjax.runtime import devices
from starjax.training import prepare

# Samples of a micro-batch on a GPU.
ACCELERATOR_MICRO_BATCH = 2048


def clusters(num_snapshot: int, num_star: int, keys: tuple[str, ...]) -> shard.Shard:
    """Return a shard of random clusters."""
    rng = np.random.default_rng(0)
    ptr = np.arange(num_snapshot + 1) * num_star
    feature = rng.normal(size=(ptr[-1], len(keys))).astype(np.float32)
    return shard.Shard(feature, keys, rng.normal(size=(num_snapshot, 1)).astype(np.float32), ("mass",), ptr)


def measure(case: str, num_star: int, batch_size: int, max_seconds: float) -> dict:
    """Return a row of the table."""
    config = cases.config(case, batch_size)
    config.data.num_star_per_sample = num_star
    config.data.num_sample_per_snapshot = -(-batch_size // 64)
    if jax.default_backend() != "cpu":
        # Small enough that a step of the largest batch fits into 4 GiB.
        config.train.micro_batch_size = str(min(batch_size, ACCELERATOR_MICRO_BATCH))
    run = training_lib.new_run(config)
    stars = clusters(64, 5000, tuple(config.data.feature_keys))
    stored = dataclasses.replace(run.stored, shards=dict.fromkeys(run.stored.shards, stars))
    setup = prepare.prepare(dataclasses.replace(run, stored=stored))
    trainer = setup.trainer
    training = training_lib.Training(setup, trainer.initial_state, 0.0)
    [seconds] = report.seconds(lambda: training.steps(1), num_run=1)
    if seconds < max_seconds:
        seconds = report.median_seconds(lambda: training.steps(1), num_run=3)
    params = trainer.average(training.state)
    predict_seconds = report.median_seconds(lambda: setup.evaluator.predict(params, "val"), num_run=1)
    return {
        "model": case,
        "stars": num_star,
        "batch": batch_size,
        "micro_batch": trainer.micro_batch_size,
        "step_s": seconds,
        "samples_per_s": batch_size / seconds,
        "stars_per_s": batch_size * num_star / seconds,
        "temporary_MiB": trainer.train_steps.memory_analysis().temp_size_in_bytes / 2**20,
        "predicted_per_s": 64 * config.data.num_sample_per_snapshot / predict_seconds,
    }


def main() -> None:
    options = report.parser(__doc__).parse_args()
    devices.use_cores(64)
    names = list(cases.CASES)
    plan = [(name, num_star, 64) for name in names[1:3] for num_star in (128, 512, 2048, 4096)]
    plan += [(names[3], 128, 20480)]
    rows = [measure(*of_case, max_seconds=3) for of_case in plan]
    report.show("large samples, and a large batch", rows, options.out)


if __name__ == "__main__":
    main()
