"""Errors of Gaia DR3's parallaxes, proper motions and magnitudes, as functions of magnitude.

All functions take numpy arrays or jax arrays (also traced) of any shape, and return arrays of that shape.
They describe typical stars: in the catalogue the errors of parallaxes at one magnitude scatter by a quarter
with the number of observations, and those of stars brighter than G = 12 are larger by a factor of 1.5 in the
median.
"""

import math

import numpy as np

from starjax.ops import interpolation

# Months of observations.
DR2_MONTHS, DR3_MONTHS = 22, 34
# Brighter than this, gates and window classes keep the astrometric errors constant.
_BRIGHT_LIMIT_G = 13.0
_PER_MAG = 0.4 * math.log(10)

# Range of the published photometric errors [mag], and how far they are extrapolated: a red dwarf near Gaia's
# limit of G = 20.7 is fainter than 23 in BP.
_BRIGHTEST, _FAINTEST, _FAINTEST_EXTRAPOLATED = 4.0, 21.0, 24.0
# Linear interpolation between values at this distance [mag] deviates by less than 0.2 % from the splines.
_STEP = 0.05

# Uncertainties [mag] of the zero points of G, BP and RP, listed with the passbands of Riello et al. 2021 (A&A
# 649, A3) at cosmos.esa.int/web/gaia/edr3-passbands. The magnitude errors of the catalogue at CDS (I/350)
# contain them, so that no star has smaller ones.
_FLOOR_G, _FLOOR_BP, _FLOOR_RP = 0.0027553202, 0.0027901700, 0.0037793818


def parallax_error_mas(g_mag):
    """Return the standard error of parallaxes [mas] at magnitudes G.

    ESA's "Gaia Science Performance" page (cosmos.esa.int/web/gaia/science-performance), for DR3:
    sqrt(40 + 800 z + 30 z^2) microarcseconds with z = 10^(0.4 (max(G, 13) - 15)).
    """
    xp = g_mag.__array_namespace__()
    z = xp.exp(_PER_MAG * (xp.maximum(g_mag, _BRIGHT_LIMIT_G) - 15))
    return xp.sqrt(40 + z * (800 + 30 * z)) / 1000


def proper_motion_error_mas_yr(g_mag):
    """Return the standard errors of proper motions in right ascension and declination [mas/yr].

    1.03 and 0.89 of the parallax error a year (same page, DR3).
    """
    parallax_error = parallax_error_mas(g_mag)
    return 1.03 * parallax_error, 0.89 * parallax_error


def astrometric_errors(g_mag, num_month: int = DR3_MONTHS) -> dict:
    """Return the standard errors of parallaxes [mas] and proper motions [mas/yr], by the archive's column.

    Args:
      g_mag: magnitudes G.
      num_month: duration of the observations, 22 for DR2 and 34 for EDR3 and DR3. With it, parallaxes improve
        with the power 1/2, and proper motions 3/2.
    """
    longer = DR3_MONTHS / num_month
    pmra_error, pmdec_error = proper_motion_error_mas_yr(g_mag)
    return {
        "parallax_error": longer**0.5 * parallax_error_mas(g_mag),
        "pmra_error": longer**1.5 * pmra_error,
        "pmdec_error": longer**1.5 * pmdec_error,
    }


def photometric_errors_mag(g_mag, bp_mag, rp_mag):
    """Return the standard errors of G, BP and RP [mag] at magnitudes in these bands.

    The formal errors of EDR3 by the splines of github.com/gaia-dpci/gaia-dr3-photometric-uncertainties (as in
    pygaia 3.2.2), for 351 observations in G and 40 in BP and RP, the averages of DR3, with the error of the
    zero point added in quadrature. They are constant brighter than 4 mag; beyond 21 mag, where no errors are
    published, they grow as for a constant error of the flux, up to 24 mag. A magnitude of NaN has an error of
    NaN.
    """
    return (
        _interpolate(_ERRORS_G, g_mag),
        _interpolate(_ERRORS_BP, bp_mag),
        _interpolate(_ERRORS_RP, rp_mag),
    )


def colour_error_mag(g_mag, bp_rp):
    """Return the standard errors of BP-RP [mag] of stars with magnitudes G and colours BP-RP.

    BP follows from both within 0.1 mag, for dwarfs and giants.
    """
    bp_mag = g_mag + bp_rp * (0.36 + 0.08 * bp_rp)
    _, bp_error, rp_error = photometric_errors_mag(g_mag, bp_mag, bp_mag - bp_rp)
    return g_mag.__array_namespace__().hypot(bp_error, rp_error)


