"""Scalers: kept as plain numbers, and applied to numpy arrays or inside `jax.jit`; `fit` fits them."""

import dataclasses

import numpy as np

from starjax import errors

# Distance from the end of the range that counts as the end, as in scikit-learn's QuantileTransformer.
_QUANTILE_EDGE = 1e-7


def yeo_johnson(xp, x, exponent):
    """Apply the power transform of Yeo & Johnson 2000, Biometrika 87, 954, equation 2.1."""
    # Both branches are computed for all values, each 0 where the other one applies: no `where`, whose
    # unused branch could be NaN.
    positive, negative = xp.maximum(x, 0), xp.minimum(x, 0)

    def branch(value, power):
        return xp.log1p(value) if power == 0 else xp.expm1(power * xp.log1p(value)) / power

    return branch(positive, exponent) - branch(-negative, 2 - exponent)


def yeo_johnson_inverse(xp, x, exponent):
    """Invert `yeo_johnson`."""
    positive, negative = xp.maximum(x, 0), xp.minimum(x, 0)

    def branch(value, power):
        # For power < 0 the range is bounded, and values beyond it have no preimage: NaN, as in scikit-learn.
        return xp.expm1(value) if power == 0 else xp.expm1(xp.log1p(power * value) / power)

    return branch(positive, exponent) - branch(-negative, 2 - exponent)


def _special(x):
    """Return the module of special functions for the array type of `x`."""
    # Both are slow to import, and most scalers do not need them.
    if isinstance(x, np.ndarray):
        import scipy.special

        return scipy.special
    import jax.scipy.special

    return jax.scipy.special


def to_normal(x, quantiles):
    """Map values to the standard normal distribution by their rank among `quantiles`."""
    xp = x.__array_namespace__()
    levels = np.linspace(0, 1, len(quantiles))
    # If quantiles coincide, the two directions of interpolation differ, and their mean is used.
    upwards = xp.interp(x, quantiles, levels)
    downwards = xp.interp(-x, -quantiles[::-1], -levels[::-1])
    level = (upwards - downwards) / 2
    level = xp.where(x > quantiles[-1] - _QUANTILE_EDGE, 1.0, level)
    level = xp.where(x < quantiles[0] + _QUANTILE_EDGE, 0.0, level)
    end = -_special(quantiles).ndtri(_QUANTILE_EDGE - np.spacing(1))
    return xp.clip(_special(x).ndtri(level), -end, end)


def from_normal(x, quantiles):
    """Invert `to_normal`."""
    xp = x.__array_namespace__()
    level = _special(x).ndtr(x)
    levels = np.linspace(0, 1, len(quantiles))
    value = xp.interp(level, levels, quantiles)
    value = xp.where(level > 1 - _QUANTILE_EDGE, quantiles[-1], value)
    return xp.where(level < _QUANTILE_EDGE, quantiles[0], value)


# Added before the logarithm, so that zero stays finite.
LOG10_OFFSET = 1e-10

# Each method is a fixed curve, followed by a scale that is fitted to the curved values (see `fit.FITS`).
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

# Values that the argument of a curve must exceed.
LOWER_BOUNDS = {"log10": 0.0, "log1p": -1.0}


class ScalerError(errors.StarjaxError):
    """A scaler that cannot be fitted or read; the message names the columns or the file."""


@dataclasses.dataclass(frozen=True)
class Scaler:
    """A fitted scaler.

    Attributes:
      method: a name in METHODS.
      params: `center` and `scale`, which are subtracted from and divide the curved values; 'power' also has
        `exponent`; 'quantile' has the increasing `quantiles` instead.
    """

    method: str
    params: dict

    def transform(self, x):
        """Scale physical values, element by element; `x` is a numpy or jax array of any shape."""
        xp = x.__array_namespace__()
        if self.method == "quantile":
            return to_normal(x, np.asarray(self.params["quantiles"]))
        if self.method == "power":
            x = yeo_johnson(xp, x, self.params["exponent"])
        x = apply_curve(self.method, x)
        return (x - self.params["center"]) / self.params["scale"]

    def inverse(self, x):
        """Return scaled values to physical units, element by element; `x` is a numpy or jax array."""
        xp = x.__array_namespace__()
        if self.method == "quantile":
            return from_normal(x, np.asarray(self.params["quantiles"]))
        x = x * self.params["scale"] + self.params["center"]
        if self.method == "power":
            return yeo_johnson_inverse(xp, x, self.params["exponent"])
        if METHODS[self.method][0] == "log1p":
            return xp.expm1(x)
        if METHODS[self.method][0] == "log10":
            return 10**x - LOG10_OFFSET
        return x


def is_curved(method: str) -> bool:
    """Return whether the curve of a method is not the identity."""
    return METHODS[method][0] != "linear"


def apply_curve(method: str, x):
    """Apply the curve of a method to a numpy or jax array."""
    xp = x.__array_namespace__()
    if METHODS[method][0] == "log1p":
        return xp.log1p(x)
    if METHODS[method][0] == "log10":
        return xp.log10(x + LOG10_OFFSET)
    return x
