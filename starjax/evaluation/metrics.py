"""How far predictions are from the truth."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from starjax.datasets.scalers.bundle import ScalerBundle


def regression(prediction: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """MAE, MSE, RMSE and R² of (n,) predictions, in float64.

    R² is 1 - sum of squared errors / sum of squared deviations of the target from its mean; NaN
    where the target does not vary.
    """
    prediction, target = prediction.astype(np.float64), target.astype(np.float64)
    error = prediction - target
    mse = float(np.mean(error**2))
    variance = float(np.var(target))
    return {
        "mae": float(np.mean(np.abs(error))),
        "mse": mse,
        "rmse": mse**0.5,
        "r2": 1 - mse / variance if variance > 0 else float("nan"),
    }


def by_target(
    prediction: np.ndarray, target: np.ndarray, target_keys: Sequence[str], scalers: ScalerBundle
) -> dict[str, dict[str, dict[str, float]]]:
    """Metrics of scaled predictions (n, T) as `{target key: {'scaled' or 'physical': {name: value}}}`."""
    physical = [scalers.inverse(values.astype(np.float64), target_keys) for values in (prediction, target)]
    return {
        key: {
            "scaled": regression(prediction[:, i], target[:, i]),
            "physical": regression(physical[0][:, i], physical[1][:, i]),
        }
        for i, key in enumerate(target_keys)
    }


def of_snapshots(rows: pd.DataFrame, units: str) -> dict[str, float]:
    """How far the mean prediction of each snapshot's samples is from the truth.

    Args:
      rows: a test table's rows of one target.
      units: 'scaled' or 'physical'; the mean over samples is taken in these.

    Returns:
      `mae mse rmse r2` as `regression` gives them; `pearson` and `spearman` correlation of prediction
      and truth; `bias`, the mean of prediction - truth; `median_error` and `error_90`, the median and
      the 90 % quantile of the absolute error; `spread`, the mean over snapshots of the standard
      deviation of their samples' predictions; `spread_error_spearman`, how well the rank of a snapshot's spread tells
      that of its absolute error. NaN where a value is not defined, such as a correlation with a constant.
    """
    predicted = rows[f"prediction_{units}"].astype(np.float64).groupby(rows["snapshot_id"])
    target = rows[f"target_{units}"].astype(np.float64).groupby(rows["snapshot_id"]).first()
    prediction, spread = predicted.mean(), predicted.std()
    error = prediction - target
    return {
        **regression(prediction.to_numpy(), target.to_numpy()),
        "pearson": prediction.corr(target),
        "spearman": prediction.rank().corr(target.rank()),
        "bias": float(error.mean()),
        "median_error": float(error.abs().median()),
        "error_90": float(error.abs().quantile(0.9)),
        "spread": float(spread.mean()),
        "spread_error_spearman": spread.rank().corr(error.abs().rank()),
    }
