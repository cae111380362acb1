"""What scalers are fitted by: numbers from values that come in blocks, by scikit-learn where it can do so.

Each class is made with the number of values to come. `add` takes a block, each value once a pass; `end_pass` gives
the numbers, or None where another pass is needed.
"""

import numpy as np

from starjax.datasets.scalers import scaler, streaming_quantiles

# scikit-learn is slow to import, and not needed to apply a scaler: its imports stand where it is used.

NUM_QUANTILE = 1000
# Most values that the exponent of `power` is fitted to.
MAX_FOR_EXPONENT = 2**22


class NoFit:
    """No numbers at all."""

    def __init__(self, num_value: int):
        pass

    def add(self, values: np.ndarray) -> None:
        pass

    def end_pass(self) -> dict:
        return {"center": 0.0, "scale": 1.0}


class StandardFit:
    """Mean and standard deviation, summed in float64."""

    def __init__(self, num_value: int):
        from sklearn.preprocessing import StandardScaler

        self._scaler = StandardScaler()

    def add(self, values: np.ndarray) -> None:
        self._scaler.partial_fit(values.astype(np.float64, copy=False).reshape(-1, 1))

    def end_pass(self) -> dict:
        return {"center": float(self._scaler.mean_[0]), "scale": float(self._scaler.scale_[0])}


class MinMaxFit:
    """Smallest and largest value."""

    def __init__(self, num_value: int):
        from sklearn.preprocessing import MinMaxScaler

        self._scaler = MinMaxScaler()

    def add(self, values: np.ndarray) -> None:
        self._scaler.partial_fit(values.astype(np.float64, copy=False).reshape(-1, 1))

    def end_pass(self) -> dict:
        return {"center": float(self._scaler.data_min_[0]), "scale": float(1 / self._scaler.scale_[0])}


class RobustFit:
    """Median and range between the quartiles, of all values and exact."""

    def __init__(self, num_value: int):
        self._quantiles = streaming_quantiles.Quantiles([0, 0.25, 0.5, 0.75, 1], num_value)

    def add(self, values: np.ndarray) -> None:
        self._quantiles.add(values)

    def end_pass(self) -> dict | None:
        from sklearn.preprocessing import RobustScaler

        if not self._quantiles.end_pass():
            return None
        # Of these five numbers quartiles and median are those of all values.
        fitted = RobustScaler().fit(self._quantiles.result()[:, None])
        return {"center": float(fitted.center_[0]), "scale": float(fitted.scale_[0])}


class QuantileFit:
    """Up to NUM_QUANTILE quantiles, of all values and exact.

    scikit-learn's QuantileTransformer takes them of 10,000 values drawn at random where there are more, which
    moves each by some percent of the range between the quartiles.
    """

    def __init__(self, num_value: int):
        levels = np.linspace(0, 1, min(NUM_QUANTILE, num_value))
        self._quantiles = streaming_quantiles.Quantiles(levels, num_value)

    def add(self, values: np.ndarray) -> None:
        self._quantiles.add(values)

    def end_pass(self) -> dict | None:
        return {"quantiles": self._quantiles.result().tolist()} if self._quantiles.end_pass() else None


class PowerFit:
    """The most likely exponent, then mean and standard deviation of what it makes of the values.

    Of more than MAX_FOR_EXPONENT values the exponent is fitted to about as many, drawn at random, the same
    every time; mean and standard deviation are always those of all.
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


FITS = {
    "none": NoFit,
    "standard": StandardFit,
    "minmax": MinMaxFit,
    "robust": RobustFit,
    "power": PowerFit,
    "quantile": QuantileFit,
}


class ScalerFit:
    """The fit of one method to values of which blocks are shown to it."""

    def __init__(self, method: str, num_value: int):
        """Starts it; `num_value` values are to come.

        Raises:
          ScalerError: the method is unknown.
        """
        if method not in scaler.METHODS:
            raise scaler.ScalerError(
                f"scaler {method!r} is unknown: choose one of {', '.join(scaler.METHODS)}"
            )
        self._method, self._num_value, self._num_bad = method, num_value, 0
        self._is_first_pass, self._ends = True, [np.inf, -np.inf]
        self._fit = FITS[scaler.METHODS[method][1]](num_value)

    def add(self, values: np.ndarray) -> None:
        """Takes in a block, of any shape and of any number of values: each of them once a pass."""
        values = values if values.dtype == np.float32 else values.astype(np.float64, copy=False)
        with np.errstate(all="ignore"):
            bent = (
                scaler.apply_curve(self._method, values.astype(np.float64))
                if scaler.is_curved(self._method)
                else values
            )
        if self._is_first_pass:
            self._num_bad += int((~np.isfinite(bent)).sum())
            if values.size:
                self._ends = [min(self._ends[0], values.min()), max(self._ends[1], values.max())]
        if not self._num_bad:
            self._fit.add(bent)

    def end_pass(self) -> scaler.Scaler | None:
        """To be called when all values were shown.

        Returns:
          the fitted scaler, or None if it needs them all once more.

        Raises:
          ScalerError: the result is not finite (a log of a negative).
        """
        if self._num_bad or not self._num_value:
            raise scaler.ScalerError(
                f"scaler {self._method!r} gives no finite value for {self._num_bad} of {self._num_value} values"
            )
        self._is_first_pass = False
        params = self._fit.end_pass()
        if params is None:
            return None
        fitted = scaler.Scaler(self._method, params)
        # All methods rise: where the ends are finite, so is all between.
        if not np.isfinite(fitted.transform(np.array(self._ends, np.float64))).all():
            raise scaler.ScalerError(f"scaler {self._method!r} gives values that are not finite")
        return fitted


def fit_scaler(method: str, values: np.ndarray) -> scaler.Scaler:
    """Fits `method` to all of `values` as one column.

    Raises:
      ScalerError: the method is unknown, or its result is not finite (a log of a negative).
    """
    started, values = ScalerFit(method, np.size(values)), np.asarray(values)
    while True:
        started.add(values)
        if fitted := started.end_pass():
            return fitted
