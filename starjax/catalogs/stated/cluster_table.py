"""Tables of what is known of the clusters of a member catalogue, with one row per cluster.

Columns are named as the properties of a `View`, or as in the usual catalogues of clusters: Cantat-Gaudin et
al. 2020 (J/A+A/640/A1), Dias et al. 2021 (MNRAS 504, 356), Hunt & Reffert 2023, 2024 (J/A+A/673/A114,
J/A+A/686/A42), as VizieR and their authors write them. Any of them but the name may be absent, and any value
missing.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from astropy import units as u
from astropy.table import Column, Table

from starjax.catalogs import column_names, column_values, fill_values
from starjax.catalogs.column_values import CatalogError
from starjax.catalogs.stated import cluster_names
from starjax.catalogs.stated.view import View
from starjax.io import tables


@dataclasses.dataclass(frozen=True)
class _Property:
    """A column.

    Attributes:
      kind: the column of a member catalogue whose values have the same limits.
      unit: the unit of the values; None if there is none to convert to.
      names: other names of it, in lower case. Earlier ones are preferred.
    """

    kind: str
    unit: u.UnitBase | None
    names: tuple[str, ...] = ()


def _as_of_stars(ours: str) -> tuple[str, ...]:
    """Return the names that a column of stars has in the usual catalogues."""
    return tuple(name for group in column_names.USUAL[ours] for name in group)


_CLUSTER = _Property("cluster", None, ("name", "cluster_name", "clustername"))
_PROPERTIES: Mapping[str, _Property] = {
    "ra": _Property("ra", u.deg, _as_of_stars("ra")),
    "dec": _Property("dec", u.deg, _as_of_stars("dec")),
    "distance_pc": _Property("distance", u.pc, ("distance", "dist_pc", "distpc", "dist50", "dist")),
    "distance_error_pc": _Property(
        "distance_error", u.pc, ("distance_error", "dist_error", "e_distance", "e_distpc", "e_dist")
    ),
    "radial_velocity_kms": _Property(
        "radial_velocity", u.km / u.s, ("radial_velocity", *_as_of_stars("radial_velocity"))
    ),
    "parallax_zero_point_mas": _Property("parallax_zero_point", u.mas),
    "extinction_v_mag": _Property("extinction_v", u.mag, ("extinction_v", "a_v", "av", "av50", "avnn")),
    "extinction_v_error_mag": _Property("extinction_v_error", u.mag, ("extinction_v_error", "e_a_v", "e_av")),
    "metallicity": _Property("metallicity", None, ("[fe/h]", "feh", "fe_h", "metallicity_dex")),
}
# What properties are derived from where their own values are missing.
_SOURCES: Mapping[str, _Property] = {
    "distance_modulus": _Property("distance_modulus", u.mag, ("distmod",)),
    "distance_p16": _Property("distance", u.pc, ("dist16",)),
    "distance_p84": _Property("distance", u.pc, ("dist84",)),
    "extinction_v_p16": _Property("extinction_v", u.mag, ("av16",)),
    "extinction_v_p84": _Property("extinction_v", u.mag, ("av84",)),
}
_ALL = {"cluster": _CLUSTER, **_PROPERTIES, **_SOURCES}
_USUAL = {ours: tuple((name,) for name in one.names) for ours, one in _ALL.items()}


def read_cluster_table(path: Path) -> Table:
    """Read a table of clusters, in any format of a member catalogue (see `member_list.read_member_list`).

    Units that the file or the names of its columns state are converted. Columns without a unit are in that of
    our name, `ra` and `dec` in degrees.

    Returns:
      `cluster` and those properties that the file has (float64, NaN where a value is missing, or stands for a
      missing one, see `fill_values`). Its `meta` has the name of the `file`, the `recognized` columns by our
      names where those are others, the `unused` columns, and `filled`, a sentence on fill values.

    Raises:
      CatalogError: the file cannot be read; it has no column `cluster`, or none beside it that is known; a
        cluster has no name, or is named twice; a value cannot be used; `ra` is given without `dec`.
    """
    path = Path(path)
    try:
        table, _ = tables.load_table(path, (lambda names: "cluster" in _match(names, path),))
    except tables.FileError as error:
        raise CatalogError(f"{path}: {error}") from error
    theirs_by_ours = _match(table.colnames, path)
    if "cluster" not in theirs_by_ours or len(theirs_by_ours) == 1:
        raise CatalogError(
            f"{path} has the columns {', '.join(table.colnames):.2000}: it should have cluster, and some of "
            f"{', '.join(_PROPERTIES)}"
        )
    found = Table({"cluster": _read_names(table, theirs_by_ours["cluster"], path)})
    found["row"] = np.arange(1, len(table) + 1)
    for ours, theirs in theirs_by_ours.items():
        if ours != "cluster":
            _add_column(found, table, ours, theirs, f"{path}: column {theirs}")
    filled = fill_values.describe(found)
    found = _derive(found)
    _check_unique(found["cluster"], path)
    _check_centres(found, path)
    found.meta = {
        "file": str(path),
        "recognized": {ours: theirs for ours, theirs in theirs_by_ours.items() if ours != theirs},
        "unused": [name for name in table.colnames if name not in theirs_by_ours.values()],
        "filled": filled,
    }
    return found


def describe_columns(table: Table) -> list[str]:
    """Return sentences on what the columns and values of a table of clusters are taken for."""
    names = ", ".join(f"{theirs} as {ours}" for ours, theirs in table.meta["recognized"].items())
    notes = [f"{table.meta['file']}: columns recognized: {names}"] if names else []
    if table.meta["unused"]:
        notes.append(f"{table.meta['file']}: columns not used: {', '.join(table.meta['unused'])}")
    if table.meta["filled"]:
        notes.append(f"{table.meta['file']}: {table.meta['filled']}")
    return notes


def _match(names: list[str], path: Path) -> dict[str, str]:
    """Return a table's names of its columns by ours."""
    try:
        return column_names.match(names, _ALL, {}, usual=_USUAL, advice="remove one")
    except CatalogError as error:
        raise CatalogError(f"{path}: {error}") from error


