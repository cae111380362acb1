"""Luminosities from Gaia's magnitudes and colours, and magnitudes and colours of the main sequence.

The bolometric correction is that of the mean dwarf sequence of Pecaut & Mamajek 2013 (ApJS 208, 9), in
Mamajek's version of 2024.05.15 with Gaia columns: BC_G = M_bol - M_G, with M_bol = 4.74 for one solar
luminosity. Giants and white dwarfs are not part of the sequence, and get the correction of a dwarf of their
colour.
"""

import dataclasses
import math
from typing import Any

import numpy as np

from starjax.gaia import extinction, uncertainties
from starjax.gaia.extinction import EXTINCTION_BP, EXTINCTION_G, EXTINCTION_RP

# Bolometric, of one nominal solar luminosity (IAU 2015 resolution B2).
MAGNITUDE_OF_SUN = 4.74

# BP-RP, M_G, M_bol [mag] of B9 A0 A2 A5 A7 F0 F2 F5 F8 G0 G2 G5 G8 K0 K2 K3 K4 K5 K6 K7 M0 M1 M2 M2.5 M3 M3.5
# M4 M4.5 M5 M5.5 M6 M7 dwarfs. The table ends where colours are not listed or no longer increase, since
# interpolation needs an increasing colour.
_DWARFS = np.array(
    [
        (-0.120, 0.515, 0.08),
        (-0.037, 1.00, 0.78),
        (0.068, 1.345, 1.28),
        (0.194, 1.98, 2.01),
        (0.263, 2.19, 2.24),
        (0.377, 2.51, 2.58),
        (0.490, 2.89, 2.97),
        (0.587, 3.26, 3.35),
        (0.694, 3.90, 4.01),
        (0.784, 4.325, 4.42),
        (0.823, 4.635, 4.72),
        (0.850, 4.801, 4.88),
        (0.900, 5.098, 5.16),
        (0.983, 5.553, 5.59),
        (1.10, 5.83, 5.81),
        (1.19, 6.22, 6.17),
        (1.34, 6.59, 6.46),
        (1.43, 6.85, 6.65),
        (1.53, 7.15, 6.89),
        (1.70, 7.57, 7.23),
        (1.84, 8.10, 7.65),
        (2.09, 8.82, 8.22),
        (2.23, 9.29, 8.59),
        (2.39, 9.67, 8.82),
        (2.50, 10.05, 9.21),
        (2.78, 10.82, 9.82),
        (2.94, 11.21, 10.10),
        (3.16, 12.04, 10.74),
        (3.35, 12.45, 11.04),
        (3.71, 13.35, 11.72),
        (4.16, 14.26, 12.19),
        (4.65, 14.72, 12.71),
    ]
)
_COLOUR, _MAGNITUDE_G, _MAGNITUDE_BOL = _DWARFS.T
COLOUR_RANGE = (_COLOUR[0], _COLOUR[-1])


@dataclasses.dataclass(frozen=True)
class Luminosities:
    """Luminosities of n stars from their photometry.

    Attributes:
      log_luminosity: (n,) [log10 Lsun], NaN without a magnitude.
      lacks_colour: (n,), True where the colour is that of the main sequence, because none was measured.
      is_beyond_colours: (n,), True where the intrinsic colour is outside `COLOUR_RANGE`.
    """

    log_luminosity: np.ndarray
    lacks_colour: np.ndarray
    is_beyond_colours: np.ndarray


def estimate_luminosities(
    magnitude_g: np.ndarray, bp_rp: np.ndarray, distance_pc: np.ndarray, extinction_v_mag: float
) -> Luminosities:
    """Return the luminosities of stars (n,) of apparent magnitude G and colour BP-RP [mag], as observed.

    A missing colour (NaN) is replaced by that of a dwarf of the same magnitude: most members are dwarfs.
    """
    lacks_colour = np.isnan(bp_rp)
    dwarf_colour = colour_on_main_sequence(magnitude_g, distance_pc, extinction_v_mag)
    colour = np.where(lacks_colour, dwarf_colour, bp_rp)
    low, high = COLOUR_RANGE
    intrinsic = intrinsic_colour(colour, extinction_v_mag)
    return Luminosities(
        log_luminosity(magnitude_g, colour, distance_pc, extinction_v_mag),
        lacks_colour,
        (intrinsic < low) | (intrinsic > high),
    )


