"""Measure what the observer adds to a training step of `--config=gaia`.

    python -m benchmarks.observer --out=observer.json

The same model is trained on lists that are drawn anew for every sample, and on one fixed list of each
snapshot. Both see the same numbers of stars, padded to the same lengths. They take turns, so that changes of
the speed of the machine affect both. It takes about two minutes on two cores.
"""

import statistics
import time
from unittest import mock

from ml_collections import ConfigDict

from benchmarks import report, training
from starjax.configs import gaia
from starjax.datasets.dataset import Dataset
from starjax.runs import run_config
from starjax.runtime import devices
from starjax.training import prepare, step
from starjax.training.trainer import create_trainer


def get_config(num_star: int) -> ConfigDict:
    """Return the config of a single member."""
    config = gaia.get_config()
    config.ensemble.size, config.ensemble.num_fold = 1, 0
    config.data.num_star_per_sample = num_star
    return config


def set_up(config: ConfigDict, data: Dataset, lengths: tuple[int, ...]) -> training.Training:
    """Return a run on a data set with samples padded to some lengths."""
    source = prepare.place_stars(config, data, "replicated")
    start = time.perf_counter()
    # Without the observer, this model would have a single length.
    with mock.patch.object(step, "padded_lengths", return_value=lengths):
        trainer = create_trainer(config, data, source)
    setup = prepare.Setup(data, source, trainer, evaluator=None)
    return training.Training(setup, trainer.initial_state, time.perf_counter() - start)


def both_runs(num_star: int) -> dict[str, training.Training]:
    """Return the runs with new and with fixed lists."""
    config = get_config(num_star)
    data = prepare.read_dataset(config)
    lengths = step.padded_lengths(num_star, is_superlinear=False, is_observed=True)
    without = ConfigDict(config.to_dict())
    without.observer.distance_range_pc = ()
    lists = run_config.to_lists(config, data, "train")
    return {
        "new lists (observer)": set_up(config, data, lengths),
        "fixed lists": set_up(without.lock(), lists, lengths),
    }


def milliseconds(run: training.Training, num_step: int, epoch: int) -> float:
    """Return the time of a step."""
    start = time.perf_counter()
    run.steps(num_step, epoch)
    return 1000 * (time.perf_counter() - start) / num_step


def main() -> None:
    parser = report.parser(__doc__)
    parser.add_argument("--num_star", type=int, default=gaia.get_config().data.num_star_per_sample)
    parser.add_argument("--num_step", type=int, default=5, help="steps of a turn")
    parser.add_argument("--num_round", type=int, default=7, help="turns of both")
    options = parser.parse_args()
    batch_size = gaia.get_config().train.batch_size
    devices.use_cores(batch_size)
    runs = both_runs(options.num_star)
    times = {
        name: [milliseconds(run, options.num_step, epoch) for epoch in range(options.num_round + 1)][1:]
        for name, run in runs.items()
    }
    fixed = times["fixed lists"]
    rows = [
        {
            "samples": name,
            "samples_per_s": 1000 * batch_size / statistics.median(own),
            "ms_a_step": statistics.median(own),
            "least": min(own),
            "most": max(own),
            "ratio": statistics.median(x / y for x, y in zip(own, fixed, strict=True)),
            "compile_s": runs[name].compile_seconds,
        }
        for name, own in times.items()
    ]
    report.show(
        f"training steps with and without the observer, {options.num_star} stars a sample", rows, options.out
    )


if __name__ == "__main__":
    main()
