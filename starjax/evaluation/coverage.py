"""Coverage and width of calibrated intervals: of all snapshots, and binned by properties of the clusters."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from starjax.evaluation import calibration
from starjax.evaluation.calibration import LEVEL_NAMES, LEVELS, PERCENTILES, Calibration
from starjax.evaluation.mixture import grouped_standard_error

# Bins of a quantity with many values, with equal numbers of snapshots.
NUM_BIN = 4
# Resamples of the bootstrap over simulations, and their seed.
NUM_BOOTSTRAP, SEED = 1000, 0
# Snapshots are binned by these, by the true value of each target, and by its predicted value.
BINNED_BY = ("num_star", "distance_pc", "time_myr")
PREDICTED = "predicted_"


def coverage_table(snapshots: pd.DataFrame, calibrated: Calibration) -> pd.DataFrame:
    """Return one row per target and bin; first, with `by` 'all', the row of all snapshots of the target.

    Binned by true value, coverage is below nominal in the extreme bins for any model (regression to the
    mean). Binned by predicted value it is not.

    Args:
      snapshots: see `SnapshotEvaluator.table`.
      calibrated: the calibration of their intervals, with targets in the same order.

    Returns:
      `target_key by low high`, where `by` is one of BINNED_BY, a target (its true value), or PREDICTED and a
      target; `num_snapshot num_simulation`;

      for each level, such as 68: `coverage_68`; `coverage_68_error`, the standard deviation of the coverage
      about its nominal level, over calibration sets and test sets (see `calibration.coverage_error`);
      `coverage_68_error_of_test`, the standard error by a bootstrap over the test simulations, which is zero
      if all intervals cover; `below_68` and `above_68`, the fractions of true values below and above the
      interval, of which only the sum is calibrated; `width_68`, the median width [physical];

      `mae` and `bias` of the medians [physical]; the means `crps_scaled` and `log_score_scaled`; `pit_mean`
      and `pit_std` (0.5 and 0.289 for calibrated distributions).
    """
    rows = []
    for target, (key, rows_of_target) in enumerate(snapshots.groupby("target_key", sort=False)):
        by = {name: rows_of_target[name] for name in BINNED_BY if name in rows_of_target}
        if "time" in set(snapshots["target_key"]):
            by.pop("time_myr", None)  # the target `time` is the same quantity
        for other, rows_of_other in snapshots.groupby("target_key", sort=False):
            by |= {
                other: rows_of_other["target_physical"],
                f"{PREDICTED}{other}": rows_of_other["prediction_physical"],
            }
        rows.append({"target_key": key, "by": "all"} | coverage_row(rows_of_target, calibrated, target))
        for name, values in by.items():
            for low, high, is_inside in bins(np.asarray(values)):
                bin_columns = {"target_key": key, "by": name, "low": low, "high": high}
                rows.append(bin_columns | coverage_row(rows_of_target[is_inside], calibrated, target))
    first = ["target_key", "by", "low", "high"]
    table = pd.DataFrame(rows)
    return table[first + [name for name in table if name not in first]]


def bins(values: np.ndarray) -> Iterator[tuple[float, float, np.ndarray]]:
    """Yield minimum, maximum and membership (n,) of each bin.

    Bins are single values if there are at most NUM_BIN of them, else quantile bins.
    """
    distinct, labels = np.unique(values), values
    if len(distinct) > NUM_BIN:
        edges = np.quantile(values, np.linspace(0, 1, NUM_BIN + 1)[1:-1])
        labels = np.searchsorted(edges, values, side="right")
    for label in np.unique(labels):
        is_inside = labels == label
        yield float(values[is_inside].min()), float(values[is_inside].max()), is_inside


def coverage_row(rows: pd.DataFrame, calibrated: Calibration, target: int) -> dict:
    """Return the columns of `coverage_table` for some snapshots and the `target`-th target."""
    # Without names of simulations, every snapshot counts as one.
    group = rows["run_id"] if "run_id" in rows else rows["snapshot_id"]
    size = group.value_counts()
    columns: dict[str, float] = {"num_snapshot": len(rows), "num_simulation": len(size)}
    for i, (name, level, (low, high)) in enumerate(zip(LEVEL_NAMES, LEVELS, PERCENTILES, strict=True)):
        is_within = rows[f"is_within_{name}"].to_numpy(np.float64)
        error_of_test = grouped_standard_error(
            is_within, group.to_numpy(), NUM_BOOTSTRAP, np.random.default_rng(SEED)
        )
        columns[f"coverage_{name}"] = is_within.mean()
        expected = calibration.coverage_error(level, calibrated.correlation[i, target], size.to_numpy())
        # The test set and the calibration set scatter independently.
        columns[f"coverage_{name}_error"] = np.hypot(expected, calibrated.level_error[i, target])
        columns[f"coverage_{name}_error_of_test"] = error_of_test
        truth = rows["target_scaled"]
        columns[f"below_{name}"] = (truth < rows[f"{low}_scaled"]).mean()
        columns[f"above_{name}"] = (truth > rows[f"{high}_scaled"]).mean()
        columns[f"width_{name}"] = (rows[f"{high}_physical"] - rows[f"{low}_physical"]).median()
    error = rows["prediction_physical"] - rows["target_physical"]
    return columns | {
        "mae": error.abs().mean(),
        "bias": error.mean(),
        "crps_scaled": rows["crps_scaled"].mean(),
        "log_score_scaled": rows["log_score_scaled"].mean(),
        "pit_mean": rows["pit"].mean(),
        "pit_std": rows["pit"].std(ddof=0),
    }
