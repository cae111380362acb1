"""How often intervals hold the truth, and how wide they are: over all snapshots, and by what the clusters are like."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from starjax.evaluation import calibration
from starjax.evaluation.calibration import Calibration
from starjax.evaluation.mixture import grouped_standard_error
from starjax.evaluation.posterior import PERCENTILES

# Bins of a quantity with many values; each has as many snapshots.
NUM_BIN = 4
# Draws of the bootstrap over runs, and their seed.
NUM_BOOTSTRAP, SEED = 1000, 0
# What snapshots are binned by, beside the truth of each target, and what is told of it.
BINNED_BY = ("num_star", "distance_pc", "time_myr")
PREDICTED = "predicted_"


def coverage_table(snapshots: pd.DataFrame, calibrated: Calibration) -> pd.DataFrame:
    """One row a target and bin; first, `by` 'all', that of all snapshots.

    In bins of the truth of a target, intervals of the best of models hold less of the lowest and highest values than
    they say, since what is told of these lies nearer to the middle. In bins of what is told they do not.

    Args:
      snapshots: as `snapshots.Judge.table` gives them.
      calibrated: what their intervals are from; its targets are theirs, in their order.

    Returns:
      `target_key by low high num_snapshot num_simulation`, `by` being one of BINNED_BY, a target, or TOLD and a target; of each
      level `coverage_68` and so on; `coverage_68_error`, by how much such a share scatters about its level, from
      calibration to calibration and from test to test (see `calibration.share_error`); `coverage_68_error_of_test`, the standard error of the share found, by a
      bootstrap over test runs, which is nothing where all of them hold; `below_68` and `above_68`, the shares of
      truths below and above (calibrated are the two together, not each), and `width_68`, the median width [physical]; `mae`, `bias`
      [physical], of the medians; `crps_scaled`, `log_score_scaled`; `pit_mean` and `pit_std` (0.5 and 0.289 where distributions are right).
    """
    rows = []
    for target, (key, rows_of_target) in enumerate(snapshots.groupby("target_key", sort=False)):
        by = {name: rows_of_target[name] for name in BINNED_BY if name in rows_of_target}
        if "time" in set(snapshots["target_key"]):
            by.pop("time_myr", None)  # the same
        for of, rows_of_other in snapshots.groupby("target_key", sort=False):
            by |= {
                of: rows_of_other["target_physical"],
                f"{PREDICTED}{of}": rows_of_other["prediction_physical"],
            }
        rows.append({"target_key": key, "by": "all"} | coverage_row(rows_of_target, calibrated, target))
        for name, values in by.items():
            for low, high, is_inside in bins(np.asarray(values)):
                of_bin = {"target_key": key, "by": name, "low": low, "high": high}
                rows.append(of_bin | coverage_row(rows_of_target[is_inside], calibrated, target))
    first = ["target_key", "by", "low", "high"]
    table = pd.DataFrame(rows)
    return table[first + [name for name in table if name not in first]]


def bins(values: np.ndarray) -> Iterator[tuple[float, float, np.ndarray]]:
    """Least and most of each bin, and which values lie in it: single values where there are few, else quantiles."""
    number, known = np.unique(values), values
    if len(number) > NUM_BIN:
        edges = np.quantile(values, np.linspace(0, 1, NUM_BIN + 1)[1:-1])
        known = np.searchsorted(edges, values, side="right")
    for one in np.unique(known):
        inside = known == one
        yield float(values[inside].min()), float(values[inside].max()), inside


def coverage_row(rows: pd.DataFrame, calibrated: Calibration, target: int) -> dict:
    """What `by_bins` says of some snapshots, of the `target`-th target of the calibration."""
    group = rows["run_id"] if "run_id" in rows else rows["snapshot_id"]
    size = group.value_counts()
    found = {"num_snapshot": len(rows), "num_simulation": len(size)}
    for i, (level, (low, high)) in enumerate(zip(calibration.LEVELS, PERCENTILES, strict=True)):
        name = f"{100 * level:.0f}"
        is_within = rows[f"is_within_{name}"].to_numpy(np.float64)
        of_test = grouped_standard_error(
            is_within, group.to_numpy(), NUM_BOOTSTRAP, np.random.default_rng(SEED)
        )
        found[f"coverage_{name}"] = is_within.mean()
        expected = calibration.share_error(level, calibrated.correlation[i, target], size.to_numpy())
        found[f"coverage_{name}_error"] = np.hypot(expected, calibrated.level_error[i, target])
        found[f"coverage_{name}_error_of_test"] = of_test
        truth = rows["target_scaled"]
        found[f"below_{name}"] = (truth < rows[f"{low}_scaled"]).mean()
        found[f"above_{name}"] = (truth > rows[f"{high}_scaled"]).mean()
        found[f"width_{name}"] = (rows[f"{high}_physical"] - rows[f"{low}_physical"]).median()
    away = rows["prediction_physical"] - rows["target_physical"]
    return found | {
        "mae": away.abs().mean(),
        "bias": away.mean(),
        "crps_scaled": rows["crps_scaled"].mean(),
        "log_score_scaled": rows["log_score_scaled"].mean(),
        "pit_mean": rows["pit"].mean(),
        "pit_std": rows["pit"].std(ddof=0),
    }
