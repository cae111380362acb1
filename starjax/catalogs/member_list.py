"""Member catalogues: what a file lists of the stars of clusters, in the names and units of Gaia, checked.

A member catalogue is an astropy table with those columns of `column_units` that the file has (float64, NaN
where a value is missing, or stands for a missing one, see `fill_values`), `source_id` and `cluster` if the
file has them, and `row`, the number of the star in the file, from 1. Its `meta` has the name of the `file`,
its `sha256` if it was read from one, the `recognized` columns, by our names where those are others, the name
of the column of `identities` in the file ('' if it has none), the `unused` ones, those of them that
`may_name_clusters`, whether the unit of the positions `is_unit_stated`, and `remarks`, sentences on
identities and clusters.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from astropy import units as u
from astropy.table import Column, Table

from starjax import quantities
from starjax.catalogs import column_names, column_values, fill_values
from starjax.catalogs.column_values import CatalogError
from starjax.catalogs.stated import cluster_names
from starjax.io import tables

_MOTION = u.mas / u.yr
GAIA_UNITS = {
    "ra": u.deg,
    "dec": u.deg,
    "parallax": u.mas,
    "parallax_error": u.mas,
    "pmra": _MOTION,
    "pmra_error": _MOTION,
    "pmdec": _MOTION,
    "pmdec_error": _MOTION,
    "radial_velocity": u.km / u.s,
    "radial_velocity_error": u.km / u.s,
    "distance": u.pc,
    "distance_error": u.pc,
    "phot_g_mean_mag": u.mag,
    "phot_bp_mean_mag": u.mag,
    "phot_rp_mean_mag": u.mag,
    "bp_rp": u.mag,
    # Only for zero points of parallaxes by star.
    "nu_eff_used_in_astrometry": 1 / u.um,
    "pseudocolour": 1 / u.um,
    "ecl_lat": u.deg,
    "astrometric_params_solved": u.dimensionless_unscaled,
}
IDENTITIES = ("source_id", "cluster")
PROBABILITY = "membership_probability"
# The name of the packaged catalogue, and its file.
EXAMPLE, EXAMPLE_FILE = "example", Path(__file__).parent / "example" / "members.ecsv"


def column_units() -> dict[str, u.UnitBase]:
    """Return the units of all columns that a member catalogue may have.

    These are Gaia's columns, and the quantities that a catalogue may list under their own name. They are
    looked up at every call, so that rows which are added to `quantities.QUANTITIES` count.
    """
    listed = {key: parse_unit(quantities.get(key).unit) for key in quantities.listed_keys()}
    return GAIA_UNITS | {key: unit for key, unit in listed.items() if key not in GAIA_UNITS}


def parse_unit(unit: str) -> u.UnitBase:
    """Return the astropy unit of a quantity; dimensionless for logarithms, as 'log10 Lsun'.

    Raises:
      ValueError: astropy does not know the unit.
    """
    return u.dimensionless_unscaled if unit.startswith("log10 ") else u.Unit(unit)


def find_member_list(name: Path | str) -> Path:
    """Return the file of a name; 'example' is packaged."""
    return EXAMPLE_FILE if str(name) == EXAMPLE else Path(name)


def read_member_list(path: Path, columns: Mapping[str, str] = {}) -> Table:
    """Read a member catalogue: text, ECSV, CDS, MRT, IPAC, Parquet, FITS or VOTable, by its content.

    It may be compressed by gzip, bzip2 or xz. Of several tables in a file the one is read that has positions
    and is named as members or stars, or has parallaxes or proper motions. Names of the usual catalogues are
    recognized (see `column_names`). Units that the file states are converted. Columns without a unit are in
    those of `column_units`.

    Args:
      columns: the file's names by starjax's, where they are not recognized: {'ra': 'alpha'}.

    Raises:
      CatalogError: the file is missing, damaged or of an unknown format; a column is missing, repeated, or
        in a unit of another kind; a value is not a number, infinite, or impossible.
    """
    path = Path(path)
    wanted = (
        lambda names: column_names.has(names, ("ra", "dec"), columns),
        lambda names: any(column_names.has(names, (ours,), columns) for ours in ("parallax", "pmra")),
    )
    try:
        table, digest = tables.load_table(path, wanted)
    except tables.FileError as error:
        raise CatalogError(f"{path}: {error}") from error
    found = check_member_list(table, str(path), columns)
    found.meta["sha256"] = digest
    return found


def check_member_list(table: Any, name: str, columns: Mapping[str, str] = {}) -> Table:
    """Return a table in memory as a member catalogue.

    Args:
      table: of astropy or pyarrow, or a data frame of pandas or polars.
      name: what errors call the table.
      columns: as for `read_member_list`.

    Raises:
      CatalogError: as from `read_member_list`.
    """
    table = _as_table(table, name)
    units = column_units()
    theirs_by_ours, same = column_names.find_columns(table, name, columns, [*units, *IDENTITIES])
    if len(table) == 0:
        raise CatalogError(f"{name} has no stars")
    meta = {"file": name, "remarks": [], **_describe_columns(table, theirs_by_ours, same, columns)}
    found = Table({"row": np.arange(1, len(table) + 1)}, meta=meta)
    for ours, theirs in theirs_by_ours.items():
        where = f"{name}: column {theirs}" + ("" if ours == theirs else f" (for {ours})")
        if not isinstance(table[theirs], Column | u.Quantity):
            raise CatalogError(f"{where} holds {type(table[theirs]).__name__} instead of numbers or text")
        if ours == "source_id":
            _add_identities(found, table[theirs], where)
        elif ours == "cluster":
            found[ours] = column_values.read_cluster_names(table[theirs], where)
        else:
            column, unit = column_names.with_unit(table, theirs, ours, where)
            if ours == "ra":
                found.meta["is_unit_stated"] = unit is not None
            written = column_values.read_numbers(column, where)
            values = column_values.convert_unit(written, unit, ours, units[ours], where)
            found[ours] = Column(values, unit=units[ours])
            fill_values.remove(found, ours, fill_values.find(ours, values, written))
            if ours == PROBABILITY and column_values.are_percent(np.asarray(found[ours])):
                found[ours] /= 100
                found.meta["recognized"][ours] = f"{theirs} in percent"
            column_values.check_values(ours, np.asarray(found[ours]), where)
    fill_values.remove_zeros(found)
    _derive_colour(found)
    return found if "cluster" not in found.colnames else _with_clusters(found, theirs_by_ours["cluster"])


def _add_identities(table: Table, column: Column, where: str) -> None:
    identities = column_values.read_identities(column, where)
    if identities is not None:
        table["source_id"] = identities
        return
    table.meta["remarks"].append(
        f"Not used: {where} holds floating-point numbers, which lost the last digits of identities. The same "
        "star in two rows is recognized by its position."
    )


def _with_clusters(table: Table, column: str) -> Table:
    """Return the stars that are in a cluster, whose name is spelled as in its first row."""
    is_in_none = np.ma.getmaskarray(table["cluster"])
    if is_in_none.all():
        raise CatalogError(
            f"{table.meta['file']}: column {column} names no cluster in any row. If all stars are those of "
            "one cluster, leave this column out"
        )
    if is_in_none.any():
        counted = column_values.counted(table["row"][is_in_none])
        table.meta["remarks"].append(f"Left out because {column} names no cluster: {counted}.")
    table = table[~is_in_none]
    spellings: dict[str, list[str]] = {}
    for name in pd.unique(np.asarray(table["cluster"])):
        spellings.setdefault(cluster_names.same_name_key(name), []).append(str(name))
    others = {other: first for first, *rest in spellings.values() for other in rest}
    table["cluster"] = Column([others.get(name, name) for name in table["cluster"].tolist()])
    table.meta["remarks"] += [
        f"Counted as one cluster: {' = '.join(names)}." for names in spellings.values() if len(names) > 1
    ]
    return table


def _describe_columns(
    table: Table,
    theirs_by_ours: Mapping[str, str],
    same: Mapping[str, list[str]],
    stated: Mapping[str, str],
) -> dict[str, Any]:
    """Return what the `meta` of a member catalogue says of the columns of a table.

    Args:
      same: the columns with the same values, by those that are used.
    """
    recognized = {
        ours: theirs + (f" (the same as {' and '.join(same[theirs])})" if theirs in same else "")
        for ours, theirs in theirs_by_ours.items()
        if theirs not in (ours, stated.get(ours))
    }
    used = {*theirs_by_ours.values(), *(other for others in same.values() for other in others)}
    unused = [theirs for theirs in table.colnames if theirs not in used]
    perhaps = [theirs for theirs in unused if column_names.bare(theirs) in cluster_names.PERHAPS_CLUSTERS]
    if "cluster" in theirs_by_ours:
        perhaps = []
    return {
        "recognized": recognized,
        "identities": theirs_by_ours.get("source_id", ""),
        "unused": unused,
        # A single name would make no difference.
        "may_name_clusters": [one for one in perhaps if cluster_names.shared_texts(table[one]).nunique() > 1],
    }


def has_dr2_identities(table: Table) -> bool:
    """Return whether the identities of a member catalogue are called those of Gaia DR2."""
    return "dr2" in table.meta["identities"].lower()


def _derive_colour(table: Table) -> None:
    """Set the colour of stars that have none from their magnitudes BP and RP."""
    if {"phot_bp_mean_mag", "phot_rp_mean_mag"} <= set(table.colnames):
        derived = table["phot_bp_mean_mag"] - table["phot_rp_mean_mag"]
        if "bp_rp" not in table.colnames:
            table["bp_rp"] = Column(np.full(len(table), np.nan), unit=u.mag)
        is_missing = np.isnan(table["bp_rp"])
        table["bp_rp"][is_missing] = derived[is_missing]


def _as_table(table: Any, name: str) -> Table:
    if isinstance(table, Table):
        return table
    if not isinstance(table, pd.DataFrame) and not (
        hasattr(table, "__arrow_c_stream__") and hasattr(table, "columns")
    ):
        lazily = " (collect it first)" if hasattr(table, "collect") else ""
        raise CatalogError(
            f"{name} is a {type(table).__name__}{lazily}: give the name of a file, an astropy Table, a data "
            "frame of pandas or polars, or a table of pyarrow"
        )
    try:
        return tables.from_data_frame(table)
    except tables.FileError as error:
        raise CatalogError(f"{name} {error}") from error


def split_clusters(table: Table) -> dict[str, Table]:
    """Return the stars of each cluster by name, in the order of the catalogue.

    Without a column `cluster` all stars are those of one, named as the file.
    """
    if "cluster" not in table.colnames:
        return {tables.stem(Path(table.meta["file"])): table}
    number, names = pd.factorize(np.asarray(table["cluster"]).astype(object))
    rows = np.argsort(number, kind="stable")
    ends = np.cumsum(np.bincount(number))
    return {str(name): table[own] for name, own in zip(names, np.split(rows, ends[:-1]), strict=True)}


def data_frame(table: Table) -> pd.DataFrame:
    """Return all columns that a member catalogue may have, NaN where this one has none."""
    unlisted = quantities.unlisted_values()
    columns = {"row": np.asarray(table["row"])}
    if "source_id" in table.colnames:
        columns["source_id"] = table[["source_id"]].to_pandas()["source_id"]
    for name in column_units():
        values = np.asarray(table[name]) if name in table.colnames else np.full(len(table), np.nan)
        columns[name] = np.where(np.isnan(values), unlisted[name], values) if name in unlisted else values
    return pd.DataFrame(columns)
