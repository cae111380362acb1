"""Values of single columns of a member catalogue: read as numbers or text, converted, and checked.

`where` names file and column for messages. Functions raise CatalogError if a value cannot be used.
"""

import re
import warnings
from collections.abc import Iterable

import numpy as np
import pandas as pd
from astropy import units as u
from astropy.coordinates import Angle
from astropy.table import Column, MaskedColumn
from astropy.utils.exceptions import AstropyWarning

from starjax import errors, quantities
from starjax.io import tables

# Allowed ranges, ends included. Right ascensions from -180 to 180 are as good as from 0 to 360. The others
# contain all stars. What is written for missing values, such as -999, is recognized before (`fill_values`).
_ALLOWED = {
    "ra": (-180, 360, "degrees"),
    "dec": (-90, 90, "degrees"),
    "phot_g_mean_mag": (-2, 40, "mag"),
    "bp_rp": (-10, 20, "mag"),
    "radial_velocity": (-990, 990, "km/s"),
    "extinction_v": (0, 50, "mag"),
    "metallicity": (-5, 1, "dex"),
    "distance_modulus": (-5, 30, "mag"),
    # Sums of single-precision fractions exceed 1 by a little.
    "membership_probability": (0, 1.001, ""),
}
# Spellings of units that astropy does not know, in lower case.
_SPELLED = {
    **dict.fromkeys(("degree", "degrees"), "deg"),
    **dict.fromkeys(("milliarcsec", "milliarcsecs", "milliarcsecond", "milliarcseconds"), "mas"),
    **dict.fromkeys(("arcsecs", "arcseconds"), "arcsec"),
    **dict.fromkeys(("year", "years", "julianyear"), "yr"),
    **dict.fromkeys(("sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("kms", "kps"), "km/s"),
    **dict.fromkeys(("hours", "hr", "hrs"), "hour"),
    **dict.fromkeys(("parsecs", "pcs"), "pc"),
    **dict.fromkeys(("mags", "magnitude", "magnitudes"), "mag"),
    "per": "/",
    # Also in capitals.
    **{name: name for name in ("deg", "rad", "mas", "arcsec", "yr", "km", "s", "hour", "pc", "kpc", "mag")},
}
# Units in names of columns: these, and what can be converted to those.
_PLAIN_UNITS = (u.mag, u.percent, u.hour)
_CONVERTED_UNITS = (u.deg, u.mas / u.yr, u.km / u.s, u.pc)
# (deg), [deg], Angle[deg] and mag(Vega); other square brackets mean a logarithm.
_BRACKETS = re.compile(r"\((.*)\)|(?:angle)?\[((?:deg|rad|arcs|mas|h).*)\]|(mag)\(.*\)", re.IGNORECASE)
# Hours or degrees, minutes and seconds.
_SEXAGESIMAL = r"[+-]?\d{1,3}\s*[:hd°\s]\s*\d{1,2}(\.\d*|\s*[:m'′\s]\s*\d{1,2}(\.\d*)?\s*(s|\"|″|'')?)?"
# Columns of the same values differ by less [deg, mas, mas/yr, mag], as far as these are so small.
_ROUNDING, _LARGEST_ROUNDED = 1e-3, 1e6
# What catalogues write before the number of a star: 'Gaia DR3 1234'.
_DESIGNATION = re.compile(r"gaia\s*e?dr\d\s+(\d+)", re.IGNORECASE)
# Numbers as floats are written, which keep only 16 digits.
_FLOAT = re.compile(r"\d*\.?\d+[eE]\+?\d+|\d+\.0*|\d+\.\d+")
# Probabilities in percent, or what is written for missing ones.
_NINES = (9, 9.9, 9.99, 9.999, 99, 99.9, 99.99, 99.999)
# Identities of stars that have none, in lower case. So are numbers below 1.
_NO_IDENTITY = ("unmatched", "no match", "nomatch", "no_match", "unknown", "missing", "masked")
# Names of clusters of stars that are in none, in lower case; -1 is that of HDBSCAN.
_NO_CLUSTER = ("-1", "noise", "field", "field star", "field_star", "unassigned", "no cluster")
# Characters of a name; names of clusters become names of files, for which most file systems allow as many.
_MAX_NAME = 255


class CatalogError(errors.StarjaxError):
    """A member catalogue, or what is stated about its cluster, that cannot be used."""


def row_numbers(numbers: Iterable[int]) -> str:
    """Return row numbers as text, the first of many."""
    numbers = [int(number) for number in numbers]
    return f"{'row' if len(numbers) == 1 else 'rows'} {errors.first_of(numbers)}"


def counted(rows: Iterable[int]) -> str:
    """Return the number of stars, and their rows."""
    rows = list(rows)
    return f"{'1 star' if len(rows) == 1 else f'{len(rows)} stars'} ({row_numbers(rows)})"


def _is_missing(column: Column) -> np.ndarray:
    return np.array(np.ma.getmaskarray(np.ma.asarray(column)))


def is_empty(column: Column) -> bool:
    """Return whether a column has no value."""
    values = np.asarray(column)[~_is_missing(column)]
    if values.dtype.kind == "f":
        return bool(np.isnan(values).all())
    return values.dtype.kind in "OUS" and all(
        str(value).strip().lower() in tables.MISSING for value in values
    )


def are_same(first: Column, second: Column) -> bool:
    """Return whether two columns have the same values, within rounding, wherever both have one."""
    one, other = (_texts(column, _is_missing(column), "").str.lower() for column in (first, second))
    is_known = ~one.isin(tables.MISSING) & ~other.isin(tables.MISSING)
    one, other = one[is_known], other[is_known]
    numbers, others = (pd.to_numeric(texts, errors="coerce") for texts in (one, other))
    # Identities are larger, and as floats they would all seem the same.
    is_close = (np.abs(numbers - others) <= _ROUNDING) & (np.abs(numbers) < _LARGEST_ROUNDED)
    return bool(is_known.any() and ((one == other) | is_close).all())


def count_missing(column: Column) -> int:
    """Return how many values of a column are missing."""
    texts = _texts(column, _is_missing(column), "")
    return int(texts.str.lower().isin(tables.MISSING).sum())


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


def read_numbers(column: Column, where: str) -> np.ndarray:
    """Return the values of a column as float64, NaN where they are missing."""
    if column.ndim != 1:
        raise CatalogError(f"{where} holds arrays of shape {column.shape[1:]} instead of one number per row")
    missing = _is_missing(column)
    if column.dtype.kind in "iuf":
        return np.where(missing, np.nan, np.asarray(column).astype(np.float64))
    if column.dtype.kind == "b":
        raise CatalogError(f"{where} holds true and false instead of numbers")
    texts = _texts(column, missing, where)
    codes, distinct = pd.factorize(texts)
    distinct = pd.Series(distinct, dtype=object)  # rounded numbers, that many rows share, are read once
    values = pd.to_numeric(distinct, errors="coerce").to_numpy(np.float64)
    is_bad = np.isnan(values) & ~distinct.str.lower().isin(tables.MISSING).to_numpy()
    values, bad = values[codes], np.flatnonzero(is_bad[codes])
    if len(bad):
        raise CatalogError(
            f"{where} holds {texts[bad[0]]!r:.80} instead of a decimal number in {row_numbers(bad + 1)}: "
            "leave missing values empty"
        )
    return values


def in_degrees(column: Column, ours: str, stated: str, where: str) -> Column:
    """Return a column `ra` or `dec` of texts such as 04:26:01.5, 04 26 01.5 or 04h26m01.5s in degrees.

    Right ascensions are in hours unless degrees are stated. Other columns stay as they are.

    Args:
      stated: the unit of the column, or the name that may contain it.
    """
    if column.dtype.kind not in "OUS":
        return column
    texts = _texts(column, _is_missing(column), where)
    is_given = ~texts.str.lower().isin(tables.MISSING).to_numpy()
    if not is_given.any() or not texts[is_given].str.fullmatch(_SEXAGESIMAL).all():
        return column
    is_hours = ours == "ra" and not re.search(r"deg|dms|d\w*:", stated, re.IGNORECASE)
    degrees = np.full(len(texts), np.nan)
    try:
        with warnings.catch_warnings(category=AstropyWarning, action="ignore"):  # of 60 seconds
            degrees[is_given] = Angle(list(texts[is_given]), unit=u.hourangle if is_hours else u.deg).deg
    except ValueError as error:
        raise CatalogError(f"{where} holds an angle that is none: {error!s:.200}") from error
    return Column(degrees, unit=u.deg)


def _spelled_out(stated: u.UnitBase, unit: u.UnitBase) -> u.UnitBase:
    """Return a stated unit as astropy spells it; it stays unrecognized if nobody knows it."""
    if isinstance(stated, u.UnrecognizedUnit):
        text = stated.to_string().strip("\"' ")
        if inner := _BRACKETS.fullmatch(text):
            text = next(filter(None, inner.groups()), "")
        words = re.sub(r"[A-Za-z]+", lambda word: _SPELLED.get(word[0].lower(), word[0]), text)
        stated = u.Unit(words, parse_strict="silent")
    # Hours are the only time that an angle may be in.
    return u.hourangle if stated == u.hour and unit == u.deg else stated


def find_unit(text: str) -> u.UnitBase | None:
    """Return the unit of a text, if it is one that a column of a member catalogue may have."""
    found = _spelled_out(u.Unit(text, parse_strict="silent"), u.dimensionless_unscaled)
    is_known = found in _PLAIN_UNITS or any(found.is_equivalent(one) for one in _CONVERTED_UNITS)
    return found if is_known else None


def is_angle(unit: u.UnitBase) -> bool:
    """Return whether a unit is that of an angle, however it is spelled."""
    return _spelled_out(unit, u.dimensionless_unscaled).is_equivalent(u.deg)


def convert_unit(
    values: np.ndarray, stated: u.UnitBase | None, ours: str, unit: u.UnitBase, where: str
) -> np.ndarray:
    """Return the values of column `ours` in its unit; logarithms and magnitudes stay as they are."""
    if stated in (None, unit) or str(stated) == "":
        return values
    stated = _spelled_out(stated, unit)
    if unit in (u.mag, u.dimensionless_unscaled):
        # Magnitudes and dex, also those of a unit: mag(AB), dex(Lsun).
        logarithmic = u.mag if unit == u.mag else u.dex
        if logarithmic in (stated, getattr(stated, "function_unit", None)):
            return values
    wanted = str(unit) or quantities.get(ours).unit or "a number without a unit"
    refusal = CatalogError(f"{where} is in {stated!s:.80}, which cannot be converted to {wanted}")
    if unit == u.dimensionless_unscaled and stated != u.percent:
        raise refusal
    try:
        return (values * stated).to_value(unit)
    except (ValueError, TypeError) as error:  # also of units that astropy does not know
        raise refusal from error


def are_percent(probabilities: np.ndarray) -> bool:
    """Return whether probabilities (n,) are in percent, and not fractions; fill values decide nothing."""
    known = probabilities[(probabilities >= 0) & (probabilities <= 100)]
    others = known[~np.isin(known.astype(np.float32), np.array(_NINES, np.float32))]
    above = np.unique(others[others > _ALLOWED["membership_probability"][1]])
    return bool(len(above) > 2 or (len(known) and np.median(others if len(others) else known) > 1))


def check_values(ours: str, values: np.ndarray, where: str) -> None:
    """Raise CatalogError if a value of column `ours` is impossible."""
    bad = np.flatnonzero(np.isinf(values))
    if len(bad):
        raise CatalogError(f"{where} is infinite in {row_numbers(bad + 1)}: leave missing values empty")
    if ours in _ALLOWED:
        low, high, unit = _ALLOWED[ours]
        bad = np.flatnonzero((values < low) | (values > high))
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


def read_identities(column: Column, where: str) -> Column | None:
    """Return whole numbers as int64, anything else as text; what stands for no identity is missing.

    Of Gaia's designations the numbers are returned, and None if floating-point numbers lost digits.
    """
    missing = _is_missing(column)
    # Unsigned numbers may exceed int64.
    if column.dtype.kind == "i":
        return MaskedColumn(np.asarray(column).astype(np.int64), mask=missing | (np.asarray(column) < 1))
    texts = _texts(column, missing, where).str.replace(_DESIGNATION, r"\1", regex=True)
    missing |= texts.str.lower().isin([*tables.MISSING, *_NO_IDENTITY]).to_numpy()
    missing |= texts.str.fullmatch(r"-\d+(\.0*)?|0+(\.0*)?").to_numpy()
    texts = texts.mask(missing, "")
    if column.dtype.kind == "f" or texts.str.fullmatch(_FLOAT).any():
        numbers = pd.to_numeric(texts, errors="coerce")
        kind = np.finfo(column.dtype if column.dtype.kind == "f" else np.float64)
        if not numbers[~missing].between(1, 2.0**kind.nmant).all():
            return None
        texts = numbers.fillna(0).astype(np.int64).astype(str).where(~missing, "")
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


def read_cluster_names(column: Column, where: str) -> Column:
    """Return the names of the clusters of all rows, masked where there is none; numbers without fractions."""
    missing = _is_missing(column)
    names = _texts(column, missing, where).str.replace(r"^(-?\d+)\.0$", r"\1", regex=True)
    missing |= names.str.lower().isin([*tables.MISSING, *_NO_CLUSTER]).to_numpy()
    return MaskedColumn(_short(names.mask(missing, ""), where), mask=missing)
