"""The tables of a prediction in files: Parquet, CSV, ECSV, VOTable and FITS, the stars, and samples."""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
from astropy.io import fits
from astropy.table import Table, meta

from starjax.evaluation.posterior import NUM_SAMPLE, Posterior
from starjax.inference.prediction_table import Prediction
from starjax.predictions import prediction_columns

# The prediction in five formats.
TABLES = tuple(f"prediction.{ending}" for ending in ("parquet", "csv", "ecsv", "vot", "fits"))
# The stars that it is based on, samples of the joint posterior of each cluster, and clusters without a
# prediction with the reasons. The last two are written only if there are any.
STARS, SAMPLES, REFUSED = "stars.parquet", "samples.parquet", "refused.csv"
# Rows of `SAMPLES` that are in memory at a time, at least those of one cluster.
_NUM_ROW = 100_000


def table_writers(table: pd.DataFrame, target_keys: Sequence[str]) -> dict[str, Callable[[Path], Any]]:
    """Return functions that write a prediction table to a path, by the names of TABLES."""
    described = describe({name: table[name].to_numpy() for name in table}, target_keys)
    writers: list[Callable[[Path], Any]] = [
        lambda path: _write_parquet(table, described, path),
        lambda path: table.to_csv(path, index=False),
        lambda path: _write_ecsv(described, path),
        lambda path: described.write(path, format="votable"),
        lambda path: _write_fits(described, path),
    ]
    return dict(zip(TABLES, writers, strict=True))


def stars_table(prediction: Prediction) -> pd.DataFrame:
    """Return the stars that a prediction is based on, of all clusters."""
    return concatenate([one.table.assign(cluster=name) for name, one in prediction.members.items()])


def concatenate(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of tables whose identities may be numbers in some, text in others, or absent.

    Without a type that allows for missing numbers, pandas would make them floats, and lose digits.
    """
    identities = [table["source_id"] for table in tables if "source_id" in table]
    kind = "Int64" if all(pd.api.types.is_integer_dtype(one) for one in identities) else "string"
    if identities:
        tables = [
            table.assign(source_id=table.get("source_id", pd.NA)).astype({"source_id": kind})
            for table in tables
        ]
    return pd.concat(tables, ignore_index=True)


def describe(values: Mapping[str, np.ndarray], target_keys: Sequence[str]) -> Table:
    """Return an astropy table with the unit, UCD and description of each column.

    Args:
      values: the columns.
      target_keys: the targets of the run.

    Raises:
      KeyError: a column is not known.
    """
    columns = prediction_columns.all_columns(target_keys)
    described = Table({name: one.astype(str) if one.dtype == object else one for name, one in values.items()})
    for name in described.colnames:
        described[name].unit = columns[name].unit or None
        described[name].description = columns[name].description
        described[name].meta["ucd"] = columns[name].ucd
    return described


def _with_metadata(schema: pa.Schema, described: Table) -> pa.Schema:
    """Return the schema of a table with its units, UCDs and descriptions.

    They are metadata of the fields and, since astropy does not read these, also in its own form.
    """
    texts = [name for name in described.colnames if described[name].dtype.kind == "U"]
    for_astropy = {f"table::len::{name}": str(described[name].dtype.itemsize // 4) for name in texts}
    for_astropy["table_meta_yaml"] = "\n".join(meta.get_yaml_from_table(described))
    fields = [
        field.with_metadata(
            {
                "unit": str(described[field.name].unit or ""),
                "ucd": described[field.name].meta["ucd"],
                "description": described[field.name].description,
            }
        )
        for field in schema
    ]
    return pa.schema(fields, metadata={**(schema.metadata or {}), **for_astropy})


def _write_parquet(table: pd.DataFrame, described: Table, path: Path) -> None:
    """Write a table as Parquet, `described` with its units, UCDs and descriptions."""
    content = pa.Table.from_pandas(table, preserve_index=False)
    pyarrow.parquet.write_table(content.cast(_with_metadata(content.schema, described)), path)


def _write_ecsv(described: Table, path: Path) -> None:
    """Write a table in UTF-8, whatever the encoding of the locale."""
    text = io.StringIO()
    described.write(text, format="ascii.ecsv")
    path.write_text(text.getvalue(), encoding="utf-8")


def _write_fits(described: Table, path: Path) -> None:
    """Write a table as FITS, which takes only ASCII: other characters become escapes of Python.

    UCDs and descriptions are written in the form of astropy, and in that of TOPCAT.
    """
    plain = described.copy(copy_data=False)
    for name in plain.colnames:
        if plain[name].dtype.kind == "U":
            text = np.char.encode(np.char.replace(plain[name], "±", "+/-"), "ascii", "backslashreplace")
            plain.replace_column(name, type(plain[name])(text.astype(str), name=name))
            plain[name].description, plain[name].meta = described[name].description, described[name].meta
    plain.write(path, format="fits")
    with fits.open(path, mode="update") as parts:
        for number, name in enumerate(plain.colnames, 1):
            parts[1].header[f"TCOMM{number}"] = plain[name].description
            parts[1].header[f"TUCD{number}"] = plain[name].meta["ucd"]


def write_samples(posterior: Posterior, path: Path, num: int = NUM_SAMPLE) -> None:
    """Write samples of the joint posterior of all clusters as Parquet.

    The columns are `cluster`, `sample`, which counts from 0, and the targets in physical units in float32.
    Memory does not grow with the number of clusters.
    """
    names, keys = posterior.clusters, posterior.target_keys
    of_each = np.zeros(len(names), np.float32)
    described = describe(
        {"cluster": np.array(names), "sample": of_each.astype(np.int32)} | dict.fromkeys(keys, of_each), keys
    )
    for key in keys:
        described[key].description = described[key].description.replace("median", "sample")
        described[key].meta["ucd"] = described[key].meta["ucd"].removesuffix(";stat.median")
    types = [pa.string(), pa.int32(), *[pa.float32()] * len(keys)]
    schema = _with_metadata(pa.schema(zip(described.colnames, types, strict=True)), described)
    num_together = max(1, _NUM_ROW // num)
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for first in range(0, len(names), num_together):
            together = names[first : first + num_together]
            values = np.concatenate([posterior.samples(name, num).to_numpy(np.float32) for name in together])
            rows = [
                pa.array(together).take(np.repeat(np.arange(len(together)), num)),
                np.tile(np.arange(num, dtype=np.int32), len(together)),
                *values.T.copy(),
            ]
            writer.write_table(pa.table(rows, schema=schema))
