"""Measure errors and coverage of a model on lists of the test simulations.

    python -m benchmarks.simulated_lists --run=gaia --out=simulated_lists.json

Each test snapshot is observed several times, each time from elsewhere and with other gaps. The table has a
row for each target and set of lists: number of lists and of simulations; bias and root mean square of
log10(predicted / true), and 1.48 times their median absolute deviation [dex]; and the fractions of true
values in the 68 and 95 % intervals, with standard errors by a bootstrap over simulations. Lists of clusters
younger than 20 Myr are a row by themselves; the other rows are without them.

With --simple the lists are easier: 15 stars or more, at 45 to 900 pc, behind at most 0.6 mag of extinction
with a stated error of 0.05 mag, down to G = 16.5 to 20, with most stars above G = 2 to 6 missing, without
field stars, cuts in radius and motion, and errors of the stellar models.
"""

import argparse
import dataclasses
import itertools
from collections.abc import Iterator

import jax
import numpy as np
import pandas as pd

import starjax
from benchmarks import report
from starjax import quantities
from starjax.datasets.load import load_raw_dataset
from starjax.evaluation.calibration import LEVEL_NAMES, PERCENTILES
from starjax.evaluation.mixture import grouped_standard_error
from starjax.inference.predictor import Predictor
from starjax.runs import run_config
from starjax.runtime import devices
from starjax.sampling import observed_samples, observer

YOUNGEST_MYR = 20
SIMPLE = {
    "distance_range_pc": (45.0, 900.0),
    "extinction_range_v_mag": (0.0, 0.6),
    "extinction_error_range_v_mag": (0.05, 0.051),
    "colour_error": (0.0, 0.0),
    "faint_limit_range_mag": (16.5, 20.0),
    "bright_limit_range_mag": (2.0, 6.0),
    "radius_range_pc": (),
    "motion_cut_range": (),
    "field_fraction_range": (),
}
MIN_STARS_OF_SIMPLE = 15
# Edges of bins, by column.
EDGES = {
    "num_star": (0, 30, 100, 300, np.inf),
    "distance_pc": (0, 150, 400, 800, np.inf),
    "faint_limit_mag": (0, 17.5, 18.5, 19.5, np.inf),
    "time_myr": (YOUNGEST_MYR, 60, 120, 250, 500, np.inf),
}
# Resamples of the bootstrap.
NUM_BOOTSTRAP = 1000


def predict_lists(
    predictor: Predictor, settings: observer.Observer, num_draw: int, seed: int
) -> pd.DataFrame:
    """Return a row per list: predicted and true values, and the circumstances."""
    config = predictor.config
    raw = load_raw_dataset(config.data.dataset, quantities.OBSERVER, tuple(config.data.target_keys))
    shard = observer.sort_by_brightness(raw.shards["test"])
    true = raw.target_scalers.inverse(shard.target.astype(np.float64), shard.target_keys)
    tables = []
    for draw in range(num_draw):
        key = jax.random.fold_in(jax.random.key(seed), draw)
        lists, view = observed_samples.observe_shard(shard, key, settings, config.data.num_star_per_sample)
        lists = lists.select(predictor.feature_keys, shard.target_keys)
        clusters = {
            str(i): lists.feature[a:b] for i, (a, b) in enumerate(itertools.pairwise(lists.ptr)) if b > a
        }
        table = predictor.posterior(clusters).table
        snapshot = table["cluster"].astype(int).to_numpy()
        column = table["target_key"].map(shard.target_keys.index).to_numpy()
        tables.append(
            table.assign(
                run_id=shard.run_id[snapshot],
                time_myr=shard.time_myr[snapshot],
                target=true[snapshot, column],
                distance_pc=view.distance[snapshot],
                faint_limit_mag=view.faint_limit[snapshot],
            )
        )
    return pd.concat(tables, ignore_index=True)


def summarize(rows: pd.DataFrame) -> list[dict]:
    """Return the table (see the top of this file) from the rows of `predict_lists`."""
    found = []
    for target, of_target in rows.groupby("target_key", sort=False):
        for name, chosen in sets_of_lists(of_target):
            if len(chosen):
                found.append({"target": str(target), "lists": name} | figures(chosen))
    return found


def sets_of_lists(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield names and rows of all lists, of those of young clusters, and of each bin of EDGES."""
    is_young = rows["time_myr"] < YOUNGEST_MYR
    old = rows[~is_young]
    yield "all", old
    yield f"time_myr below {YOUNGEST_MYR}", rows[is_young]
    for column, edges in EDGES.items():
        for low, high in itertools.pairwise(edges):
            yield f"{column} {low} to {high}", old[old[column].between(low, high, inclusive="left")]


def figures(rows: pd.DataFrame) -> dict[str, float]:
    """Return the figures of some lists."""
    predicted, true = rows["prediction_physical"].to_numpy(), rows["target"].to_numpy()
    # Predicted ages may be zero.
    error = np.log10(np.maximum(predicted, 0.1)) - np.log10(np.maximum(true, 0.1))
    bias, scatter = report.bias_and_scatter(error)
    found = {
        "n": len(rows),
        "simulations": rows["run_id"].nunique(),
        "bias": bias,
        "rms": np.sqrt(np.mean(error**2)),
        "scatter": scatter,
    }
    group = rows["run_id"].to_numpy()
    for level, (low, high) in zip(LEVEL_NAMES, PERCENTILES, strict=True):
        is_within = rows["target"].between(rows[f"{low}_physical"], rows[f"{high}_physical"]).to_numpy(float)
        found[f"within_{level}"] = is_within.mean()
        found[f"error_{level}"] = grouped_standard_error(
            is_within, group, NUM_BOOTSTRAP, np.random.default_rng(0)
        )
    return {
        name: value if name in ("n", "simulations") else round(float(value), 4)
        for name, value in found.items()
    }


def run_command() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", default="gaia", help="run directory, or a packaged model [%(default)s]")
    parser.add_argument("--draws", type=int, default=4, help="lists of each snapshot [%(default)s]")
    parser.add_argument("--seed", type=int, default=1, help="of the draws [%(default)s]")
    parser.add_argument("--simple", action="store_true", help="easier lists")
    parser.add_argument("--out", help="JSON file for the table")
    arguments = parser.parse_args()
    devices.use_cores(64)
    predictor = starjax.load(arguments.run)
    settings = run_config.observer(predictor.config)
    if settings is None:
        parser.error(f"{arguments.run} was trained without an observer")
    if arguments.simple:
        settings = dataclasses.replace(settings, **SIMPLE)
    rows = predict_lists(predictor, settings, arguments.draws, arguments.seed)
    least = MIN_STARS_OF_SIMPLE if arguments.simple else quantities.MIN_STARS
    rows = rows[rows["num_star"] >= least]
    title = (
        f"{predictor.run_dir.name} on {'simple ' if arguments.simple else ''}lists of test simulations [dex]"
    )
    report.show(title, summarize(rows), arguments.out)


if __name__ == "__main__":
    run_command()
