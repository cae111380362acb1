"""Scalers: fitted by scikit-learn, kept as plain numbers, applied in numpy and inside jit."""

import dataclasses

import numpy as np

from starjax import errors

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
# As in scikit-learn's QuantileTransformer: how near an end of the range counts as the end.
_QUANTILE_EDGE = 1e-7


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
            return _to_normal(x, np.asarray(self.params["quantiles"]))
        if self.method == "power":
            x = _yeo_johnson(xp, x, self.params["exponent"])
        elif METHODS[self.method][0] == "log1p":
            x = xp.log1p(x)
        elif METHODS[self.method][0] == "log10":
            x = xp.log10(x + LOG10_OFFSET)
        return (x - self.params["center"]) / self.params["scale"]

    def inverse(self, x):
        """Scaled to physical, element by element; `x` numpy or jax, of any shape."""
        xp = x.__array_namespace__()
        if self.method == "quantile":
            return _from_normal(x, np.asarray(self.params["quantiles"]))
        x = x * self.params["scale"] + self.params["center"]
        if self.method == "power":
            return _yeo_johnson_inverse(xp, x, self.params["exponent"])
        if METHODS[self.method][0] == "log1p":
            return xp.expm1(x)
        if METHODS[self.method][0] == "log10":
            return 10**x - LOG10_OFFSET
        return x


def fit(method: str, values: np.ndarray) -> Scaler:
    """Fits `method` to all of `values` as one column.

    Raises:
      ScalerError: the method is unknown, or its result is not finite (a log of a negative).
    """
    if method not in METHODS:
        raise ScalerError(f"scaler {method!r} is unknown: choose one of {', '.join(METHODS)}")
    column = np.asarray(values, dtype=np.float64).reshape(-1, 1)
    curve, scale = METHODS[method]
    with np.errstate(all="ignore"):
        if curve == "log1p":
            column = np.log1p(column)
        elif curve == "log10":
            column = np.log10(column + LOG10_OFFSET)
    if not column.size or not np.isfinite(column).all():
        bad = int((~np.isfinite(column)).sum())
        raise ScalerError(f"scaler {method!r} gives no finite value for {bad} of {column.size} values")
    scaler = Scaler(method, _FIT[scale](column))
    # All methods rise: where the ends are finite, so is all between.
    if not np.isfinite(scaler.transform(np.array([np.min(values), np.max(values)], np.float64))).all():
        raise ScalerError(f"scaler {method!r} gives values that are not finite")
    return scaler


def _fit_none(column):
    return {"center": 0.0, "scale": 1.0}


def _fit_standard(column):
    from sklearn.preprocessing import StandardScaler  # slow to import, and not needed to apply a scaler

    fitted = StandardScaler().fit(column)
    return {"center": float(fitted.mean_[0]), "scale": float(fitted.scale_[0])}


def _fit_minmax(column):
    from sklearn.preprocessing import MinMaxScaler

    fitted = MinMaxScaler().fit(column)
    return {"center": float(fitted.data_min_[0]), "scale": float(1 / fitted.scale_[0])}


def _fit_robust(column):
    from sklearn.preprocessing import RobustScaler

    fitted = RobustScaler().fit(column)
    return {"center": float(fitted.center_[0]), "scale": float(fitted.scale_[0])}


def _fit_power(column):
    from sklearn.preprocessing import PowerTransformer

    fitted = PowerTransformer(method="yeo-johnson", standardize=False).fit(column)
    exponent = float(fitted.lambdas_[0])
    return {"exponent": exponent, **_fit_standard(_yeo_johnson(np, column, exponent))}


def _fit_quantile(column):
    from sklearn.preprocessing import QuantileTransformer

    num_quantile = min(1000, len(column))
    # A fixed subsample: the same data give the same scaler.
    fitted = QuantileTransformer(n_quantiles=num_quantile, output_distribution="normal", random_state=0)
    return {"quantiles": fitted.fit(column).quantiles_[:, 0].tolist()}


_FIT = {
    "none": _fit_none,
    "standard": _fit_standard,
    "minmax": _fit_minmax,
    "robust": _fit_robust,
    "power": _fit_power,
    "quantile": _fit_quantile,
}


def _yeo_johnson(xp, x, exponent):
    """Yeo & Johnson 2000, Biometrika 87, 954, equation 2.1."""
    positive, negative = xp.maximum(x, 0), xp.minimum(x, 0)

    def branch(value, power):
        return xp.log1p(value) if power == 0 else xp.expm1(power * xp.log1p(value)) / power

    return branch(positive, exponent) - branch(-negative, 2 - exponent)


def _yeo_johnson_inverse(xp, x, exponent):
    positive, negative = xp.maximum(x, 0), xp.minimum(x, 0)

    def branch(value, power):
        # Values beyond the end of the curve's range (power < 0) have no preimage: NaN, as in scikit-learn.
        return xp.expm1(value) if power == 0 else xp.expm1(xp.log1p(power * value) / power)

    return branch(positive, exponent) - branch(-negative, 2 - exponent)


def _special(x):
    """The special functions for arrays of the kind of `x`."""
    # Both are slow to import, and most scalers do without.
    if isinstance(x, np.ndarray):
        import scipy.special

        return scipy.special
    import jax.scipy.special

    return jax.scipy.special


def _to_normal(x, quantiles):
    xp = x.__array_namespace__()
    levels = np.linspace(0, 1, len(quantiles))
    # Where quantiles coincide the two directions of interpolation differ; the mean of both is used.
    upwards = xp.interp(x, quantiles, levels)
    downwards = xp.interp(-x, -quantiles[::-1], -levels[::-1])
    level = (upwards - downwards) / 2
    level = xp.where(x > quantiles[-1] - _QUANTILE_EDGE, 1.0, level)
    level = xp.where(x < quantiles[0] + _QUANTILE_EDGE, 0.0, level)
    end = -_special(quantiles).ndtri(_QUANTILE_EDGE - np.spacing(1))
    return xp.clip(_special(x).ndtri(level), -end, end)


def _from_normal(x, quantiles):
    xp = x.__array_namespace__()
    level = _special(x).ndtr(x)
    levels = np.linspace(0, 1, len(quantiles))
    value = xp.interp(level, levels, quantiles)
    value = xp.where(level > 1 - _QUANTILE_EDGE, quantiles[-1], value)
    return xp.where(level < _QUANTILE_EDGE, quantiles[0], value)