def magnitude_error_mag(g_mag):
    """Return the standard errors of G [mag], see `photometric_errors_mag`."""
    return _interpolate(_ERRORS_G, g_mag)


def _interpolate(table, mag):
    return interpolation.interpolate(mag, _BRIGHTEST, _STEP, table)


def _cubic_spline(knots: np.ndarray, coefficients: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return a cubic B-spline at x (N,), by the recursion of de Boor (1978, "A Practical Guide to Splines").

    Args:
      knots: (K,) ascending; x lies between the first and the last.
      coefficients: (K - 4,).
    """
    x = x[:, None]
    basis = ((knots[:-1] <= x) & (x < knots[1:])).astype(float)
    for degree in (1, 2, 3):
        width = knots[degree:] - knots[:-degree]
        # A basis function between coinciding knots is zero, whatever its weight.
        weight = (x - knots[:-degree]) / np.where(width > 0, width, 1)
        basis = weight[:, :-1] * basis[:, :-1] + (1 - weight[:, 1:]) * basis[:, 1:]
    return basis @ coefficients


def _error_table(inner_knots, coefficients, end_knots, observation_ratio: float, floor: float) -> np.ndarray:
    """Return a table of errors [mag] from `_BRIGHTEST` to `_FAINTEST_EXTRAPOLATED` in steps of `_STEP`.

    Args:
      inner_knots: of the spline of log10 of the formal error [mag].
      coefficients: of the spline.
      end_knots: the first and the last knot, each of which is there four times.
      observation_ratio: observations of a star in DR3 per observation that the spline is for.
      floor: error [mag] of the zero point.
    """
    first, last = end_knots
    knots = np.array([*[first] * 4, *inner_knots, *[last] * 4])
    mag = _BRIGHTEST + _STEP * np.arange(round((_FAINTEST_EXTRAPOLATED - _BRIGHTEST) / _STEP) + 1)
    log_error = _cubic_spline(knots, np.array(coefficients), np.minimum(mag, _FAINTEST))
    extrapolation = 0.4 * np.maximum(mag - _FAINTEST, 0)
    formal_error = 10 ** (log_error + extrapolation) / math.sqrt(observation_ratio)
    return interpolation.make_table(np.hypot(formal_error, floor))


_ERRORS_G = _error_table(
    inner_knots=(
        *(5, 6, 7, 7.5, 8, 8.5, 9, 9.5, 10, 10.2, 10.4, 10.6, 10.8, 11, 11.2, 11.4, 11.6, 11.8),
        *(12, 13, 14, 15, 16, 17, 18, 19, 20, 20.5),
    ),
    coefficients=(
        *(-2.6686688, -3.15478854, -2.80164701, -3.58524418, -3.71684791, -3.6077583, -3.54068951),
        *(-3.55453827, -3.69550477, -3.64960192, -3.67027793, -3.53502324, -3.49776724, -3.80810077),
        *(-3.7052822, -3.65815826, -3.49039211, -3.46277842, -3.65011101, -3.67777462, -3.58066755),
        *(-3.59785497, -3.63101572, -3.44255105, -3.24041933, -3.0098533, -2.78252535, -2.5043271),
        *(-2.27768095, -2.0678234, -1.97972281, -1.89599009),
    ),
    end_knots=(3.98333, 21.01667),
    observation_ratio=351 / 200,
    floor=_FLOOR_G,
)
_ERRORS_BP = _error_table(
    inner_knots=range(5, 21),
    coefficients=(
        *(-2.35733011, -2.64095421, -3.21749952, -2.84441953, -3.07084609, -3.03059536, -3.24395598),
        *(-3.21406564, -3.2063127, -3.0198331, -3.08416649, -2.97503661, -2.75397143, -2.49071345),
        *(-2.19411197, -1.88226834, -1.51910871, -1.21081614, -0.96169554, -0.87317411),
    ),
    end_knots=(3.95, 21.01667),
    observation_ratio=40 / 20,
    floor=_FLOOR_BP,
)
_ERRORS_RP = _error_table(
    inner_knots=range(5, 21),
    coefficients=(
        *(-2.46576846, -2.60861172, -2.56457496, -3.23711778, -3.05783128, -3.39912752, -3.39275878),
        *(-3.4804449, -3.28253968, -3.3275789, -3.14046441, -2.93924351, -2.66053568, -2.36244582),
        *(-2.00112286, -1.67847377, -1.36757625, -0.9454358, -0.84779583, -0.79312323),
    ),
    end_knots=(3.98333, 21.01667),
    observation_ratio=40 / 20,
    floor=_FLOOR_RP,
)
