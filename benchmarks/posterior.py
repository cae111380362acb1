"""Measure accuracy and coverage of the posterior of age and mass on the packaged sample, over seeds.

    python -m benchmarks.posterior --out=posterior.json

For comparison it fits a mass by least squares, and measures how much harder the test simulations are than
those of training. The figures are those of the test snapshots of whole commands. Finished runs are read, and
not timed. Coverage has two errors: that of a bootstrap over the test simulations, and the expected scatter
about the nominal level (see `starjax.evaluation.coverage`).
"""

import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import nnls
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.model_selection import PredefinedSplit, cross_val_predict

from benchmarks import report
from starjax.configs import posterior, posterior_incomplete
from starjax.datasets import folds, shard
from starjax.datasets.load import SAMPLE_DIRECTORY, load_dataset
from starjax.datasets.shard_files import shard_path
from starjax.evaluation import out_of_distribution
from starjax.runtime import devices
from starjax.training.run import train_and_test

CONFIGS = {"posterior": posterior, "posterior_incomplete": posterior_incomplete}
TARGETS = posterior.get_config().data.target_keys
MASS = "total_mass_within_2x_r_tidal"
# Bins of luminosity [log10 Lsun]: deciles of the training stars, and bins of bright stars, which are few and
# massive.
DECILES, BRIGHT, DARK = np.linspace(0, 1, 11)[1:-1], (1.0, 1.5, 2.0, 2.5), -9.0


def one_run(name: str, seed: int, base: str) -> list[dict]:
    """Train and test a config, and return a row per target."""
    config = CONFIGS[name].get_config()
    config.output_base, config.seed, config.name = base, seed, f"{name}-{seed}"
    is_finished = (Path(base) / "experiments" / config.name / "test_metrics.json").exists()
    start = time.perf_counter()
    run_dir = train_and_test(config)
    seconds = None if is_finished else time.perf_counter() - start
    snapshots, coverage = pd.read_parquet(run_dir.snapshots), pd.read_csv(run_dir.coverage)
    rows = []
    for target in TARGETS:
        of_target = snapshots[snapshots["target_key"] == target]
        held = coverage[(coverage["target_key"] == target) & (coverage["by"] == "all")].iloc[0]
        row = {"what": name, "seed": seed, "target": target}
        row |= scores(of_target["prediction_scaled"], of_target["target_scaled"])
        row["mae"] = float(np.abs(of_target["prediction_physical"] - of_target["target_physical"]).mean())
        for level in ("68", "95"):
            of_test, expected = (held[f"coverage_{level}_error{end}"] for end in ("_of_test", ""))
            row[f"held_by_{level}"] = f"{held[f'coverage_{level}']:.3f} ± {of_test:.3f}, {expected:.3f}"
            row[f"width_{level}"] = held[f"width_{level}"]
        rows.append(row | {"seconds": seconds})
    return rows


def scores(predicted, truth) -> dict[str, float]:
    """Return R², which is the same in all units that are linear in each other."""
    return {"r2": float(1 - np.sum((predicted - truth) ** 2) / np.sum((truth - np.mean(truth)) ** 2))}


def least_squares() -> list[dict]:
    """Fit a mean stellar mass for each bin of luminosity to the star counts of the training clusters.

    Masses are non-negative, and minimize the relative error. A second fit has a factor for each metallicity.
    """
    loaded = {
        split: shard.load_shard(shard_path(SAMPLE_DIRECTORY, "raw", split)) for split in ("train", "test")
    }
    edges = np.concatenate([[DARK], np.quantile(_luminosity(loaded["train"]), DECILES), BRIGHT])
    mass = {split: one.target[:, one.target_keys.index(MASS)] for split, one in loaded.items()}
    metallicity = {
        split: np.array([run.split("-")[1] for run in one.run_id]) for split, one in loaded.items()
    }
    counts = {split: _counts(one, edges) for split, one in loaded.items()}
    weight, _ = nnls(counts["train"] / mass["train"][:, None], np.ones(len(mass["train"])))
    log_ratio = {split: np.log10(counts[split] @ weight / mass[split]) for split in loaded}
    offset = pd.Series(log_ratio["train"]).groupby(metallicity["train"]).mean()
    known = log_ratio["test"] - offset[metallicity["test"]].to_numpy()
    rows = []
    for what, error in (("least squares", log_ratio["test"]), ("least squares, Z known", known)):
        truth = np.log10(mass["test"])
        mae = float(np.abs(mass["test"] * (10**error - 1)).mean())
        rows.append({"what": what, "target": MASS} | scores(truth + error, truth) | {"mae": mae})
    return rows


