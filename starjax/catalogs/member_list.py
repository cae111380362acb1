"""Observed member lists: what a file says about stars, in the names and units of Gaia, checked.

A list is an astropy table with the columns of `UNITS` that the file has (float64, NaN where a value is
missing), `source_id` and `cluster` if it has them, and `row`, the number of the star in its file, from 1.
Its `meta` names the `file`, its `sha256` if it was read from one, and the columns of it that are `unused`.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from astropy import units as u
from astropy.table import Column, MaskedColumn, Table

from starjax import errors
from starjax.io import tables

_MOTION = u.mas / u.yr
UNITS = {
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
    "log_L_L_sol": u.dimensionless_unscaled,
}
IDENTITIES = ("source_id", "cluster")
# A packaged list, by name.
EXAMPLE, EXAMPLE_FILE = "example", Path(__file__).parent / "example" / "members.ecsv"
# What a value must be between, the ends included; `ra` may be counted from -180 or from 0.
_ALLOWED = {"ra": (-180, 360), "dec": (-90, 90)}
_MAX_ROWS_NAMED = 5
# Characters of a name; names of clusters become names of files.
_MAX_NAME = 255
# Half of the stars of a cluster lie farther from its middle, in declination, than this.
_NARROWEST_PC = 0.1


class CatalogError(errors.StarjaxError):
    """A member list that cannot be used: file, columns, rows, and what to do."""


def find_member_list(name: Path | str) -> Path:
    """The file that a name means; 'example' is packaged."""
    return EXAMPLE_FILE if str(name) == EXAMPLE else Path(name)


def read_member_list(path: Path, columns: Mapping[str, str] = {}) -> Table:
    """Reads a member list: CSV, ECSV, Parquet, FITS or VOTable, by the ending of its name, also with .gz.

    Units that the file states are converted; where it states none, they are those of `UNITS`.

    Args:
      columns: the file's names by ours, where they differ: {'ra': 'RAJ2000'}.

    Raises:
      CatalogError: the file is missing, damaged or of an unknown format; a column is missing, there twice, or
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


def check_member_list(table: Table, name: str, columns: Mapping[str, str] = {}) -> Table:
    """As `read`, of a table in memory; `name` is what it is called in errors."""
    taken = _names(table, name, columns)
    if len(table) == 0:
        raise CatalogError(f"{name} holds no stars")
    unused = [column for column in table.colnames if column not in taken.values()]
    found = Table({"row": np.arange(1, len(table) + 1)}, meta={"file": name, "unused": unused})
    for ours, theirs in taken.items():
        called = f"{name}: column {theirs}" + ("" if ours == theirs else f" (for {ours})")
        if not isinstance(table[theirs], Column | u.Quantity):
            raise CatalogError(f"{called} holds {type(table[theirs]).__name__} instead of numbers or text")
        if ours == "source_id":
            found[ours] = _identities(table[theirs], called)
        elif ours == "cluster":
            found[ours] = _cluster_names(table[theirs], called)
        else:
            values = _in_unit(_numbers(table[theirs], called), table[theirs].unit, UNITS[ours], called)
            _check_values(ours, values, called)
            found[ours] = Column(values, unit=UNITS[ours])
    _check_not_radians(found, {ours: table[theirs].unit for ours, theirs in taken.items()})
    return found


def split_clusters(table: Table) -> dict[str, Table]:
    """The stars of each cluster by its name, in the order of the list; all by the file's if there is none."""
    if "cluster" not in table.colnames:
        return {tables.stem(Path(table.meta["file"])): table}
    names = np.asarray(table["cluster"])
    return {str(name): table[names == name] for name in pd.unique(names)}


def row_numbers(numbers: Iterable[int]) -> str:
    """Row numbers as a message names them."""
    numbers = [int(number) for number in numbers]
    named = ", ".join(map(str, numbers[:_MAX_ROWS_NAMED]))
    more = f" and {len(numbers) - _MAX_ROWS_NAMED} more" if len(numbers) > _MAX_ROWS_NAMED else ""
    return f"{'row' if len(numbers) == 1 else 'rows'} {named}{more}"


def _names(table: Table, name: str, columns: Mapping[str, str]) -> dict[str, str]:
    """The table's names of the columns it has, by ours."""
    unknown = [ours for ours in columns if ours not in UNITS and ours not in IDENTITIES]
    if unknown:
        known = ", ".join([*UNITS, *IDENTITIES])
        raise CatalogError(
            f"columns: {', '.join(unknown)} is not a column of a member list; those are {known}. "
            "Give ours first, then the file's: ra=RAJ2000"
        )
    absent = [theirs for theirs in columns.values() if theirs not in table.colnames]
    wanted = {ours: ours for ours in [*UNITS, *IDENTITIES]} | dict(columns)
    absent += [wanted[ours] for ours in ("ra", "dec") if wanted[ours] not in table.colnames]
    if absent:
        raise CatalogError(
            f"{name} has no column {', '.join(dict.fromkeys(absent))}; it has {', '.join(table.colnames):.2000}: "
            "say which is which by columns (--columns=ra=RAJ2000)"
        )
    return {ours: theirs for ours, theirs in wanted.items() if theirs in table.colnames}


def _is_missing(column: Column) -> np.ndarray:
    return np.array(np.ma.getmaskarray(np.ma.asarray(column)))


def _texts(column: Column, missing: np.ndarray, called: str) -> pd.Series:
    """The values of a column as text, empty where they are missing."""
    values = np.asarray(column)
    if values.dtype.kind == "S":
        try:
            values = np.char.decode(values, "utf-8")
        except UnicodeDecodeError as error:
            raise CatalogError(f"{called} holds text that is not in UTF-8 ({error})") from error
    return pd.Series(
        ["" if gone else str(value).strip() for value, gone in zip(values, missing, strict=True)],
        dtype=object,
    )


