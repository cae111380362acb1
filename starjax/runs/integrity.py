"""Digests of the files of a finished run, by which damage is noticed."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from starjax.datasets.dataset import BUNDLES
from starjax.io import files
from starjax.runs.directory import RunDirectory


def mark_finished(run_dir: RunDirectory, test_metrics: dict) -> None:
    """Write the digests of all results, and last the test metrics, which mark the run as finished."""
    existing = {path for path in _result_files(run_dir) if path.is_file() and path.name != files.SUMS}
    # Known before the file is written: digests come first, and what marks the run as finished last.
    digest = hashlib.sha256(files.json_text(test_metrics).encode()).hexdigest()
    files.write_sums(run_dir.path, existing, {run_dir.test_metrics: digest})
    files.write_json(run_dir.test_metrics, test_metrics)


def _result_files(run_dir: RunDirectory) -> list[Path]:
    """Return all files that a run may write, except logs, traces and the runs of its folds."""
    results = [
        run_dir.config,
        run_dir.metrics,
        run_dir.members,
        run_dir.test_table,
        run_dir.test_table_of_members,
        run_dir.snapshots,
        run_dir.calibration,
        run_dir.coverage,
        run_dir.training_set,
        run_dir.params,
        *(run_dir.path / name for name in BUNDLES.values()),
    ]
    return [*results, *run_dir.figures.glob("*.png"), *run_dir.checkpoints.rglob("*")]


def damaged_files(run_dir: RunDirectory) -> tuple[Path, ...]:
    """Return the files of a finished run that are missing or have changed since it ended."""
    if not (run_dir.path / files.SUMS).is_file():
        return (run_dir.path / files.SUMS,)
    return tuple(files.damaged_files(run_dir.path))


def describe_damage(run_dir: RunDirectory, damaged: Sequence[Path]) -> str:
    """Name damaged files: each of them if they are few, else their folders."""
    names = [path.relative_to(run_dir.path).as_posix() for path in damaged]
    # A checkpoint consists of many files, whose names are of no use to a reader.
    if len(names) > 3:
        names = sorted({name.split("/")[0] for name in names})
    return f"{', '.join(names)} missing or changed since the run ended ({files.SUMS})"