def _read_names(table: Table, theirs: str, path: Path) -> Column:
    names = column_values.read_cluster_names(table[theirs], f"{path}: column {theirs}")
    if (is_missing := np.ma.getmaskarray(names)).any():
        rows = column_values.row_numbers(np.flatnonzero(is_missing) + 1)
        raise CatalogError(
            f"{path}: column {theirs} is empty in {rows}: every row needs the name of a cluster"
        )
    return Column(np.asarray(names))


def _add_column(found: Table, table: Table, ours: str, theirs: str, where: str) -> None:
    """Add the values of a column in our unit, checked, NaN where they are missing."""
    if not isinstance(table[theirs], Column | u.Quantity):
        raise CatalogError(f"{where} holds {type(table[theirs]).__name__} instead of numbers")
    kind, our_unit = _ALL[ours].kind, _ALL[ours].unit
    column, unit = column_names.with_unit(table, theirs, kind, where)
    written = column_values.read_numbers(column, where)
    values = written
    if our_unit is not None:
        values = column_values.convert_unit(written, unit, kind, our_unit, where)
    found[ours] = values
    # Errors of zero are those of fits: the least error counts instead (see `extinction.LEAST_ERROR`).
    is_filled = fill_values.find(kind, values, written) & ~(kind.endswith("_error") & (values == 0))
    fill_values.remove(found, ours, is_filled)
    column_values.check_values(kind, np.asarray(found[ours]), where)


def _derive(table: Table) -> Table:
    """Return `cluster` and the properties, from the columns of `_SOURCES` where they are missing."""
    known = {name: np.asarray(table[name]) for name in table.colnames}
    derived = {}
    if "distance_modulus" in known:
        derived["distance_pc"] = 10 ** (1 + known["distance_modulus"] / 5)
    for ours, source in (("distance_error_pc", "distance"), ("extinction_v_error_mag", "extinction_v")):
        low, high = f"{source}_p16", f"{source}_p84"
        if low in known and high in known:
            derived[ours] = np.abs(known[high] - known[low]) / 2
    for ours, values in derived.items():
        known[ours] = np.where(np.isnan(known[ours]), values, known[ours]) if ours in known else values
    return Table({name: known[name] for name in ("cluster", *_PROPERTIES) if name in known})


def _check_unique(names: Column, path: Path) -> None:
    keys = pd.Series([cluster_names.same_name_key(name) for name in names.tolist()])
    repeated = keys.duplicated(keep=False).to_numpy()
    if repeated.any():
        same = np.flatnonzero(keys == keys[np.argmax(repeated)])
        spelled, rows = " = ".join(dict.fromkeys(names[same].tolist())), column_values.row_numbers(same + 1)
        raise CatalogError(f"{path} names the cluster {spelled} more than once, in {rows}: keep one of these")


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
