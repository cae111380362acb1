"""Scalers: fitted by scikit-learn, kept as plain numbers, applied in numpy and inside jit.

A scaler is fitted to values that come in blocks, as often as its method needs them: at most a few blocks are in
memory, and the numbers do not depend on how the values are cut, save for the rounding of sums.
"""

import dataclasses

import numpy as np

from starjax import errors
from starjax.data import curves, fitting

LOG10_OFFSET = 1e-10

# Each method is a fixed curve, and a scale fitted to what the curve makes of the values.
METHODS = {
    "identity": ("linear", "none"),
    "standard": ("linear", "standard"),
    "minmax": ("linear", "minmax"),
    "robust": ("linear", "robust"),
    "log1p_standard": ("log1p", "standard"),
    "log1p_minmax": ("log1p", "minmax"),
    "log10_standard": ("log10", "standard"),
    "log10_minmax": ("log10", "minmax"),
    "power": ("linear", "power"),
    "quantile": ("linear", "quantile"),
}


class ScalerError(errors.StarjaxError):
    """A scaler that cannot be fitted or read, naming the keys or the file."""


@dataclasses.dataclass(frozen=True)
class Scaler:
    """One fitted method.

    Attributes:
      method: a name in METHODS.
      params: its numbers: `center` and `scale` (the curve's value minus center, over scale);
        `power` has `exponent` besides; `quantile` has `quantiles`, ascending, instead.
    """

    method: str
    params: dict

    def transform(self, x):
        """Physical to scaled, element by element; `x` numpy or jax, of any shape."""
        xp = x.__array_namespace__()
        if self.method == "quantile":
            return curves.to_normal(x, np.asarray(self.params["quantiles"]))
        if self.method == "power":
            x = curves.yeo_johnson(xp, x, self.params["exponent"])
        x = _curve(self.method, x)
        return (x - self.params["center"]) / self.params["scale"]

    def inverse(self, x):
        """Scaled to physical, element by element; `x` numpy or jax, of any shape."""
        xp = x.__array_namespace__()
        if self.method == "quantile":
            return curves.from_normal(x, np.asarray(self.params["quantiles"]))
        x = x * self.params["scale"] + self.params["center"]
        if self.method == "power":
            return curves.yeo_johnson_inverse(xp, x, self.params["exponent"])
        if METHODS[self.method][0] == "log1p":
            return xp.expm1(x)
        if METHODS[self.method][0] == "log10":
            return 10**x - LOG10_OFFSET
        return x


class Fit:
    """The fit of one method to values of which blocks are shown to it."""

    def __init__(self, method: str, num_value: int):
        """Starts it; `num_value` values are to come.

        Raises:
          ScalerError: the method is unknown.
        """
        if method not in METHODS:
            raise ScalerError(f"scaler {method!r} is unknown: choose one of {', '.join(METHODS)}")
        self._method, self._num_value, self._num_bad = method, num_value, 0
        self._is_first_pass, self._ends = True, [np.inf, -np.inf]
        self._fit = fitting.FITS[METHODS[method][1]](num_value)

    def add(self, values: np.ndarray) -> None:
        """Takes in a block, of any shape and of any number of values: each of them once a pass."""
        values = values if values.dtype == np.float32 else values.astype(np.float64, copy=False)
        with np.errstate(all="ignore"):
            bent = _curve(self._method, values.astype(np.float64)) if _is_curved(self._method) else values
        if self._is_first_pass:
            self._num_bad += int((~np.isfinite(bent)).sum())
            if values.size:
                self._ends = [min(self._ends[0], values.min()), max(self._ends[1], values.max())]
        if not self._num_bad:
            self._fit.add(bent)

    def end_pass(self) -> Scaler | None:
        """To be called when all values were shown.

        Returns:
          the fitted scaler, or None if it needs them all once more.

        Raises:
          ScalerError: the result is not finite (a log of a negative).
        """
        if self._num_bad or not self._num_value:
            raise ScalerError(
                f"scaler {self._method!r} gives no finite value for {self._num_bad} of {self._num_value} values"
            )
        self._is_first_pass = False
        params = self._fit.end_pass()
        if params is None:
            return None
        scaler = Scaler(self._method, params)
        # All methods rise: where the ends are finite, so is all between.
        if not np.isfinite(scaler.transform(np.array(self._ends, np.float64))).all():
            raise ScalerError(f"scaler {self._method!r} gives values that are not finite")
        return scaler


def fit(method: str, values: np.ndarray) -> Scaler:
    """Fits `method` to all of `values` as one column.

    Raises:
      ScalerError: the method is unknown, or its result is not finite (a log of a negative).
    """
    started, values = Fit(method, np.size(values)), np.asarray(values)
    while True:
        started.add(values)
        if scaler := started.end_pass():
            return scaler


def _is_curved(method):
    return METHODS[method][0] != "linear"


def _curve(method, x):
    xp = x.__array_namespace__()
    if METHODS[method][0] == "log1p":
        return xp.log1p(x)
    if METHODS[method][0] == "log10":
        return xp.log10(x + LOG10_OFFSET)
    return x
