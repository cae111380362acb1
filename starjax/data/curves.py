"""Curves that scalers bend values by, in numpy and inside jit."""

import numpy as np

# As in scikit-learn's QuantileTransformer: how near an end of the range counts as the end.
_QUANTILE_EDGE = 1e-7


def yeo_johnson(xp, x, exponent):
    """Yeo & Johnson 2000, Biometrika 87, 954, equation 2.1."""
    positive, negative = xp.maximum(x, 0), xp.minimum(x, 0)

    def branch(value, power):
        return xp.log1p(value) if power == 0 else xp.expm1(power * xp.log1p(value)) / power

    return branch(positive, exponent) - branch(-negative, 2 - exponent)


def yeo_johnson_inverse(xp, x, exponent):
    """Back from `yeo_johnson`."""
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


def to_normal(x, quantiles):
    """The standard normal value of the same level that `x` has among `quantiles`."""
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


def from_normal(x, quantiles):
    """Back from `to_normal`."""
    xp = x.__array_namespace__()
    level = _special(x).ndtr(x)
    levels = np.linspace(0, 1, len(quantiles))
    value = xp.interp(level, levels, quantiles)
    value = xp.where(level > 1 - _QUANTILE_EDGE, quantiles[-1], value)
    return xp.where(level < _QUANTILE_EDGE, quantiles[0], value)