def bolometric_correction(bp_rp: np.ndarray) -> np.ndarray:
    """Return the correction [mag] to add to G at an intrinsic BP-RP [mag]; constant beyond `COLOUR_RANGE`."""
    return np.interp(bp_rp, _COLOUR, _MAGNITUDE_BOL - _MAGNITUDE_G)


def intrinsic_colour(bp_rp: np.ndarray, extinction_v_mag: float) -> np.ndarray:
    """Return BP-RP [mag] without the reddening of an extinction A_V."""
    return bp_rp - _reddening(extinction_v_mag)


def _reddening(extinction_v_mag: float) -> float:
    """Return what an extinction A_V adds to BP-RP [mag]."""
    return (EXTINCTION_BP - EXTINCTION_RP) * extinction_v_mag


def _absolute_magnitude(
    magnitude_g: np.ndarray, distance_pc: np.ndarray, extinction_v_mag: float
) -> np.ndarray:
    """Return M_G [mag] without extinction."""
    return magnitude_g - 5 * np.log10(distance_pc / 10) - EXTINCTION_G * extinction_v_mag


def log_luminosity(
    magnitude_g: np.ndarray, bp_rp: np.ndarray, distance_pc: np.ndarray, extinction_v_mag: float = 0.0
) -> np.ndarray:
    """Return the bolometric luminosity [log10 Lsun] at an observed magnitude and colour [mag]."""
    absolute_g = _absolute_magnitude(magnitude_g, distance_pc, extinction_v_mag)
    bolometric = absolute_g + bolometric_correction(intrinsic_colour(bp_rp, extinction_v_mag))
    return (MAGNITUDE_OF_SUN - bolometric) / 2.5


def colour_on_main_sequence(
    magnitude_g: np.ndarray, distance_pc: np.ndarray, extinction_v_mag: float = 0.0
) -> np.ndarray:
    """Return the reddened BP-RP [mag] of dwarfs of apparent G [mag]; constant beyond the sequence."""
    absolute_g = _absolute_magnitude(magnitude_g, distance_pc, extinction_v_mag)
    return np.interp(absolute_g, _MAGNITUDE_G, _COLOUR) + _reddening(extinction_v_mag)


def on_main_sequence(log_luminosity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return M_G and BP-RP [mag] of dwarfs of a luminosity [log10 Lsun].

    BP-RP is constant beyond the ends of the sequence.
    """
    bolometric = MAGNITUDE_OF_SUN - 2.5 * log_luminosity
    bp_rp = np.interp(bolometric, _MAGNITUDE_BOL, _COLOUR)
    return bolometric - bolometric_correction(bp_rp), bp_rp


def colour_magnitude(
    magnitude_g, bp_rp, distance_pc, distance_error_pc, extinction_v, extinction_v_error
) -> dict[str, Any]:
    """Return absolute magnitudes, intrinsic colours and their errors (n,) by name of the feature [mag].

    They are NaN where magnitude or colour is. Errors of the photometry are those that Gaia has at this
    magnitude, since member catalogues rarely list them. The observer of simulated clusters uses this
    function, too.

    Args:
      magnitude_g, bp_rp: as observed (n,) [mag], of numpy or jax arrays.
      distance_pc, distance_error_pc: of the stars (n,).
      extinction_v, extinction_v_error: A_V in front of the cluster and its standard error [mag].
    """
    xp = magnitude_g.__array_namespace__()
    g_0, bp_rp_0 = extinction.intrinsic(magnitude_g, bp_rp, extinction_v)
    extinction_variance = extinction_v_error**2 + (extinction.LAW_ERROR * extinction_v) ** 2
    return {
        "abs_mag_g": g_0 - 5 * xp.log10(distance_pc / 10),
        "abs_mag_g_error": xp.sqrt(
            uncertainties.magnitude_error_mag(magnitude_g) ** 2
            + (5 / math.log(10) * distance_error_pc / distance_pc) ** 2
            + EXTINCTION_G**2 * extinction_variance
        ),
        "bp_rp_0": bp_rp_0,
        "bp_rp_0_error": xp.sqrt(
            uncertainties.colour_error_mag(magnitude_g, bp_rp) ** 2
            + (EXTINCTION_BP - EXTINCTION_RP) ** 2 * extinction_variance
        ),
    }
