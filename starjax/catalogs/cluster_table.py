"""Tables of what is known of the clusters of a member catalogue, with one row per cluster.

Its columns are `cluster`, the position of the centre (`ra`, `dec`), and the properties of a `View` that have
a unit. Any of them but `cluster` may be absent, and any value missing.
"""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from astropy import units as u
from astropy.table import Column, Table

from starjax.catalogs import column_values
from starjax.catalogs.column_values import CatalogError
from starjax.catalogs.membership import View
from starjax.io import tables

# The columns beside `cluster`: the column of a member catalogue whose values have the same limits, and the
# unit.
_COLUMNS: dict[str, tuple[str, u.UnitBase]] = {
    "ra": ("ra", u.deg),
    "dec": ("dec", u.deg),
    "distance_pc": ("distance", u.pc),
    "radial_velocity_kms": ("radial_velocity", u.km / u.s),
    "parallax_zero_point_mas": ("parallax_zero_point", u.mas),
    "extinction_v_mag": ("extinction_v", u.mag),
    "extinction_v_error_mag": ("extinction_v_error", u.mag),
}
_MAX_CLUSTERS_NAMED = 5


def read_cluster_table(path: Path) -> Table:
    """Read a table of clusters, in any format of a member catalogue (see `member_list.read_member_list`).

    Units that the file states are converted. Columns without a unit are in that of their name, `ra` and
    `dec` in degrees.

    Returns:
      `cluster` and those columns that the file has (float64, NaN where a value is missing). Its `meta` has
      the name of the `file` and the `unused` columns.

    Raises:
      CatalogError: the file cannot be read; it has no column `cluster`, or none beside it that is known; a
        cluster has no name, or is named twice; a value cannot be used; `ra` is given without `dec`.
    """
    path = Path(path)
    try:
        table, _ = tables.load_table(path, (lambda names: "cluster" in names,))
    except tables.FileError as error:
        raise CatalogError(f"{path}: {error}") from error
    known = [name for name in _COLUMNS if name in table.colnames]
    if "cluster" not in table.colnames or not known:
        raise CatalogError(
            f"{path} has the columns {', '.join(table.colnames):.2000}: it should have cluster, and some of "
            f"{', '.join(_COLUMNS)}"
        )
    unused = [name for name in table.colnames if name not in ("cluster", *known)]
    found = Table(meta={"file": str(path), "unused": unused})
    found["cluster"] = column_values.read_cluster_names(table["cluster"], f"{path}: column cluster")
    for name in known:
        found[name] = _read_column(table[name], name, f"{path}: column {name}")
    _check_unique(found["cluster"], path)
    _check_centres(found, path)
    return found


def _read_column(column: Column, name: str, where: str) -> np.ndarray:
    """Return the values of a column in its unit, checked."""
    if not isinstance(column, Column | u.Quantity):
        raise CatalogError(f"{where} holds {type(column).__name__} instead of numbers")
    kind, unit = _COLUMNS[name]
    values = column_values.read_numbers(column, where)
    if column.unit not in (None, unit):
        values = column_values.convert_unit(values, column.unit, kind, unit, where)
    column_values.check_values(kind, values, where)
    return values


def _check_unique(names: Column, path: Path) -> None:
    repeated = pd.Series(names).duplicated(keep=False).to_numpy()
    if repeated.any():
        name = names[np.argmax(repeated)]
        rows = column_values.row_numbers(np.flatnonzero(names == name) + 1)
        raise CatalogError(f"{path} names the cluster {name} more than once, in {rows}: keep one of these")


def _check_centres(table: Table, path: Path) -> None:
    """Raise if a row has only one of `ra` and `dec`."""
    has_ra, has_dec = (
        np.isfinite(table[name]) if name in table.colnames else np.zeros(len(table), bool)
        for name in ("ra", "dec")
    )
    if (has_ra != has_dec).any():
        rows = column_values.row_numbers(np.flatnonzero(has_ra != has_dec) + 1)
        raise CatalogError(f"{path} has only one of ra and dec in {rows}: give both, or none")


def cluster_views(table: Table, default: View) -> dict[str, View]:
    """Return what is known of each cluster, by its name.

    Args:
      table: as `read_cluster_table` returns it.
      default: used for all that the table does not state.

    Raises:
      CatalogError: a value is impossible.
    """
    views = {}
    for row in table:
        stated: dict[str, Any] = {key: float(row[key]) for key in table.colnames[1:] if np.isfinite(row[key])}
        if "ra" in stated:
            stated["centre"] = (stated.pop("ra"), stated.pop("dec"))
        try:
            views[str(row["cluster"])] = dataclasses.replace(default, **stated)
        except CatalogError as error:
            raise CatalogError(f"{table.meta['file']}: cluster {row['cluster']}: {error}") from error
    return views


def describe_unmatched(names: Iterable[str]) -> str:
    """Return a sentence on clusters that are described but have no stars; empty if there are none."""
    names = list(names)
    if not names:
        return ""
    named = ", ".join(names[:_MAX_CLUSTERS_NAMED])
    more = f" and {len(names) - _MAX_CLUSTERS_NAMED} more" if len(names) > _MAX_CLUSTERS_NAMED else ""
    return (
        f"The catalogue has no cluster {named}{more}: what is stated of it was not used. A list without a "
        "column cluster is one cluster, named as its file."
    )