def how_hard_the_test_is() -> list[dict]:
    """Measure the errors of trees on quantiles of the features: in cross-validation, and on the test.

    `p_value`: how often the mean error of as many simulations, drawn from the cross-validation, differs from
    its mean by as much as that of the test.
    """
    config = posterior.get_config().data
    seen = [key for key in config.feature_keys if key not in config.hidden_keys]
    data = load_dataset("sample", tuple(config.feature_keys), tuple(TARGETS))
    data = folds.all_folds(data, posterior.get_config().ensemble.num_fold, seed=0)
    train, test = data.shards["train"], data.shards["test"]
    described = [out_of_distribution.describe_all(one, seen, config.feature_clip) for one in (train, test)]
    trees = ExtraTreesRegressor(400, min_samples_leaf=3, random_state=0, n_jobs=-1)
    predicted = (
        cross_val_predict(trees, described[0], train.target, cv=PredefinedSplit(data.fold_N)),
        trees.fit(described[0], train.target).predict(described[1]),
    )
    error = [
        np.abs(np.subtract(*(data.target_scalers.inverse(x.astype(np.float64), TARGETS) for x in pair)))
        for pair in zip(predicted, (train.target, test.target), strict=True)
    ]
    rows = []
    for i, target in enumerate(TARGETS):
        in_folds, in_test = (float(one[:, i].mean()) for one in error)
        drawn = _means_of_simulations(error[0][:, i], train.run_id, len(np.unique(test.run_id)))
        p_value = np.mean(np.abs(drawn - in_folds) >= abs(in_test - in_folds))
        row = {"what": "trees", "target": target, "mae_in_folds": in_folds, "mae": in_test}
        rows.append(row | {"p_value": float(p_value)})
    return rows


def _means_of_simulations(values, run_id, num_simulation: int) -> np.ndarray:
    """Return means of the values over `num_simulation` simulations, drawn with replacement many times."""
    by_simulation = pd.Series(values).groupby(run_id).agg(["sum", "size"]).to_numpy()
    drawn = by_simulation[
        np.random.default_rng(0).integers(len(by_simulation), size=(10_000, num_simulation))
    ].sum(axis=1)
    return drawn[:, 0] / drawn[:, 1]


def _luminosity(one: shard.Shard) -> np.ndarray:
    return one.feature[:, one.feature_keys.index("log_L_L_sol")]


def _counts(one: shard.Shard, edges: np.ndarray) -> np.ndarray:
    """Return the number of stars of each snapshot in each bin."""
    snapshot = np.repeat(np.arange(one.num_snapshot), np.diff(one.ptr))
    counts = np.zeros((one.num_snapshot, len(edges) + 1))
    np.add.at(counts, (snapshot, np.digitize(_luminosity(one), edges)), 1)
    return counts


def run_command() -> None:
    parser = report.parser(__doc__)
    parser.add_argument("--configs", nargs="*", default=list(CONFIGS), choices=CONFIGS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 10, 20])
    parser.add_argument(
        "--base", default="output/benchmarks", help="folder where runs are kept [%(default)s]"
    )
    arguments = parser.parse_args()
    devices.use_cores(64)
    rows = [
        row
        for name in arguments.configs
        for seed in arguments.seeds
        for row in one_run(name, seed, arguments.base)
    ]
    report.show(
        "the packaged sample's test snapshots", rows + least_squares() + how_hard_the_test_is(), arguments.out
    )


if __name__ == "__main__":
    run_command()
