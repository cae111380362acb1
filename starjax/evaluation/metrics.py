"""Errors and correlations of predictions and true values."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from starjax.datasets.scalers.bundle import ScalerBundle


def regression(prediction: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """Return MAE, MSE, RMSE and R² of predictions (n,), in float64; R² is NaN if the target is constant."""
    # Slow to import, and not needed before the first epoch ends.
    from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

    prediction, target = prediction.astype(np.float64), target.astype(np.float64)
    if not np.isfinite(prediction).all():
        # A diverged model, which training reports; scikit-learn refuses such values.
        return dict.fromkeys(("mae", "mse", "rmse", "r2"), float("nan"))
    mse = mean_squared_error(target, prediction)
    return {
        "mae": float(mean_absolute_error(target, prediction)),
        "mse": float(mse),
        "rmse": float(np.sqrt(mse)),
        # scikit-learn would give 0, or warn about a single value.
        "r2": float(r2_score(target, prediction)) if np.ptp(target) > 0 else float("nan"),
    }


def by_target(
    prediction: np.ndarray, target: np.ndarray, target_keys: Sequence[str], scalers: ScalerBundle
) -> dict[str, dict[str, dict[str, float]]]:
    """Return metrics of scaled predictions (n, T) by target key, units ('scaled' or 'physical') and name."""
    physical = [scalers.inverse(values.astype(np.float64), target_keys) for values in (prediction, target)]
    return {
        key: {
            "scaled": regression(prediction[:, i], target[:, i]),
            "physical": regression(physical[0][:, i], physical[1][:, i]),
        }
        for i, key in enumerate(target_keys)
    }


def of_snapshots(rows: pd.DataFrame, units: str) -> dict[str, float]:
    """Return metrics of the mean prediction of each snapshot's samples.

    Args:
      rows: a test table's rows of one target.
      units: 'scaled' or 'physical'; the mean over samples is taken in these.

    Returns:
      `mae mse rmse r2` (see `regression`); `pearson` and `spearman`, the correlation of prediction and true
      value; `bias`, the mean of prediction - true value; `median_error` and `error_90`, the median and the
      90 % quantile of the absolute error; `spread`, the standard deviation of the predictions from one
      snapshot's samples, averaged over snapshots; `spread_error_spearman`, the rank correlation of a
      snapshot's spread and its absolute error. NaN where undefined, such as a correlation with a constant.
    """
    predicted = rows[f"prediction_{units}"].astype(np.float64).groupby(rows["snapshot_id"])
    target = rows[f"target_{units}"].astype(np.float64).groupby(rows["snapshot_id"]).first()
    prediction, spread = predicted.mean(), predicted.std()
    error = prediction - target
    columns = {"prediction": prediction, "target": target, "spread": spread, "error": error.abs()}
    table = pd.DataFrame(columns)
    # Of a data frame, whose correlation with a constant is NaN without a warning.
    pearson, spearman = table.corr("pearson"), table.corr("spearman")
    return {
        **regression(prediction.to_numpy(), target.to_numpy()),
        "pearson": float(pearson.loc["prediction", "target"]),
        "spearman": float(spearman.loc["prediction", "target"]),
        "bias": float(error.mean()),
        "median_error": float(error.abs().median()),
        "error_90": float(error.abs().quantile(0.9)),
        "spread": float(spread.mean()),
        "spread_error_spearman": float(spearman.loc["spread", "error"]),
    }