def _numbers(column: Column, called: str) -> np.ndarray:
    """The values of a column as float64, NaN where they are missing."""
    if column.ndim != 1:
        raise CatalogError(f"{called} holds {column.shape[1:]} values a row instead of one number")
    missing = _is_missing(column)
    if column.dtype.kind in "iuf":
        return np.where(missing, np.nan, np.asarray(column).astype(np.float64))
    if column.dtype.kind == "b":
        raise CatalogError(f"{called} holds true and false instead of numbers")
    texts = _texts(column, missing, called)
    texts[texts.str.lower().isin(tables.MISSING)] = "nan"
    values = pd.to_numeric(texts, errors="coerce").to_numpy(np.float64)
    bad = np.flatnonzero(np.isnan(values) & (texts != "nan"))
    if len(bad):
        raise CatalogError(
            f"{called} holds {texts[bad[0]]!r:.80} instead of a decimal number in {row_numbers(bad + 1)}: leave missing values empty"
        )
    return values


def _in_unit(values: np.ndarray, stated: u.UnitBase | None, ours: u.UnitBase, called: str) -> np.ndarray:
    """Converts to our unit; logarithms of luminosities and all kinds of magnitudes stay as they are."""
    if stated is None or stated == ours or str(stated) == "":
        return values
    is_logarithm = isinstance(stated, u.function.FunctionUnitBase) or stated in (u.dex, u.mag)
    if is_logarithm and ours in (u.mag, u.dimensionless_unscaled):
        of_kind = u.mag if ours == u.mag else u.dex
        if stated == of_kind or getattr(stated, "function_unit", None) == of_kind:
            return values
    wanted = str(ours) or "log10 of solar luminosities, without a unit"
    refusal = CatalogError(f"{called} is in {stated!s:.80}, which cannot be converted to {wanted}")
    if ours == u.dimensionless_unscaled:
        raise refusal
    try:
        return (values * stated).to_value(ours)
    except (ValueError, TypeError) as error:  # also of units that astropy does not know
        raise refusal from error


def _check_values(ours: str, values: np.ndarray, called: str) -> None:
    bad = np.flatnonzero(np.isinf(values))
    if len(bad):
        raise CatalogError(f"{called} is infinite in {row_numbers(bad + 1)}: leave missing values empty")
    if ours in _ALLOWED:
        low, high = _ALLOWED[ours]
        bad = np.flatnonzero((values < low) | (values > high))
        if len(bad):
            raise CatalogError(
                f"{called} is {values[bad[0]]:g} in {row_numbers(bad + 1)}, not between {low} and {high} degrees"
            )
    if ours == "distance" or ours.endswith("_error"):
        bad = np.flatnonzero(values <= 0 if ours == "distance" else values < 0)
        if len(bad):
            raise CatalogError(
                f"{called} is {values[bad[0]]:g} in {row_numbers(bad + 1)}: it should be positive"
            )


def _check_not_radians(table: Table, stated: dict[str, u.UnitBase | None]) -> None:
    """Refuses positions in the range of radians that would make a cluster narrower than `_NARROWEST_PC`.

    What radians taken for degrees make of a cluster is 57 times too small.
    """
    of_distance = [table[name] for name in ("parallax", "distance") if name in table.colnames][:1]
    if stated["ra"] is not None or any(
        np.isnan(column).all() for column in (table["ra"], table["dec"], *of_distance)
    ):
        return
    ra, dec = np.asarray(table["ra"]), np.asarray(table["dec"])
    if "parallax" in table.colnames:
        distance = 1000 / np.nanmedian(np.asarray(table["parallax"]))
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
            f"{table.meta['file']}: columns ra and dec seem to be in radians; as degrees they make a cluster of "
            f"{width:.1g} pc: convert them, or state the unit in the file"
        )


def _identities(column: Column, called: str) -> Column:
    """Whole numbers as int64, anything else as text."""
    missing = _is_missing(column)
    if column.dtype.kind in "iu":
        return MaskedColumn(np.asarray(column).astype(np.int64), mask=missing)
    texts = _texts(column, missing, called)
    missing |= texts.str.lower().isin(tables.MISSING).to_numpy()
    if column.dtype.kind == "f" or texts[~missing].str.fullmatch(r"\d*\.?\d+([eE][+]?\d+|\.0*)").any():
        raise CatalogError(
            f"{called} holds floating-point numbers, which keep 16 of the digits of an identity: write whole numbers"
        )
    # Up to 18 digits fit into 64 bits, and of 19 those of Gaia.
    if texts[~missing].str.fullmatch(r"\d{1,18}|[1-8]\d{18}").all():
        return MaskedColumn(texts.mask(missing, "0").astype(np.int64).to_numpy(), mask=missing)
    return MaskedColumn(_short(texts, called), mask=missing)


def _short(texts: pd.Series, called: str) -> np.ndarray:
    """Texts as an array, in which all take as much room as the longest."""
    bad = np.flatnonzero(texts.str.len() > _MAX_NAME)
    if len(bad):
        raise CatalogError(
            f"{called} holds more than {_MAX_NAME} characters in {row_numbers(bad + 1)}: shorten them"
        )
    return texts.to_numpy().astype(str)


def _cluster_names(column: Column, called: str) -> Column:
    missing = _is_missing(column)
    names = _texts(column, missing, called)
    bad = np.flatnonzero(missing | names.str.lower().isin(tables.MISSING))
    if len(bad):
        raise CatalogError(
            f"{called} is empty in {row_numbers(bad + 1)}: every star needs the name of its cluster"
        )
    return Column(_short(names, called))
