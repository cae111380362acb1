"""Member catalogues: what a file lists of the stars of clusters, in the names and units of Gaia, checked.

A member catalogue is an astropy table with those columns of `column_units` that the file has (float64, NaN
where a value is missing, or stands for a missing one, see `fill_values`), `source_id` and `cluster` if the
file has them, and `row`, the number of the star in the file, from 1. Its `meta` has the name of the `file`,
its `sha256` if it was read from one, the `recognized` columns, by our names where those are others, the
`unused` ones, and those of them that `may_name_clusters`.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from astropy import units as u
from astropy.stats import mad_std
from astropy.table import Column, Table

from starjax import quantities
from starjax.catalogs import column_names, column_values, fill_values
from starjax.catalogs.column_values import CatalogError
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
}
IDENTITIES = ("source_id", "cluster")
PROBABILITY = "membership_probability"
# The name of the packaged catalogue, and its file.
EXAMPLE, EXAMPLE_FILE = "example", Path(__file__).parent / "example" / "members.ecsv"
# Half of the stars of any cluster lie farther than this from its median declination.
_NARROWEST_PC = 0.1
# Scatter in right ascension over that in declination: clusters are rounder.
_NARROWEST_SHARE = 0.15


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
    """Read a member catalogue: text, ECSV, Parquet, FITS or VOTable, by the extension of its name.

    A further .gz is allowed. Of several tables in a file the first one with positions is read. Names of the
    usual catalogues are recognized (see `column_names`). Units that the file states are converted. Columns
    without a unit are in those of `column_units`.

    Args:
      columns: the file's names by starjax's, where they are not recognized: {'ra': 'alpha'}.

    Raises:
      CatalogError: the file is missing, damaged or of an unknown format; a column is missing, repeated, or
        in a unit of another kind; a value is not a number, infinite, or impossible.
    """
    path = Path(path)
    try:
        table, digest = tables.load_table(path, lambda names: column_names.has(names, ("ra", "dec"), columns))
    except tables.FileError as error:
        raise CatalogError(f"{path}: {error}") from error
    found = check_member_list(table, str(path), columns)
    found.meta["sha256"] = digest
    return found


def check_member_list(table: Table | pd.DataFrame, name: str, columns: Mapping[str, str] = {}) -> Table:
    """Return a table in memory as a member catalogue.

    Args:
      name: what errors call the table.
      columns: as for `read_member_list`.

    Raises:
      CatalogError: as from `read_member_list`.
    """
    table = _as_table(table, name)
    units = column_units()
    theirs_by_ours = _match_columns(table, name, columns, [*units, *IDENTITIES])
    if len(table) == 0:
        raise CatalogError(f"{name} has no stars")
    unused = [column for column in table.colnames if column not in theirs_by_ours.values()]
    recognized = {
        ours: theirs for ours, theirs in theirs_by_ours.items() if theirs not in (ours, columns.get(ours))
    }
    may_name_clusters = (
        [] if "cluster" in theirs_by_ours else list(filter(lambda one: _is_shared(table[one]), unused))
    )
    meta = {"file": name, "recognized": recognized, "unused": unused, "may_name_clusters": may_name_clusters}
    found = Table({"row": np.arange(1, len(table) + 1)}, meta=meta)
    for ours, theirs in theirs_by_ours.items():
        where = f"{name}: column {theirs}" + ("" if ours == theirs else f" (for {ours})")
        if not isinstance(table[theirs], Column | u.Quantity):
            raise CatalogError(f"{where} holds {type(table[theirs]).__name__} instead of numbers or text")
        if ours == "source_id":
            found[ours] = column_values.read_identities(table[theirs], where)
        elif ours == "cluster":
            found[ours] = column_values.read_cluster_names(table[theirs], where)
        else:
            values = column_values.read_numbers(table[theirs], where)
            if table[theirs].unit not in (None, units[ours]):
                values = column_values.convert_unit(values, table[theirs].unit, ours, units[ours], where)
            found[ours] = Column(values, unit=units[ours])
            fill_values.remove(found, ours, fill_values.find(ours, values))
            if ours == PROBABILITY and column_values.are_percent(values):
                found[ours] /= 100
                found.meta["recognized"][ours] = f"{theirs} in percent"
            column_values.check_values(ours, np.asarray(found[ours]), where)
    found.meta["is_ra_in_degrees"] = table[theirs_by_ours["ra"]].unit is not None
    fill_values.remove_zeros(found)
    _derive_colour(found)
    _check_not_radians(found, {ours: table[theirs].unit for ours, theirs in theirs_by_ours.items()})
    return found


def _derive_colour(table: Table) -> None:
    """Set the colour of stars that have none from their magnitudes BP and RP."""
    if {"phot_bp_mean_mag", "phot_rp_mean_mag"} <= set(table.colnames):
        derived = table["phot_bp_mean_mag"] - table["phot_rp_mean_mag"]
        if "bp_rp" not in table.colnames:
            table["bp_rp"] = Column(np.full(len(table), np.nan), unit=u.mag)
        is_missing = np.isnan(table["bp_rp"])
        table["bp_rp"][is_missing] = derived[is_missing]


def _as_table(table: Table | pd.DataFrame, name: str) -> Table:
    if isinstance(table, pd.DataFrame):
        try:
            return tables.from_data_frame(table)
        except tables.FileError as error:
            raise CatalogError(f"{name} {error}") from error
    if not isinstance(table, Table):
        raise CatalogError(
            f"{name} is a {type(table).__name__}: give the name of a file, an astropy Table, or a pandas "
            "DataFrame"
        )
    return table


def split_clusters(table: Table) -> dict[str, Table]:
    """Return the stars of each cluster by name, in the order of the catalogue.

    Without a column `cluster` all stars are those of one, named as the file.
    """
    if "cluster" not in table.colnames:
        return {tables.stem(Path(table.meta["file"])): table}
    names = np.asarray(table["cluster"])
    return {str(name): table[names == name] for name in pd.unique(names)}


def data_frame(table: Table) -> pd.DataFrame:
    """Return all columns that a member catalogue may have, NaN where this one has none."""
    identity = ["source_id"] if "source_id" in table.colnames else []
    stars = table[["row", *identity]].to_pandas()
    columns = {name: np.asarray(table[name]) if name in table.colnames else np.nan for name in column_units()}
    return stars.assign(**columns).fillna(quantities.unlisted_values())


def _match_columns(table: Table, name: str, columns: Mapping[str, str], known: list[str]) -> dict[str, str]:
    """Return the table's names of its columns by starjax's names."""
    unknown = [ours for ours in columns if ours not in known]
    if unknown:
        raise CatalogError(
            f"columns: {', '.join(unknown)} is not a column of a member catalogue; those are "
            f"{', '.join(known)}. The name of starjax comes first, then that of the file: ra=RAJ2000"
        )
    try:
        # Empty columns only where there is no other.
        filled = [theirs for theirs in table.colnames if not column_values.is_empty(table[theirs])]
        stated = {ours: theirs for ours, theirs in columns.items() if theirs in table.colnames}
        found = dict(columns) | column_names.match(filled, known, stated)
        found = column_names.match(table.colnames, known, found)
    except CatalogError as error:
        raise CatalogError(f"{name}: {error}") from error
    if "cluster" not in found and (of_clusters := _names_of_clusters(table)):
        found["cluster"] = of_clusters
    required = [*columns.values(), *(found.get(ours, ours) for ours in ("ra", "dec"))]
    absent = [theirs for theirs in required if theirs not in table.colnames]
    if absent:
        raise CatalogError(
            f"{name} has no column {', '.join(dict.fromkeys(absent))}; it has "
            f"{', '.join(table.colnames):.2000}: say which is which by columns (--columns=ra=RAJ2000)"
        )
    return found


def _names_of_clusters(table: Table) -> str:
    """Return the column `Name` if it names clusters, and not stars; otherwise ''."""
    for name in table.colnames:
        if column_names.bare(name) == "name" and _is_shared(table[name], max_missing=0):
            return name
    return ""


def _is_shared(column: Column, max_missing: float = 0.5) -> bool:
    """Return whether a column has texts that many stars share, as names of clusters are."""
    if column.dtype.kind not in "OUS":
        return False
    texts = pd.Series([str(value).strip().lower() for value in column])
    names = texts[~texts.isin(tables.MISSING)]
    is_given = len(names) >= (1 - max_missing) * len(texts)
    return bool(is_given and len(names) >= quantities.MIN_STARS * names.nunique() > 0)


def check_not_hours(table: Table) -> None:
    """Raise if the right ascensions of a cluster seem to be in hours, which make it 15 times too narrow.

    Raises:
      CatalogError: no unit is stated, and they are up to 24 and scatter much less than the declinations.
    """
    ra, dec = (
        np.asarray(table[name])[np.isfinite(table["ra"]) & np.isfinite(table["dec"])]
        for name in ("ra", "dec")
    )
    if table.meta["is_ra_in_degrees"] or not len(ra) or ra.min() < 0 or ra.max() > 24:
        return
    width, height = mad_std(ra) * np.cos(np.radians(np.median(dec))), mad_std(dec)
    if 0 < width < _NARROWEST_SHARE * height:
        raise CatalogError(
            f"{table.meta['file']}: the column for ra seems to be in hours: as degrees, the cluster scatters "
            f"by {width:.2g} deg in right ascension and {height:.2g} deg in declination: multiply by 15, or "
            "state the unit in the file"
        )


def _check_not_radians(table: Table, stated: dict[str, u.UnitBase | None]) -> None:
    """Raise if positions are in the range of radians and make a cluster narrower than `_NARROWEST_PC`.

    Radians that are taken for degrees make clusters 57 times too small.
    """
    distances = [table[name] for name in ("parallax", "distance") if name in table.colnames][:1]
    # A stated unit was converted, and numpy warns of medians without values.
    if stated["ra"] is not None or any(
        np.isnan(column).all() for column in (table["ra"], table["dec"], *distances)
    ):
        return
    ra, dec = np.asarray(table["ra"]), np.asarray(table["dec"])
    if "parallax" in table.colnames:
        parallax = np.nanmedian(np.asarray(table["parallax"]))
        distance = 1000 / parallax if parallax > 0 else np.inf
    elif "distance" in table.colnames:
        distance = np.nanmedian(np.asarray(table["distance"]))
    else:
        return
    if np.nanmax(np.abs(ra)) > 2 * np.pi or np.nanmax(np.abs(dec)) > np.pi / 2:
        return
    spread = np.nanmedian(np.abs(dec - np.nanmedian(dec)))
    width = np.radians(spread) * distance
    if 0 < width < _NARROWEST_PC:
        raise CatalogError(
            f"{table.meta['file']}: columns ra and dec seem to be in radians; as degrees they make a cluster "
            f"of {width:.1g} pc: convert them, or state the unit in the file"
        )
