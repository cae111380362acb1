"""The results of a trained run: calibration, test tables, metrics and figures."""

import contextlib
import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from starjax.datasets.dataset import Dataset
from starjax.evaluation import calibration, coverage, joint_calibration, out_of_distribution
from starjax.evaluation.evaluator import Evaluator
from starjax.evaluation.snapshot_evaluation import SnapshotEvaluator
from starjax.io import directory_lock, files
from starjax.plotting import evaluation_figures, run_figures, style
from starjax.runs import integrity, member_progress, metrics_log, run_config
from starjax.runs.checkpoints import Checkpoints
from starjax.runs.directory import RunDirectory
from starjax.runs.member_progress import MemberProgress
from starjax.runs.state import inspect
from starjax.runtime import devices
from starjax.training.loop import TrainState
from starjax.training.prepare import RunContext, Setup

# Metrics of each target in the table of members.
MEMBER_METRICS = ("mae", "r2")


def test_and_write(run: RunContext, setup: Setup, trained: TrainState) -> None:
    """Test a trained run and write its results; called by all processes."""
    config, evaluator, progress = run.config, setup.evaluator, trained.progress
    output_ExNxO = {split: evaluator.predict(trained.arrays["best"], split)[0] for split in ("val", "test")}
    table = members_table(config, evaluator, output_ExNxO["val"], progress)
    snapshots = snapshot_evaluator(config, setup.data, evaluator)
    if run_config.is_sweep(config) and len(progress) > 1:
        # Before the results of the sweep: a finished sweep has its best member.
        best_dir = run.run_dir.best_member
        with directory_lock.locked(best_dir.path) if devices.is_main_process() else contextlib.nullcontext():
            _write_best_member(run, setup, trained, snapshots, output_ExNxO, table)
    has_succeeded = [not member.is_failed for member in progress]
    output_ExNxO = {split: output[has_succeeded] for split, output in output_ExNxO.items()}
    write_tested(run.run_dir, snapshots, output_ExNxO, table, progress)


def snapshot_evaluator(config: ConfigDict, data: Dataset, evaluator: Evaluator) -> SnapshotEvaluator:
    """Return the evaluator of snapshots for what `evaluator` predicts."""
    chosen = out_of_distribution.reference_snapshots(data.shards["train"].num_snapshot)
    known = run_config.to_lists(config, data, "train", snapshots=chosen).shards["train"]
    if run_config.observer(config) is not None:
        # Without the observer, the shard has stars and columns that no list has.
        data = dataclasses.replace(data, shards=data.shards | {"train": known})
    return SnapshotEvaluator(evaluator, data, known)


def members_table(
    config: ConfigDict, evaluator: Evaluator, output_ExNxO: np.ndarray, progress: Sequence[MemberProgress]
) -> pd.DataFrame:
    """Return one row per member, sorted by validation loss; failed members come last.

    The loss, `val_loss`, is that of config.optim.huber_delta for all members, so that they can be compared.

    Args:
      output_ExNxO: outputs for the validation samples.
    """
    members, target_NxT = run_config.members(config), evaluator.targets("val")
    rows = []
    for i, member in enumerate(progress):
        row: dict[str, float] = {"member": i, "seed": members.seeds[i]}
        row |= {name: values[i] for name, values in members.hparams.items()}
        row |= {"epochs": member.epoch, "best_epoch": member.best_epoch, "is_failed": member.is_failed}
        if not member.is_failed:
            loss = evaluator.head.loss(output_ExNxO[i], target_NxT, config.optim.huber_delta).mean()
            row["val_loss"] = float(loss)
            for key, by_units in evaluator.metrics(evaluator.points(output_ExNxO[i]), target_NxT).items():
                row |= {
                    f"val_{key}_{units}_{m}": by_units[units][m] for units in by_units for m in MEMBER_METRICS
                }
        rows.append(row)
    return pd.DataFrame(rows).sort_values(["val_loss", "member"], ignore_index=True)


