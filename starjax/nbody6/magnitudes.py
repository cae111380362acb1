"""Absolute magnitudes of simulated stars in Gaia's bands, by bolometric corrections.

The corrections are those of MIST 1.2 for Gaia EDR3's G, BP and RP without extinction, in the Vega system
(Dotter 2016, ApJS 222, 8; Choi et al. 2016, ApJ 823, 102: cite both), from the package astrolachesis 1.0.9
(MIT licence, J. Vines); `tools/make_bolometric_corrections.py` made `bolometric_corrections.npz` of them.
They are linear in log T_eff, log g and [Fe/H] between the points of the table.

Outside the table, which reaches from 2,500 to 1,000,000 K and from log g = -4 to 9.5, a star has the
correction of the nearest edge. White dwarfs, with log g of about 8, are within it. Dwarfs cooler than
2,500 K, below 0.09 Msun, are not, and come out too bright and too blue. Metallicities outside the table,
[Fe/H] from -2.5 to 0.5, are refused.
"""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

# The names of MIST, in the order of the table.
BANDS = ("Gaia_G_EDR3", "Gaia_BP_EDR3", "Gaia_RP_EDR3")
# Bolometric absolute magnitude and log g [cgs] of the Sun, and the metallicity at which [Fe/H] = 0: those of
# MIST, the latter rounded.
_M_BOL_SUN, _LOG_G_SUN, _Z_SUN = 4.74, 4.438, 0.014
# In all bands, of remnants without light; no survey sees them, and means and scalers stay finite.
DARK = 30.0
# Simulations give black holes, and remnants of no mass, a luminosity of 1e-10 Lsun.
_DARK_LOG_L = -9.0
# Neutron stars and black holes are smaller than any white dwarf; of the former the table knows nothing.
_DARK_LOG_R = -4.0
# [Fe/H] of a metallicity at an end of the table may be beyond it by rounding.
_ROUNDING = 1e-6


class Magnitudes(NamedTuple):
    """Absolute magnitudes of stars without extinction, each (n_star,), in Gaia EDR3's bands."""

    g: np.ndarray
    bp: np.ndarray
    rp: np.ndarray


def absolute_magnitudes(
    mass: np.ndarray,
    log_luminosity: np.ndarray,
    log_t_eff: np.ndarray,
    log_radius: np.ndarray,
    metallicity: float,
) -> Magnitudes:
    """Return the absolute magnitudes of stars of one metallicity.

    Neutron stars, black holes and others without light have 30 mag in every band, and no star has more.

    Args:
      mass: [Msun] (n_star,).
      log_luminosity: log10 of the luminosity [Lsun] (n_star,).
      log_t_eff: log10 of the effective temperature [K] (n_star,).
      log_radius: log10 of the radius [Rsun] (n_star,).
      metallicity: mass fraction Z of metals; [Fe/H] = log10(Z / 0.014).

    Returns:
      The magnitudes; NaN for stars with light whose quantities are not finite, or whose mass is not positive.

    Raises:
      ValueError: the metallicity is outside the table.
    """
    correct, log_t_effs, log_gravities, metallicities = _table()
    lowest, highest = (_Z_SUN * 10**end for end in (metallicities[0], metallicities[-1]))
    with np.errstate(divide="ignore", invalid="ignore"):
        fe_h = np.log10(metallicity / _Z_SUN)
        log_gravity = _LOG_G_SUN + np.log10(mass) - 2 * log_radius
    if not metallicities[0] - _ROUNDING <= fe_h <= metallicities[-1] + _ROUNDING:
        raise ValueError(
            f"magnitudes are known for a metallicity Z of {lowest:.2g} to {highest:.2g}, not {metallicity:g}"
        )
    is_valid = np.isfinite(log_luminosity) & np.isfinite(log_t_eff) & np.isfinite(log_gravity)
    points = np.full((len(log_gravity), 3), np.clip(fe_h, metallicities[0], metallicities[-1]))
    # Anywhere in the table for those that are not valid.
    points[:, 1] = np.clip(np.where(is_valid, log_t_eff, 0.0), log_t_effs[0], log_t_effs[-1])
    points[:, 2] = np.clip(np.where(is_valid, log_gravity, 0.0), log_gravities[0], log_gravities[-1])
    correction = np.where(is_valid[:, None], correct(points), np.nan)
    magnitude = _M_BOL_SUN - 2.5 * log_luminosity[:, None] - correction
    is_dark = (log_luminosity <= _DARK_LOG_L) | (log_radius <= _DARK_LOG_R)
    magnitude = np.where(is_dark[:, None], DARK, np.minimum(magnitude, DARK))
    return Magnitudes(*magnitude.T)


@functools.cache
def _table() -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
    """Return the corrections [mag] as a function of ([Fe/H], log T_eff, log g), and these axes."""
    from scipy.interpolate import RegularGridInterpolator  # slow to import, and few builds need it

    with np.load(Path(__file__).with_name("bolometric_corrections.npz"), allow_pickle=False) as table:
        axes = table["metallicity"], table["log_t_eff"], table["log_gravity"]
        correction = table["correction_mmag"] / 1000
    return RegularGridInterpolator(axes, correction), axes[1], axes[2], axes[0]
