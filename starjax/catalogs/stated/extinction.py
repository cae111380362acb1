"""The extinction in front of a cluster: stated, from a map of dust, or assumed."""

import dataclasses

import numpy as np

from starjax.catalogs import sky_frames
from starjax.catalogs.stated.view import View

# Of A_V [mag] from maps and fits of isochrones, within a kiloparsec.
TYPICAL_ERROR = 0.1
# Smaller errors are those of fits alone. Models are trained on errors from this on (`configs/gaia.py`).
LEAST_ERROR = 0.02
GIVEN, ASSUMED = "given", "assumed"
# Clusters farther away [pc] and nearer to the plane [deg] have dust in front: of 80 such open clusters of
# Almeida, Monteiro & Dias 2023 (MNRAS 525, 2315), 5 % have an A_V below 0.1 mag, and half more than 0.7 mag.
_CLEAR_WITHIN_PC, _DUSTY_WITHIN_DEG = 300.0, 20.0


@dataclasses.dataclass(frozen=True)
class Extinction:
    """Extinction in front of a cluster.

    Attributes:
      v_mag, v_error_mag: A_V and its standard error, as used.
      source: 'given', 'assumed', or the name of a map of dust.
      note: what to know about the value.
    """

    v_mag: float
    v_error_mag: float
    source: str
    note: str


def find_extinction(view: View, centre: tuple[float, float], distance_pc: float) -> Extinction:
    """Return the extinction that is stated, or that of the map; else 0.

    Args:
      centre, distance_pc: of the cluster, (ra, dec) [deg].
    """
    if view.extinction_v_mag is not None:
        return _with_error(view.extinction_v_mag, view.extinction_v_error_mag, GIVEN, "given")
    without = "If there is dust in front of the cluster, ages are wrong: state extinction_v_mag."
    if view.extinction_map is None:
        return _with_error(0.0, view.extinction_v_error_mag, ASSUMED, "assumed", without)
    name = view.extinction_map.name
    value, error = view.extinction_map.extinction_v_mag(centre, distance_pc)
    if np.isnan(value):
        source = f"assumed, since the map {name} has no value there"
        return _with_error(0.0, view.extinction_v_error_mag, ASSUMED, source, without)
    stated = error if view.extinction_v_error_mag is None else view.extinction_v_error_mag
    total = "It is that of all dust along the line of sight, and too large if some is behind the cluster."
    more = total if view.extinction_map.is_total else ""
    return _with_error(max(value, 0.0), stated, name, f"from the map {name}", more)


def _with_error(value: float, error: float | None, source: str, origin: str, more: str = "") -> Extinction:
    """Return the extinction with an error that is never tiny, and a typical one if it is unknown."""
    if error is None:
        used, said = TYPICAL_ERROR, ", with an assumed error"
    else:
        used = max(error, LEAST_ERROR)
        said = "" if used == error else f", with the least error that is used instead of {error:.2g}"
    note = f"an extinction A_V of {value:.3g} ± {used:.2g} mag ({origin}{said}). {more}"
    return Extinction(value, used, source, note.strip())


def describe_assumed(extinction: Extinction, centre: tuple[float, float], distance_pc: float) -> str:
    """Return a reason to flag a cluster whose extinction is unlikely to be what was assumed; else empty."""
    _, (latitude,) = np.degrees(sky_frames.galactic_coordinates(centre))
    is_dusty = distance_pc > _CLEAR_WITHIN_PC and abs(latitude) < _DUSTY_WITHIN_DEG
    if extinction.source != ASSUMED or not is_dusty:
        return ""
    return (
        f"no extinction is given, and 0 assumed, {distance_pc:,.0f} pc away in the Galactic disc: state "
        "extinction_v_mag"
    )
