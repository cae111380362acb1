"""How far predictions are from the truth."""

from collections.abc import Sequence

import numpy as np

from starjax.data.bundle import ScalerBundle


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
