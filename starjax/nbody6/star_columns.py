"""Features of the members of a snapshot: columns of `stars`, and others that follow from them."""

import re
from collections.abc import Sequence

import numpy as np

from starjax.nbody6 import binaries, magnitudes
from starjax.nbody6.snapshot import (
    CacheError,
    Snapshot,
    check_columns,
    is_finite,
    read_column,
    read_members,
    shown,
)

# From mass, luminosity, temperature, radius and metallicity, unless `stars` has them.
_MAGNITUDES = ("abs_mag_g", "abs_mag_rp", "bp_rp_0")
_SOURCES = ("mass", "log_L_L_sol", "log_T_eff_K", "log_R_R_sol")
# From `binary_systems`.
COMPANION, SEMI_MAJOR_AXIS = "companion", "semi_major_axis_au"
# Which star of a pair is the brighter one is judged in Gaia's G.
_BRIGHTNESS = "abs_mag_g"


def need_components(keys: Sequence[str]) -> bool:
    """Return whether features need both stars of unresolved binaries, which only raw caches have."""
    return COMPANION in keys or SEMI_MAJOR_AXIS in keys


def read_features(snapshot: Snapshot, run_id: str, keys: Sequence[str]) -> np.ndarray:
    """Return the features of the members of a snapshot, float32 (n_member, F).

    They are in the order of the cache; if `companion` is among the keys, the fainter star of a binary follows
    the brighter one.

    Raises:
      CacheError: a column is missing, has a value that is not finite, or cannot be derived.
    """
    with_brightness = (*keys, _BRIGHTNESS) if COMPANION in keys else tuple(keys)
    derived = [key for key in with_brightness if key in _MAGNITUDES and key not in snapshot.stars]
    stored = [key for key in with_brightness if key not in (COMPANION, SEMI_MAJOR_AXIS, *derived)]
    check_columns(snapshot, stored)
    is_member = read_members(snapshot)
    columns = _derive_magnitudes(snapshot, run_id, is_member) if derived else {}
    columns |= {key: read_column(snapshot, key, is_member) for key in stored}
    order = np.arange(int(is_member.sum()))
    if need_components(keys):
        pairs = binaries.find_pairs(snapshot, is_member)
        columns[SEMI_MAJOR_AXIS] = pairs.semi_major_axis_au
        if COMPANION in keys:
            _check_finite(snapshot, _BRIGHTNESS, columns[_BRIGHTNESS])
            order, companion = binaries.order_pairs(pairs.partner, columns[_BRIGHTNESS])
            # In the order of the cache, as the other columns are.
            columns[COMPANION] = companion[np.argsort(order)]
    feature = np.empty((len(order), len(keys)), dtype=np.float32)
    for column, key in enumerate(keys):
        with np.errstate(over="ignore"):  # checked below
            feature[:, column] = columns[key][order]
        _check_finite(snapshot, key, feature[:, column])
    return feature


def _check_finite(snapshot: Snapshot, key: str, values: np.ndarray) -> None:
    num_bad = int((~np.isfinite(values)).sum())
    if num_bad:
        raise CacheError(f"{snapshot} has {num_bad} values that are not finite in column {key}")


def _derive_magnitudes(snapshot: Snapshot, run_id: str, is_member: np.ndarray) -> dict[str, np.ndarray]:
    """Return the columns of absolute magnitudes and colour of the members.

    An unresolved binary of an obs cache has those of one star of its mass, luminosity and radius.
    """
    check_columns(snapshot, _SOURCES)
    mass, log_luminosity, log_t_eff, log_radius = (
        read_column(snapshot, key, is_member).astype(np.float64) for key in _SOURCES
    )
    metallicity = _read_metallicity(snapshot, run_id)
    try:
        g, bp, rp = magnitudes.absolute_magnitudes(mass, log_luminosity, log_t_eff, log_radius, metallicity)
    except ValueError as error:
        raise CacheError(f"{snapshot}: {error}") from error
    return {"abs_mag_g": g, "abs_mag_rp": rp, "bp_rp_0": bp - rp}


def _read_metallicity(snapshot: Snapshot, run_id: str) -> float:
    """Return the metallicity Z of a simulation: of the header, else by a `zmet0014` (0.014) in its id."""
    header = snapshot.content["header"]
    if "metallicity" in header:
        if not is_finite(header["metallicity"]):
            raise CacheError(f"{snapshot} has metallicity={shown(header['metallicity'])} in its header")
        return float(header["metallicity"])
    match = re.search(r"(?<![a-zA-Z])zmet(\d{4})(?!\d)", run_id)
    if match is None:
        raise CacheError(
            f"{snapshot}: magnitudes need the metallicity of the simulation, which neither its header has "
            f"(metallicity) nor the name of its cache, {run_id}: name it like "
            "Rad08-zmet0014-M6-0001-raw.joblib, with 1000 times the metallicity Z in four digits"
        )
    return int(match[1]) / 1000
