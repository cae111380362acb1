"""Member catalogues: what a file lists of the stars of clusters, in the names and units of Gaia, checked.

A member catalogue is an astropy table with those columns of `column_units` that the file has (float64, NaN
where a value is missing), `source_id` and `cluster` if the file has them, and `row`, the number of the star
in the file, from 1. Its `meta` has the name of the `file`, its `sha256` if it was read from one, and the
`unused` columns.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from astropy import units as u
from astropy.table import Column, MaskedColumn, Table

from starjax import errors, quantities
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
    "bp_rp": u.mag,
}
IDENTITIES = ("source_id", "cluster")
# The name of the packaged catalogue, and its file.
EXAMPLE, EXAMPLE_FILE = "example", Path(__file__).parent / "example" / "members.ecsv"
# Allowed ranges, ends included. Right ascensions from -180 to 180 are as good as from 0 to 360. The others
# contain all stars, and not what is written for missing values, such as 99.99 or -999.
_ALLOWED = {
    "ra": (-180, 360, "degrees"),
    "dec": (-90, 90, "degrees"),
    "phot_g_mean_mag": (-2, 40, "mag, without 0"),
    "bp_rp": (-10, 20, "mag"),
    "radial_velocity": (-990, 990, "km/s"),
}
_MAX_ROWS_NAMED = 5
# Characters of a name; names of clusters become names of files, for which most file systems allow as many.
_MAX_NAME = 255
# Half of the stars of any cluster lie farther than this from its median declination.
_NARROWEST_PC = 0.1


class CatalogError(errors.StarjaxError):
    """A member catalogue, or what is stated about its cluster, that cannot be used."""


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
    """Read a member catalogue: CSV, ECSV, Parquet, FITS or VOTable, by the ending of its name, also with .gz.

    Units that the file states are converted. Columns without a unit are in those of `column_units`.

    Args:
      columns: the file's names by starjax's, where they differ: {'ra': 'RAJ2000'}.

    Raises:
      CatalogError: the file is missing, damaged or of an unknown format; a column is missing, repeated, or
        in a unit of another kind; a value is not a number, infinite, or impossible.
    """
    path = Path(path)
    try:
        table, digest = tables.load_table(path)
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
    found = Table({"row": np.arange(1, len(table) + 1)}, meta={"file": name, "unused": unused})
    for ours, theirs in theirs_by_ours.items():
        where = f"{name}: column {theirs}" + ("" if ours == theirs else f" (for {ours})")
        if not isinstance(table[theirs], Column | u.Quantity):
            raise CatalogError(f"{where} holds {type(table[theirs]).__name__} instead of numbers or text")
        if ours == "source_id":
            found[ours] = _identities(table[theirs], where)
        elif ours == "cluster":
            found[ours] = _cluster_names(table[theirs], where)
        else:
            values = _numbers(table[theirs], where)
            if table[theirs].unit not in (None, units[ours]):
                values = _convert(values, table[theirs].unit, ours, units[ours], where)
            _check_values(ours, values, where)
            found[ours] = Column(values, unit=units[ours])
    _check_not_radians(found, {ours: table[theirs].unit for ours, theirs in theirs_by_ours.items()})
    return found


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


def row_numbers(numbers: Iterable[int]) -> str:
    """Return row numbers as text, the first of many."""
    numbers = [int(number) for number in numbers]
    named = ", ".join(map(str, numbers[:_MAX_ROWS_NAMED]))
    more = f" and {len(numbers) - _MAX_ROWS_NAMED} more" if len(numbers) > _MAX_ROWS_NAMED else ""
    return f"{'row' if len(numbers) == 1 else 'rows'} {named}{more}"


def _match_columns(table: Table, name: str, columns: Mapping[str, str], known: list[str]) -> dict[str, str]:
    """Return the table's names of its columns by starjax's names."""
    unknown = [ours for ours in columns if ours not in known]
    if unknown:
        raise CatalogError(
            f"columns: {', '.join(unknown)} is not a column of a member catalogue; those are "
            f"{', '.join(known)}. The name of starjax comes first, then that of the file: ra=RAJ2000"
        )
    # A column that is named takes precedence over one that happens to have our name.
    wanted = {ours: ours for ours in known} | dict(columns)
    required = [*columns.values(), wanted["ra"], wanted["dec"]]
    absent = [theirs for theirs in required if theirs not in table.colnames]
    if absent:
        raise CatalogError(
            f"{name} has no column {', '.join(dict.fromkeys(absent))}; it has "
            f"{', '.join(table.colnames):.2000}: say which is which by columns (--columns=ra=RAJ2000)"
        )
    return {ours: theirs for ours, theirs in wanted.items() if theirs in table.colnames}


def _is_missing(column: Column) -> np.ndarray:
    return np.array(np.ma.getmaskarray(np.ma.asarray(column)))


def _texts(column: Column, missing: np.ndarray, where: str) -> pd.Series:
    """Return the values of a column as text, empty where they are missing."""
    values = np.asarray(column)
    if values.dtype.kind == "S":
        try:
            values = np.char.decode(values, "utf-8")
        except UnicodeDecodeError as error:
            raise CatalogError(f"{where} holds text that is not in UTF-8 ({error})") from error
    return pd.Series(
        ["" if is_missing else str(value).strip() for value, is_missing in zip(values, missing, strict=True)],
        dtype=object,
    )


def _numbers(column: Column, where: str) -> np.ndarray:
    """Return the values of a column as float64, NaN where they are missing."""
    if column.ndim != 1:
        raise CatalogError(f"{where} holds arrays of shape {column.shape[1:]} instead of one number per row")
    missing = _is_missing(column)
    if column.dtype.kind in "iuf":
        return np.where(missing, np.nan, np.asarray(column).astype(np.float64))
    if column.dtype.kind == "b":
        raise CatalogError(f"{where} holds true and false instead of numbers")
    texts = _texts(column, missing, where)
    texts[texts.str.lower().isin(tables.MISSING)] = "nan"
    values = pd.to_numeric(texts, errors="coerce").to_numpy(np.float64)
    bad = np.flatnonzero(np.isnan(values) & (texts != "nan"))
    if len(bad):
        raise CatalogError(
            f"{where} holds {texts[bad[0]]!r:.80} instead of a decimal number in {row_numbers(bad + 1)}: "
            "leave missing values empty"
        )
    return values


def _convert(values: np.ndarray, stated: u.UnitBase, ours: str, unit: u.UnitBase, where: str) -> np.ndarray:
    """Return the values of column `ours` in its unit; logarithms and magnitudes stay as they are."""
    if str(stated) == "":
        return values
    if unit in (u.mag, u.dimensionless_unscaled):
        # Magnitudes and dex, also those of a unit: mag(AB), dex(Lsun).
        logarithmic = u.mag if unit == u.mag else u.dex
        if logarithmic in (stated, getattr(stated, "function_unit", None)):
            return values
    wanted = str(unit) or quantities.get(ours).unit or "a number without a unit"
    refusal = CatalogError(f"{where} is in {stated!s:.80}, which cannot be converted to {wanted}")
    if unit == u.dimensionless_unscaled:
        raise refusal
    try:
        return (values * stated).to_value(unit)
    except (ValueError, TypeError) as error:  # also of units that astropy does not know
        raise refusal from error


def _check_values(ours: str, values: np.ndarray, where: str) -> None:
    bad = np.flatnonzero(np.isinf(values))
    if len(bad):
        raise CatalogError(f"{where} is infinite in {row_numbers(bad + 1)}: leave missing values empty")
    if ours in _ALLOWED:
        low, high, unit = _ALLOWED[ours]
        # No star of a cluster is that bright.
        is_placeholder = (values == 0) & (ours == "phot_g_mean_mag")
        bad = np.flatnonzero((values < low) | (values > high) | is_placeholder)
        if len(bad):
            raise CatalogError(
                f"{where} is {values[bad[0]]:g} in {row_numbers(bad + 1)}, not between {low} and {high} "
                f"{unit}: leave missing values empty"
            )
    if ours == "distance" or ours.endswith("_error"):
        bad = np.flatnonzero(values <= 0 if ours == "distance" else values < 0)
        if len(bad):
            should = "be positive" if ours == "distance" else "not be negative"
            raise CatalogError(f"{where} is {values[bad[0]]:g} in {row_numbers(bad + 1)}: it should {should}")


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


def _identities(column: Column, where: str) -> Column:
    """Return whole numbers as int64, anything else as text."""
    missing = _is_missing(column)
    # Unsigned numbers may exceed int64.
    if column.dtype.kind == "i":
        return MaskedColumn(np.asarray(column).astype(np.int64), mask=missing)
    texts = _texts(column, missing, where)
    missing |= texts.str.lower().isin(tables.MISSING).to_numpy()
    if column.dtype.kind == "f" or texts[~missing].str.fullmatch(r"\d*\.?\d+([eE][+]?\d+|\.0*)").any():
        raise CatalogError(
            f"{where} holds floating-point numbers, which keep only 16 digits of an identity: write whole "
            "numbers"
        )
    # 18 digits fit into 64 bits, and 19 digits if they begin with 1 to 8, as Gaia's do.
    if texts[~missing].str.fullmatch(r"\d{1,18}|[1-8]\d{18}").all():
        return MaskedColumn(texts.mask(missing, "0").astype(np.int64).to_numpy(), mask=missing)
    return MaskedColumn(_short(texts, where), mask=missing)


def _short(texts: pd.Series, where: str) -> np.ndarray:
    """Return texts as an array.

    numpy pads all texts of an array to the longest, so that one long text could take all memory.
    """
    bad = np.flatnonzero(texts.str.len() > _MAX_NAME)
    if len(bad):
        raise CatalogError(
            f"{where} holds more than {_MAX_NAME} characters in {row_numbers(bad + 1)}: shorten them"
        )
    return texts.to_numpy().astype(str)


def _cluster_names(column: Column, where: str) -> Column:
    missing = _is_missing(column)
    names = _texts(column, missing, where)
    bad = np.flatnonzero(missing | names.str.lower().isin(tables.MISSING))
    if len(bad):
        raise CatalogError(
            f"{where} is empty in {row_numbers(bad + 1)}: every star needs the name of its cluster"
        )
    return Column(_short(names, where))
