"""Columns of text tables: split from lines, and turned into numbers where that loses nothing.

Arrow does this for millions of rows. Here a row is a line of text, and `texts` are those of one column, as a
string array of Arrow.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from astropy.table import Column, MaskedColumn, Table

from starjax import errors

# What text tables write for a missing value, in lower case.
MISSING = (
    *("", "nan", "-nan", "null", "none", "na", "n/a", "<na>", "#n/a", "masked", "indef"),
    *("-", "--", "---", "...", "?", "\\n"),
)
# Texts of at most this length may be names, such as 3.10, which as a number would be 3.1.
_MAX_NAME = 8
_BLOCK = 2**24  # bytes, more than any row has
# Numbers of which text and 64 bits are the same, and others.
_INT64 = r"^(-?(0|[1-9]\d{0,17})|[1-8]\d{18})$"
_WHOLE = r"^[+-]?\d+$"
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_WITH_POINT = r"^[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?$"
_WITH_COMMA = r"^[+-]?\d*,\d+([eE][+-]?\d+)?$"


class SplitError(errors.StarjaxError):
    """Rows that cannot be split into columns."""


def split(body: str, separator: str, num_column: int, quote: str | None = '"') -> list:
    """Return the texts of each column of rows that are separated by line feeds; blank rows are left out.

    Raises:
      SplitError: a row has another number of values, or a value a line break.
    """
    import pyarrow as pa  # slow to import, and not needed for other formats
    import pyarrow.compute as compute
    from pyarrow import csv

    if not body.strip():
        return [pa.array([], pa.large_string())] * num_column
    # Copied to memory of pyarrow, see `tables`.
    copy = pa.BufferOutputStream()
    copy.write(body.encode())
    names = [str(i) for i in range(num_column)]
    try:
        rows = csv.read_csv(
            pa.BufferReader(copy.getvalue()),
            csv.ReadOptions(use_threads=False, column_names=names, block_size=_BLOCK),
            csv.ParseOptions(
                delimiter=separator,
                quote_char=quote or False,
                invalid_row_handler=lambda row: "error" if row.text.strip() else "skip",
            ),
            csv.ConvertOptions(column_types=dict.fromkeys(names, pa.large_string())),
        )
    except pa.ArrowInvalid as error:
        raise SplitError(str(error)) from error
    if quote and quote in body:
        for texts in rows.columns:
            if compute.any(compute.match_substring(texts, "\n")).as_py():
                raise SplitError("a value contains a line break")
    return rows.columns


def table(texts_by_name: Mapping[str, object], missing: Mapping[str, Collection[str]] = {}) -> Table:
    """Return columns as a table: int64, float64, masked or NaN where a value is missing, or text.

    A column is of whole numbers if all its values are, as text and in 64 bits the same, and of other numbers
    if it cannot have names, which stay as they are. Text is not masked.

    Args:
      missing: further texts that stand for a missing value, by column.
    """
    columns = _with_points(list(texts_by_name.values()))
    return Table(
        {
            name: _column(texts, missing.get(name, ()))
            for name, texts in zip(texts_by_name, columns, strict=True)
        }
    )


def _is_missing(texts):
    import pyarrow as pa
    import pyarrow.compute as compute

    return compute.is_in(compute.ascii_lower(texts), pa.array(MISSING, pa.large_string()))


def _all_match(texts, pattern: str) -> bool:
    import pyarrow.compute as compute

    return compute.all(compute.match_substring_regex(texts, pattern)).as_py() is not False


def _with_points(columns: Sequence) -> list:
    """Return decimal commas as points in columns of such numbers, if no column has numbers with points."""
    import pyarrow.compute as compute

    has_comma = [compute.any(compute.match_substring(texts, ",")).as_py() for texts in columns]
    if not any(has_comma):
        return list(columns)
    columns = [compute.utf8_trim_whitespace(texts) for texts in columns]
    if any(compute.any(compute.match_substring_regex(texts, _WITH_POINT)).as_py() for texts in columns):
        return columns
    return [
        compute.replace_substring(texts, ",", ".")
        if has and _all_match(texts.filter(compute.invert(_is_missing(texts))), f"{_WITH_COMMA}|{_NUMBER}")
        else texts
        for texts, has in zip(columns, has_comma, strict=True)
    ]


def _column(texts, missing: Collection[str]) -> Column:
    import pyarrow as pa
    import pyarrow.compute as compute

    texts = pa.chunked_array([texts] if isinstance(texts, pa.Array) else texts.chunks, pa.large_string())
    texts = compute.utf8_trim_whitespace(texts.combine_chunks())
    if missing:
        texts = compute.if_else(compute.is_in(texts, pa.array(missing, pa.large_string())), "", texts)
    is_missing = _is_missing(texts)
    given, mask = texts.filter(compute.invert(is_missing)), is_missing.to_numpy(zero_copy_only=False)
    if len(given) and _all_match(given, _INT64):
        values = np.zeros(len(texts), np.int64)
        values[~mask] = compute.cast(given, pa.int64()).to_numpy()
        return MaskedColumn(values, mask=mask) if mask.any() else Column(values)
    longest = compute.max(compute.binary_length(given)).as_py() or 0
    if longest > _MAX_NAME and not _all_match(given, _WHOLE):
        try:
            values = np.full(len(texts), np.nan)
            values[~mask] = compute.cast(given, pa.float64()).to_numpy()
            return Column(values)
        except pa.ArrowInvalid:  # text, or numbers in a spelling of their own
            pass
    # As objects: in an array of text, every row would take the memory of the longest.
    distinct = texts.dictionary_encode()
    return Column(np.array([*distinct.dictionary.to_pylist(), ""], object)[distinct.indices.to_numpy()])
