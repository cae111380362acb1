"""Measure the accuracy on the packaged sample with the settings of the reference figures.

    python -m benchmarks.reference_figures --out=figures.json

Each model has its default size, and is trained for mass and for age, with several seeds. The figures are the
test R² in scaled units of the best epoch: `whole`, as starjax tests, with all drawn stars; and `dropped`, on
test samples from which stars are dropped as in training, as the reference was tested.
"""

import dataclasses
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import report, training
from starjax.configs import deep_sets, set_transformer, summary_stats
from starjax.evaluation.evaluator import Evaluator
from starjax.io import files
from starjax.runs import member_progress
from starjax.runs.checkpoints import Checkpoints
from starjax.runtime import devices
from starjax.training.run import train_and_test

CONFIGS = {"summary_stats": summary_stats, "deep_sets": deep_sets, "set_transformer": set_transformer}
TARGETS = ("total_mass_within_2x_r_tidal", "time")
# R² of the PyTorch framework that starjax reimplements, one run each, tested with dropped stars.
REFERENCE = {
    ("summary_stats", "total_mass_within_2x_r_tidal"): 0.679,
    ("deep_sets", "total_mass_within_2x_r_tidal"): 0.690,
    ("set_transformer", "total_mass_within_2x_r_tidal"): 0.790,
    ("summary_stats", "time"): 0.269,
    ("deep_sets", "time"): 0.584,
    ("set_transformer", "time"): 0.585,
}


class DroppingEvaluator(Evaluator):
    """Evaluates on samples from which stars are dropped as in training."""

    @property
    def sample_config(self):
        return self.config


def one_ensemble(name: str, target: str, num_seed: int, dtype: str, base: str) -> list[dict]:
    """Train and test a model with each seed, all at once; return metrics on whole and on dropped samples."""
    config = CONFIGS[name].get_config()
    config.output_base, config.data.target_keys, config.ensemble.size = base, (target,), num_seed
    config.model.dtype = dtype
    start = time.perf_counter()
    run_dir = train_and_test(config)
    seconds = time.perf_counter() - start

    setup = training.set_up(config).setup
    state = setup.trainer.initial_state
    with Checkpoints(run_dir.checkpoints, is_read_only=True) as checkpoints:
        saved = checkpoints.restore_last({"state": state, "best": state["params"]})
    arrays, progress = saved.arrays, member_progress.from_checkpoint(saved.content)
    found = {}
    fields = {
        field.name: getattr(setup.evaluator, field.name) for field in dataclasses.fields(setup.evaluator)
    }
    for kind, test in {"whole": setup.evaluator, "dropped": DroppingEvaluator(**fields)}.items():
        prediction, truth = test.predict(arrays["best"], "test")
        found[kind] = [test.metrics(one, truth)[target] for one in prediction]
        found[f"{kind}_mean"] = test.metrics(prediction.mean(axis=0), truth)[target]
    return [
        {"model": name, "target": target, "seed": seed, "seconds": seconds, "epochs": progress[seed].epoch}
        | {
            "whole": found["whole"][seed],
            "dropped": found["dropped"][seed],
            "whole_mean": found["whole_mean"],
        }
        for seed in range(num_seed)
    ]


def run(models: list[str], targets: list[str], num_seed: int, dtype: str) -> list[dict]:
    """Train and test all models in a temporary folder."""
    with tempfile.TemporaryDirectory() as base:
        return [row for t in targets for m in models for row in one_ensemble(m, t, num_seed, dtype, base)]


def table_of(rows: list[dict]) -> str:
    lines = [
        "model | target | reference R² | R² dropped, mean (each) | R² whole, mean (each) | "
        "R² of the mean prediction | MAE whole, physical | s for all seeds"
    ]
    for (name, target), reference in REFERENCE.items():
        mine = [row for row in rows if (row["model"], row["target"]) == (name, target)]
        if mine:
            r2 = {
                kind: np.array([row[kind]["scaled"]["r2"] for row in mine]) for kind in ("dropped", "whole")
            }
            each = {kind: " ".join(f"{x:.3f}" for x in values) for kind, values in r2.items()}
            mae = np.mean([row["whole"]["physical"]["mae"] for row in mine])
            seconds, together = mine[0]["seconds"], mine[0]["whole_mean"]["scaled"]["r2"]
            lines.append(
                f"{name} | {target} | {reference:.3f} | {r2['dropped'].mean():.3f} ({each['dropped']}) | "
                f"{r2['whole'].mean():.3f} ({each['whole']}) | {together:.3f} | {mae:.1f} | {seconds:.0f}"
            )
    return "\n".join(lines)


def run_command() -> None:
    parser = report.parser(__doc__)
    parser.add_argument("--models", nargs="+", default=list(CONFIGS), choices=CONFIGS)
    parser.add_argument("--targets", nargs="+", default=list(TARGETS), choices=TARGETS)
    parser.add_argument("--num_seed", type=int, default=3)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    arguments = parser.parse_args()
    devices.use_cores(512)
    rows = run(arguments.models, arguments.targets, arguments.num_seed, arguments.dtype)
    print(table_of(rows))
    if arguments.out:
        files.write_json(Path(arguments.out), {"machine": report.machine(), "rows": rows})


if __name__ == "__main__":
    run_command()
