"""A prediction on disk while it is made: its finished parts, from which an interrupted command resumes."""

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet

from starjax import errors
from starjax.inference.prediction_table import Prediction
from starjax.inference.predictor import Predictor
from starjax.io import directory_lock, files
from starjax.plotting import style
from starjax.predictions import cluster_figure, table_formats
from starjax.predictions.table_formats import SAMPLES, STARS

# The folder of the parts, in that of the prediction.
FOLDER = "unfinished"
_INPUTS, _FINISHING = "inputs.json", "finishing"
# The files of a part.
_TABLE, _REPORT, _FIGURES = "table.parquet", "report.json", "figures"
# Metadata of astropy on the longest text of a column.
_LONGEST = b"table::len::"


class PartError(errors.StarjaxError):
    """Parts of another prediction."""


@dataclasses.dataclass(frozen=True)
class PartStore:
    """The finished parts of a prediction, each of them a folder.

    Attributes:
      folder: the folder of these folders.
    """

    folder: Path

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the folder, and remove it at the end if it is empty."""
        with directory_lock.locked(self.folder):
            yield
        with contextlib.suppress(OSError):  # it has parts, or is removed already
            self.folder.rmdir()

    def begin(self, inputs: Mapping, *, overwrite: bool) -> None:
        """Keep the parts of the same inputs; remove those of others.

        Args:
          inputs: what the prediction depends on, as JSON.

        Raises:
          PartError: there are parts of other inputs, and `overwrite` is False.
        """
        path = self.folder / _INPUTS
        is_same = path.exists() and path.read_text(encoding="utf-8") == files.json_text(dict(inputs))
        if not is_same and not overwrite:
            self.check_empty()
        if not is_same:
            self.remove()
        files.write_json(path, dict(inputs))

    def check_empty(self) -> None:
        """Raise PartError if there are parts."""
        if self.numbers():
            raise PartError(
                f"{self.folder} is an unfinished prediction of another catalogue, run or options: name "
                "another --out, or remove it with --overwrite"
            )

    @property
    def is_finishing(self) -> bool:
        """True if all parts are done, and their files are being written."""
        return (self.folder / _FINISHING).exists()

    def finish(self) -> None:
        """Record that all parts are done."""
        (self.folder / _FINISHING).touch()

    def numbers(self) -> list[int]:
        """Return the numbers of the finished parts."""
        return sorted(int(path.name.removeprefix("part-")) for path in self.folder.glob("part-*"))

    def write(
        self,
        number: int,
        run: Predictor,
        prediction: Prediction | None,
        refused: Mapping[str, str],
        is_drawn: Callable[[Mapping], bool],
        num_samples: int,
    ) -> None:
        """Write a part.

        Args:
          number: its number.
          run: the run that made it.
          prediction: the prediction; None if no cluster could be predicted.
          refused: by cluster, why it could not be predicted.
          is_drawn: whether the cluster of a row of the table gets a figure.
          num_samples: samples of each posterior; 0 for none.
        """
        temporary = self.folder / ".part"
        shutil.rmtree(temporary, ignore_errors=True)
        (temporary / _FIGURES).mkdir(parents=True)
        report: dict = {"refused": dict(refused), "notes": [], "notes_of_cluster": {}, "figures": {}}
        if prediction is not None:
            prediction.table.to_parquet(temporary / _TABLE, index=False)
            table_formats.stars_table(prediction).to_parquet(temporary / STARS, index=False)
            if num_samples:
                table_formats.write_samples(prediction.posterior, temporary / SAMPLES, num_samples)
            report["notes"] = list(prediction.notes)
            report["notes_of_cluster"] = {name: one.notes for name, one in prediction.members.items()}
            for index, row in enumerate(prediction.table.to_dict("records")):
                if is_drawn(row):
                    members, posterior = prediction.members[row["cluster"]], prediction.posterior
                    figure = cluster_figure.draw_cluster(
                        run, members, posterior, row["cluster"], row["is_flagged"]
                    )
                    report["figures"][row["cluster"]] = f"{index}.png"
                    style.save_figure(figure, temporary / _FIGURES / f"{index}.png")
        files.write_json(temporary / _REPORT, report)
        os.replace(temporary, self.folder / f"part-{number:05}")

    def table(self) -> pd.DataFrame:
        """Return the prediction table of all parts."""
        tables = [pd.read_parquet(part / _TABLE) for part in self._parts() if (part / _TABLE).exists()]
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()

    def reports(self) -> list[dict]:
        """Return the refused clusters and the notes of all parts."""
        return [files.read_json(part / _REPORT) for part in self._parts()]

    def figures(self) -> dict[str, Path]:
        """Return the figures by cluster."""
        return {
            cluster: part / _FIGURES / name
            for part, report in zip(self._parts(), self.reports(), strict=True)
            for cluster, name in report["figures"].items()
        }

    def write_joined(self, name: str, path: Path) -> None:
        """Write the rows of a table of all parts to one file, a part at a time."""
        own = [part / name for part in self._parts() if (part / name).exists()]
        schema = _common_schema([parquet.read_schema(one) for one in own])
        with parquet.ParquetWriter(path, schema) as writer:
            for one in own:
                rows = parquet.read_table(one)
                columns = [
                    rows[field.name].cast(field.type)
                    if field.name in rows.column_names
                    else pa.nulls(len(rows), field.type)
                    for field in schema
                ]
                writer.write_table(pa.Table.from_arrays(columns, schema=schema))

    def joined_names(self) -> list[str]:
        """Return the names of the tables that `write_joined` joins."""
        own = list(self._parts())
        return [name for name in (STARS, SAMPLES) if any((part / name).exists() for part in own)]

    def num_cluster(self) -> int:
        """Return the number of clusters of all parts."""
        return sum(len(one["refused"]) + len(one["notes_of_cluster"]) for one in self.reports())

    def remove(self) -> None:
        """Remove all parts, but not the lock of the folder."""
        kept = (directory_lock.LOCK, directory_lock.OWNER)
        # What they are parts of last, so that they are known if this is interrupted.
        paths = sorted(self.folder.iterdir(), key=lambda path: path.name == _INPUTS)
        for path in paths:
            if path.name not in kept:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _parts(self) -> Iterator[Path]:
        for number in self.numbers():
            yield self.folder / f"part-{number:05}"


def _common_schema(schemas: list[pa.Schema]) -> pa.Schema:
    """Return a schema that all can be cast to: identities are numbers in some catalogues, text in others."""
    empty = table_formats.concatenate([schema.empty_table().to_pandas() for schema in schemas])
    common = pa.Schema.from_pandas(empty, preserve_index=False)
    described = {field.name: field for schema in schemas for field in schema}
    fields = [field.with_metadata(described[field.name].metadata) for field in common]
    metadata = {**(schemas[0].metadata or {}), **(common.metadata or {})}
    for key in metadata:
        if key.startswith(_LONGEST):
            metadata[key] = max((schema.metadata[key] for schema in schemas), key=int)
    return pa.schema(fields, metadata=metadata)