def write_tested(
    run_dir: RunDirectory,
    snapshots: SnapshotEvaluator,
    output_ExNxO: dict[str, np.ndarray],
    table_of_members: pd.DataFrame,
    progress: Sequence[MemberProgress],
) -> None:
    """Write calibration, test tables and figures, and last the test metrics, which mark the run as finished.

    Called by all processes.

    Args:
      output_ExNxO: outputs of the E members that have not failed, for the samples of 'val' and 'test'. With
        cross-validation those of 'val' are out-of-fold outputs, with as many members as leave out a fold.
      table_of_members: see `members_table`.
      progress: of all members.
    """
    if devices.is_main_process():
        evaluator = snapshots.evaluator
        prediction_ExNxT, target_NxT = evaluator.points(output_ExNxO["test"]), evaluator.targets("test")
        if len(progress) > 1:
            with files.atomic_write(run_dir.members) as temporary:
                table_of_members.to_csv(temporary, index=False)
            _write_test_table_of_members(run_dir, evaluator, output_ExNxO["test"], progress)
        table = evaluator.table(prediction_ExNxT, target_NxT, "test")
        joint, figures = _write_posterior_quality(run_dir, snapshots, output_ExNxO)
        by_target = evaluator.metrics(prediction_ExNxT.mean(axis=0), target_NxT)
        test_metrics = {
            "best_epoch": int(np.median([p.best_epoch for p in progress if not p.is_failed])),
            "epochs": max(p.epoch for p in progress),
            "members": len(prediction_ExNxT),
            "test": by_target,
            "joint": joint,
        }
        with files.atomic_write(run_dir.test_table) as temporary:
            table.to_parquet(temporary, index=False)
        figures |= {
            "predicted-against-true": evaluation_figures.predicted_against_true(table, by_target),
            "training-curves": run_figures.training_curves(
                pd.read_csv(run_dir.metrics), [p.best_epoch for p in progress], evaluator.head.loss_name
            ),
        }
        for name, figure in figures.items():
            style.save_figure(figure, run_dir.figures / f"{name}.png")
        integrity.mark_finished(run_dir, test_metrics)
    devices.sync_processes("test metrics")


def _write_posterior_quality(
    run_dir: RunDirectory, snapshots: SnapshotEvaluator, output_ExNxO: dict
) -> tuple[dict[str, dict[str, float]], dict[str, Figure]]:
    """Write what posteriors need, and their quality on the test snapshots.

    Returns:
      The tests of the joint posterior (see `joint_calibration.CoverageCurve.summary`), and figures.
    """
    calibrated = snapshots.calibrate(output_ExNxO["val"])
    calibration.save(run_dir.calibration, calibrated, snapshots.evaluator.target_keys)
    out_of_distribution.save(run_dir.training_set, snapshots.reference)
    table = snapshots.table(output_ExNxO["test"], calibrated, "test")
    with files.atomic_write(run_dir.snapshots) as temporary:
        table.to_parquet(temporary, index=False)
    by_bins = coverage.coverage_table(table, calibrated)
    with files.atomic_write(run_dir.coverage) as temporary:
        by_bins.to_csv(temporary, index=False)
    curves = joint_calibration.coverage_curves(table, calibrated)
    return {test: curve.summary() for test, curve in curves.items()}, {
        "errors": evaluation_figures.errors_by_property(table),
        "calibration": evaluation_figures.calibration_curves(table, by_bins),
        "joint-calibration": evaluation_figures.joint_calibration_curves(curves),
    }


def _write_test_table_of_members(
    run_dir: RunDirectory, evaluator: Evaluator, output_ExNxO: np.ndarray, progress: Sequence[MemberProgress]
) -> None:
    """Write the test table of the members that have not failed, one after another to limit memory."""
    numbers = [number for number, member in enumerate(progress) if not member.is_failed]
    with files.atomic_write(run_dir.test_table_of_members) as temporary, contextlib.ExitStack() as stack:
        writer = None
        for number, output_NxO in zip(numbers, output_ExNxO, strict=True):
            rows = pa.Table.from_pandas(evaluator.table_of_member(evaluator.points(output_NxO), number))
            writer = writer or stack.enter_context(pq.ParquetWriter(temporary, rows.schema))
            writer.write_table(rows)


def _write_best_member(
    run: RunContext,
    setup: Setup,
    trained: TrainState,
    snapshots: SnapshotEvaluator,
    output_ExNxO: dict[str, np.ndarray],
    table: pd.DataFrame,
) -> None:
    """Write the best member of a sweep as a run of its own, as if it had been trained alone."""
    best = int(table["member"].iloc[0])
    best_dir, config = run.run_dir.best_member, run_config.member_config(run.config, best)
    state, progress = inspect(best_dir), trained.progress[best]
    state.check_trainable()
    state.check_same(config, setup.data)
    # All processes look at the directory before the main process writes to it.
    devices.sync_processes("run of the best member inspected")
    state.write_record(config, setup.data, setup.layout, run.source_sha256)
    if devices.is_main_process():
        # Test metrics exist if a sweep was killed before its own were written.
        best_dir.test_metrics.unlink(missing_ok=True)
        rows = metrics_log.rows_until(run.run_dir.metrics, progress.epoch)
        metrics_log.write_rows(
            best_dir.metrics, [row | {"member": 0} for row in rows if row["member"] == best]
        )
    own = slice(best, best + 1)  # keeps the axis of members
    arrays = jax.tree.map(lambda x: devices.gather(x)[own], trained.arrays)
    with Checkpoints(best_dir.checkpoints) as checkpoints:
        content = member_progress.to_checkpoint([progress])
        checkpoints.save(progress.epoch, devices.shard_members(arrays, devices.make_mesh()), content)
    own_outputs = {split: output[own] for split, output in output_ExNxO.items()}
    write_tested(best_dir, snapshots, own_outputs, table.iloc[:1].assign(member=0), [progress])
