"""Fits of scalers to values that arrive in blocks, by scikit-learn where it supports that.

The interface of the classes: `__init__` takes the number of values. In each pass, `add` is called with blocks
that together contain every value once, then `end_pass`, which returns the parameters or None if it needs
another pass.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from starjax.datasets.scalers import scaler, streaming_quantiles

# scikit-learn is slow to import, and not needed to apply a scaler: it is imported where it is used.

# As in scikit-learn's QuantileTransformer.
NUM_QUANTILE = 1000
# The exponent of `power` is fitted to at most about this many values, since they are all kept in memory
# (32 MiB).
MAX_FOR_EXPONENT = 2**22


class NoFit:
    """No fit: the identity."""

    def __init__(self, num_value: int):
        pass

    def add(self, values: np.ndarray) -> None:
        pass

    def end_pass(self) -> dict:
        return {"center": 0.0, "scale": 1.0}


class StandardFit:
    """Mean and standard deviation, accumulated in float64."""

    def __init__(self, num_value: int):
        from sklearn.preprocessing import StandardScaler

        self._scaler = StandardScaler()

    def add(self, values: np.ndarray) -> None:
        self._scaler.partial_fit(values.astype(np.float64, copy=False).reshape(-1, 1))

    def end_pass(self) -> dict:
        # `scale_` is 1 instead of 0 if all values are equal.
        return {"center": float(self._scaler.mean_[0]), "scale": float(self._scaler.scale_[0])}


class MinMaxFit:
    """Minimum and range."""

    def __init__(self, num_value: int):
        from sklearn.preprocessing import MinMaxScaler

        self._scaler = MinMaxScaler()

    def add(self, values: np.ndarray) -> None:
        self._scaler.partial_fit(values.astype(np.float64, copy=False).reshape(-1, 1))

    def end_pass(self) -> dict:
        # scikit-learn's `scale_` is a factor, and here it is a divisor.
        return {"center": float(self._scaler.data_min_[0]), "scale": float(1 / self._scaler.scale_[0])}


class RobustFit:
    """Median and interquartile range, exact over all values."""

    def __init__(self, num_value: int):
        self._quantiles = streaming_quantiles.Quantiles([0, 0.25, 0.5, 0.75, 1], num_value)

    def add(self, values: np.ndarray) -> None:
        self._quantiles.add(values)

    def end_pass(self) -> dict | None:
        from sklearn.preprocessing import RobustScaler

        if not self._quantiles.end_pass():
            return None
        # The quartiles and the median of these five numbers are those of all values. By scikit-learn, which
        # replaces an interquartile range of 0.
        fitted = RobustScaler().fit(self._quantiles.result()[:, None])
        return {"center": float(fitted.center_[0]), "scale": float(fitted.scale_[0])}


class QuantileFit:
    """Up to NUM_QUANTILE quantiles, exact over all values.

    scikit-learn's QuantileTransformer computes them from a random subset of 10,000 values, which shifts each
    by some percent of the interquartile range.
    """

    def __init__(self, num_value: int):
        levels = np.linspace(0, 1, min(NUM_QUANTILE, num_value))
        self._quantiles = streaming_quantiles.Quantiles(levels.tolist(), num_value)

    def add(self, values: np.ndarray) -> None:
        self._quantiles.add(values)

    def end_pass(self) -> dict | None:
        return {"quantiles": self._quantiles.result().tolist()} if self._quantiles.end_pass() else None


class PowerFit:
    """Maximum-likelihood exponent, then mean and standard deviation of the transformed values.

    If there are more than MAX_FOR_EXPONENT values, the exponent is fitted to a random subset of about that
    size, with a fixed seed; mean and standard deviation are those of all values.
    """

    def __init__(self, num_value: int):
        self._share = MAX_FOR_EXPONENT / max(num_value, 1)
        self._random = np.random.default_rng(0)
        self._kept: list[np.ndarray] = []
        self._exponent: float | None = None
        self._standard = StandardFit(num_value)

    def add(self, values: np.ndarray) -> None:
        values = values.astype(np.float64, copy=False).ravel()
        if self._exponent is not None:
            self._standard.add(scaler.yeo_johnson(np, values, self._exponent))
        elif self._share >= 1:
            self._kept.append(values)
        else:
            self._kept.append(values[self._random.random(len(values)) < self._share])

    def end_pass(self) -> dict | None:
        from sklearn.preprocessing import PowerTransformer

        if self._exponent is not None:
            return {"exponent": self._exponent, **self._standard.end_pass()}
        fitted = PowerTransformer(method="yeo-johnson", standardize=False)
        self._exponent = float(fitted.fit(np.concatenate(self._kept)[:, None]).lambdas_[0])
        self._kept = []
        return None


FITS: dict[str, Callable[[int], Any]] = {
    "none": NoFit,
    "standard": StandardFit,
    "minmax": MinMaxFit,
    "robust": RobustFit,
    "power": PowerFit,
    "quantile": QuantileFit,
}


class ScalerFit:
    """The fit of one method to values that arrive in blocks (see the interface above)."""

    def __init__(self, method: str, num_value: int):
        """Begin a fit to `num_value` values.

        Raises:
          ScalerError: the method is unknown.
        """
        if method not in scaler.METHODS:
            raise scaler.ScalerError(
                f"scaler {method!r} is unknown: choose one of {', '.join(scaler.METHODS)}"
            )
        self._method, self._num_value, self._num_bad = method, num_value, 0
        self._is_first_pass, self._extremes = True, [np.inf, -np.inf]
        self._fit = FITS[scaler.METHODS[method][1]](num_value)

    def add(self, values: np.ndarray) -> None:
        """Add a block of any shape; each value once per pass."""
        # float32 is kept where there is no curve: quantiles then take half as many passes.
        values = values if values.dtype == np.float32 else values.astype(np.float64, copy=False)
        with np.errstate(all="ignore"):
            curved = (
                scaler.apply_curve(self._method, values.astype(np.float64))
                if scaler.is_curved(self._method)
                else values
            )
        if self._is_first_pass:
            self._num_bad += int((~np.isfinite(curved)).sum())
            if values.size:
                self._extremes = [min(self._extremes[0], values.min()), max(self._extremes[1], values.max())]
        if not self._num_bad:
            self._fit.add(curved)

    def end_pass(self) -> scaler.Scaler | None:
        """End a pass over all values.

        Returns:
          The fitted scaler, or None if it needs another pass.

        Raises:
          ScalerError: a scaled value is not finite (such as the logarithm of a negative one).
        """
        if self._num_bad or not self._num_value:
            raise scaler.ScalerError(
                f"scaler {self._method!r} gives no finite value for {self._num_bad} of {self._num_value} "
                "values"
            )
        self._is_first_pass = False
        params = self._fit.end_pass()
        if params is None:
            return None
        fitted = scaler.Scaler(self._method, params)
        # All methods are monotonic: if the extremes stay finite, so does everything between.
        if not np.isfinite(fitted.transform(np.array(self._extremes, np.float64))).all():
            raise scaler.ScalerError(f"scaler {self._method!r} gives values that are not finite")
        return fitted


def fit_scaler(method: str, values: np.ndarray) -> scaler.Scaler:
    """Fit a scaler to all values as one column.

    Raises:
      ScalerError: the method is unknown, or a scaled value is not finite (such as the logarithm of a negative
        one).
    """
    fit, values = ScalerFit(method, np.size(values)), np.asarray(values)
    while True:
        fit.add(values)
        if fitted := fit.end_pass():
            return fitted
