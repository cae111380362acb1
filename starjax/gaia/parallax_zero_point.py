"""Zero point of Gaia EDR3's and DR3's parallaxes star by star: Lindegren et al. 2021, A&A 649, A4.

It depends on magnitude, colour, ecliptic latitude and the kind of the astrometric solution. The recipe is
that of the authors' package gaiadr3-zeropoint.
"""

import importlib.util

import numpy as np

from starjax import errors

# The name of the recipe where a zero point may be stated.
RECIPE = "lindegren2021"
# For stars that the recipe does not reach [mas]: its median over members of open clusters of G = 13 to 17.
TYPICAL_MAS = -0.04
# Of DR2, by quasars: Lindegren et al. 2018, A&A 616, A2.
DR2_MAS = -0.029
# Kinds of astrometric solutions, as `astrometric_params_solved` encodes them: with a colour that was known,
# and with a pseudocolour that was fitted together with the astrometry.
FIVE_PARAMETERS, SIX_PARAMETERS = 31, 95


class ZeroPointError(errors.StarjaxError):
    """The package that has the recipe is not installed."""


def check_installed() -> None:
    """Raise ZeroPointError if the package that has the recipe is not installed."""
    if importlib.util.find_spec("zero_point") is None:
        raise ZeroPointError(
            f"parallax_zero_point_mas={RECIPE} needs the package gaiadr3-zeropoint: "
            "pip install gaiadr3-zeropoint"
        )


def effective_wavenumber(bp_rp: np.ndarray) -> np.ndarray:
    """Return the effective wavenumber [1/micrometre] of stars of a colour BP-RP [mag].

    Source: Lindegren et al. 2021, A&A 649, A2, equation 3.
    """
    return 1.76 - 1.61 / np.pi * np.arctan(0.531 * bp_rp)


def zero_points_mas(
    g_mag: np.ndarray,
    wavenumber: np.ndarray,
    pseudocolour: np.ndarray,
    ecliptic_latitude_deg: np.ndarray,
    params_solved: np.ndarray,
) -> np.ndarray:
    """Return the zero points of parallaxes (n,) [mas], to be subtracted.

    They are NaN where a value is missing, and beyond the range of the recipe: G from 6 to 21 mag, wavenumbers
    from 1.1 to 1.9, pseudocolours from 1.24 to 1.72.

    Args:
      g_mag: mean magnitude G, as all arguments (n,).
      wavenumber: Gaia's nu_eff_used_in_astrometry [1/micrometre]; only of solutions with five parameters.
      pseudocolour: [1/micrometre]; only of solutions with six.
      ecliptic_latitude_deg: ecliptic latitude.
      params_solved: Gaia's astrometric_params_solved. Where it is missing, a star with a pseudocolour has six
        parameters, and others have five.

    Raises:
      ZeroPointError: the package gaiadr3-zeropoint is not installed.
    """
    check_installed()
    from zero_point import zpt

    zpt.load_tables()
    guessed = np.where(np.isfinite(pseudocolour), SIX_PARAMETERS, FIVE_PARAMETERS)
    solved = np.where(np.isfinite(params_solved), params_solved, guessed)
    found = np.full(len(g_mag), np.nan)
    # Others, with two parameters, have no parallax.
    has_solution = np.isin(solved, (FIVE_PARAMETERS, SIX_PARAMETERS))
    columns = (g_mag, wavenumber, pseudocolour, ecliptic_latitude_deg, solved)
    # Without warnings, values beyond the range are NaN.
    found[has_solution] = zpt.get_zpt(*(column[has_solution] for column in columns), _warnings=False)
    return found
