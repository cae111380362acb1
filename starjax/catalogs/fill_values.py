"""Numbers that stand for a missing value, since no star has them: -999, 99.99, zeros, or errors of zero.

They count as missing. A member catalogue has them in a further column, named by `filled_name`: NaN where the
value is of a star.
"""

import re

import numpy as np
from astropy.table import Table

from starjax.catalogs import column_values

# Beyond these limits, what looks like a fill value is one. They exclude the nearest and fastest clusters.
_MEASURED = {
    "ra": (-180, 360),
    "dec": (-90, 90),
    "parallax": (-90, 90),
    "parallax_zero_point": (-9, 9),
    "pmra": (-900, 900),
    "pmdec": (-900, 900),
    "radial_velocity": (-990, 990),
    "distance": (0, np.inf),
    "distance_error": (0, 9000),
    **dict.fromkeys(("phot_g_mean_mag", "phot_bp_mean_mag", "phot_rp_mean_mag"), (0, 40)),
    "bp_rp": (-0.9, 9),
    "log_L_L_sol": (-9, 9),
    "distance_modulus": (-5, 30),
    "extinction_v": (0, 50),
    "metallicity": (-5, 5),
    "membership_probability": (0, 100),  # in percent
}
# Rounding makes some probabilities a little larger than 1.
_LARGEST_FRACTION = 1.001
_MEASURED_ERROR = (0, 90)
# Nines, -1 where nothing is negative, the smallest of 16 bits, and what ends in many zeros.
_LOOKS_FILLED = re.compile(r"9+(\.9+)?|1|32768|.*e\+\d+")
# No star of a cluster has exactly this, and no error is.
_NEVER_ZERO = ("parallax", "distance", "phot_g_mean_mag", "phot_bp_mean_mag", "phot_rp_mean_mag")
# Zeros in all columns of a group are a measurement only if they have an error, or if no star has one and they
# are not too many, as among rounded values.
_ZERO_TOGETHER = (("radial_velocity",), ("pmra", "pmdec"))
# Where zero is as good as other values, it fills if it is in so many rows, and so much more frequent.
_MANY_ZEROS, _TIMES_AS_MANY = 5, 5
_MAX_NAMED = 3


def filled_name(column: str) -> str:
    """Return the name of the column that has the fill values of another."""
    return f"{column}_filled"


def find(column: str, values: np.ndarray, written: np.ndarray | None = None) -> np.ndarray:
    """Return where the values of a column (n,) stand for missing ones.

    Args:
      written: the values before they were converted to our unit, if they were.
    """
    is_error = column.endswith("_error")
    low, high = _MEASURED.get(column, _MEASURED_ERROR if is_error else (-np.inf, np.inf))
    if column == "membership_probability" and not column_values.are_percent(values):
        high = _LARGEST_FRACTION
    written = values if written is None else written
    is_beyond = (values < low) | (values > high)
    # Seven digits, which single precision keeps.
    fills = [value for value in np.unique(written[is_beyond]) if _LOOKS_FILLED.fullmatch(f"{abs(value):.7g}")]
    is_filled = is_beyond & np.isin(written, fills)
    has_zeros = is_error or column in _NEVER_ZERO or (column == "bp_rp" and _is_filled_with_zero(values))
    return is_filled | (values == 0) if has_zeros else is_filled


def _is_filled_with_zero(values: np.ndarray) -> bool:
    num_zero = np.sum(values == 0)
    _, counts = np.unique(values[np.isfinite(values) & (values != 0)], return_counts=True)
    return bool(num_zero >= _MANY_ZEROS and num_zero > _TIMES_AS_MANY * counts.max(initial=0))


def remove_zeros(table: Table) -> None:
    """Count velocities of a member catalogue as missing that are zero and have no error."""
    for group in _ZERO_TOGETHER:
        if set(group) <= set(table.colnames):
            errors = [f"{name}_error" for name in group if f"{name}_error" in table.colnames]
            size = np.sum([np.abs(table[name]) for name in group], axis=0)
            if not errors and not _is_filled_with_zero(size):
                continue
            is_zero = size == 0
            has_error = np.any([np.zeros(len(table), bool), *(table[name] > 0 for name in errors)], axis=0)
            for name in group:
                remove(table, name, is_zero & ~has_error)


def remove(table: Table, column: str, is_filled: np.ndarray) -> None:
    """Count values of a column of a member catalogue as missing."""
    if is_filled.any():
        filled = filled_name(column)
        before = table[filled] if filled in table.colnames else np.nan
        table[filled] = np.where(is_filled, table[column], before)
        table[column][is_filled] = np.nan


def describe(table: Table) -> str:
    """Return a sentence on the fill values of a member catalogue; empty if it has none."""
    found = []
    for column in table.colnames:
        if filled_name(column) in table.colnames:
            is_filled = np.isfinite(table[filled_name(column)])
            values = np.unique(table[filled_name(column)][is_filled])
            named = ", ".join(f"{value:g}" for value in values[:_MAX_NAMED])
            rows = column_values.row_numbers(table["row"][is_filled])
            found += [f"{column} of {named} ({rows})"] if is_filled.any() else []
    return f"Counted as missing values: {'; '.join(found)}." if found else ""
