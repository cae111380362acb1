"""What a run leaves behind when it has been trained: tables, test metrics, figures; of many members also each one's."""

import contextlib
from collections.abc import Sequence

import jax
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from starjax.datasets.dataset import Dataset
from starjax.evaluation import calibration, coverage, out_of_distribution, snapshot_evaluation
from starjax.evaluation.evaluator import Evaluator
from starjax.io import directory_lock, files
from starjax.plotting import evaluation_figures, run_figures, style
from starjax.runs import integrity, member_progress, metrics_log, run_config
from starjax.runs.checkpoints import Checkpoints
from starjax.runs.directory import RunDirectory, check_same, create, find_record, save_scalers
from starjax.runs.member_progress import MemberProgress
from starjax.runtime import devices

# Metrics of a member that its table shows, of each target.
MEMBER_METRICS = ("mae", "r2")


def test_and_write(
    config: ConfigDict,
    run_dir: RunDirectory,
    data: Dataset,
    layout: dict,
    evaluator: Evaluator,
    arrays: dict,
    progress: Sequence[MemberProgress],
) -> None:
    """Tests what was trained and writes all of it; called by all processes.

    Args:
      layout: how the run lies on its devices (see `prepare.Setup`).
      arrays, progress: as `train.fit` returns them.
    """
    output_ExNxO = {split: evaluator.predict(arrays["best"], split)[0] for split in ("val", "test")}
    table = members_table(config, evaluator, output_ExNxO["val"], progress)
    judge = snapshot_evaluator(config, data, evaluator)
    if run_config.is_sweep(config) and len(progress) > 1:
        alone, best = best_of(run_dir), int(table["member"].iloc[0])
        with directory_lock.locked(alone.path) if devices.is_main_process() else contextlib.nullcontext():
            _describe_best(
                alone, run_dir, run_config.member_config(config, best), data, layout, progress[best], best
            )
            _write_best(alone, judge, arrays, progress, table, output_ExNxO)
    is_there = [not member.is_failed for member in progress]
    write_tested(run_dir, judge, {split: x[is_there] for split, x in output_ExNxO.items()}, table, progress)


def snapshot_evaluator(
    config: ConfigDict, data: Dataset, evaluator: Evaluator
) -> snapshot_evaluation.SnapshotEvaluator:
    """What it takes to judge what `evaluator` gives."""
    some = out_of_distribution.reference_snapshots(data.shards["train"].num_snapshot)
    known = run_config.apply_selection(config, data, "train", snapshots=some).shards["train"]
    return snapshot_evaluation.SnapshotEvaluator(evaluator, data, known)


def members_table(
    config: ConfigDict, evaluator: Evaluator, output_ExNxO: np.ndarray, progress: Sequence[MemberProgress]
) -> pd.DataFrame:
    """One row a member, those of the lowest validation loss first and failed ones last.

    `output_ExNxO` is of the validation samples. The loss, `val_loss`, has config.optim.huber_delta for all of them, lest members be held against different ones.
    """
    members, target_NxT = run_config.members(config), evaluator.targets("val")
    rows = []
    for i, member in enumerate(progress):
        row = {"member": i, "seed": members.seeds[i]}
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
    judge: snapshot_evaluation.SnapshotEvaluator,
    output_ExNxO: dict[str, np.ndarray],
    table_of_members: pd.DataFrame,
    progress: Sequence[MemberProgress],
) -> None:
    """Calibration, test tables and figures, and last the test metrics, whose presence says that the run is finished.

    Called by all processes.

    Args:
      output_ExNxO: what the E members that have not failed say of the samples of 'val' and 'test'; where they leave
        out folds, what as many as leave out one say of 'val', each sample told of by those that left it out.
      table_of_members: see `members_table`.
      progress: of all members.
    """
    if devices.is_main_process():
        evaluator = judge.evaluator
        prediction_ExNxT, target_NxT = evaluator.points(output_ExNxO["test"]), evaluator.targets("test")
        if len(progress) > 1:
            with files.atomic_write(run_dir.members) as temporary:
                table_of_members.to_csv(temporary, index=False)
            _write_members(run_dir, evaluator, output_ExNxO["test"], progress)
        table = evaluator.table(prediction_ExNxT, target_NxT, "test")
        figures = _write_judgement(run_dir, judge, output_ExNxO)
        content = {
            "best_epoch": int(np.median([p.best_epoch for p in progress if not p.is_failed])),
            "epochs": max(p.epoch for p in progress),
            "members": len(prediction_ExNxT),
            "test": evaluator.metrics(prediction_ExNxT.mean(axis=0), target_NxT),
        }
        with files.atomic_write(run_dir.test_table) as temporary:
            table.to_parquet(temporary, index=False)
        figures |= {
            "predicted-against-true": evaluation_figures.predicted_against_true(table, content["test"]),
            "training-curves": run_figures.training_curves(
                pd.read_csv(run_dir.metrics), [p.best_epoch for p in progress], evaluator.head.loss_name
            ),
        }
        for name, figure in figures.items():
            style.save_figure(figure, run_dir.figures / f"{name}.png")
        integrity.mark_finished(run_dir, content)
    devices.sync_processes("test metrics")


def _write_judgement(
    run_dir: RunDirectory, judge: snapshot_evaluation.SnapshotEvaluator, output_ExNxO: dict
) -> dict[str, Figure]:
    """What it takes to answer with an uncertainty, and how good that is on the test snapshots; returns figures of it."""
    calibrated = judge.calibrate(output_ExNxO["val"])
    calibration.save(run_dir.calibration, calibrated, judge.evaluator.target_keys)
    out_of_distribution.save(run_dir.training_set, judge.reference)
    table = judge.table(output_ExNxO["test"], calibrated, "test")
    with files.atomic_write(run_dir.snapshots) as temporary:
        table.to_parquet(temporary, index=False)
    by_bins = coverage.coverage_table(table, calibrated)
    with files.atomic_write(run_dir.coverage) as temporary:
        by_bins.to_csv(temporary, index=False)
    return {
        "errors": evaluation_figures.errors_by_property(table),
        "calibration": evaluation_figures.calibration_curves(table, by_bins),
    }


def best_of(run_dir: RunDirectory) -> RunDirectory:
    """Where the best member of a sweep stands as a run of its own."""
    return RunDirectory(run_dir.path.with_name(f"{run_dir.name}-best"))


def _write_members(
    run_dir: RunDirectory, evaluator: Evaluator, output_ExNxO, progress: Sequence[MemberProgress]
) -> None:
    """The test table of members that have not failed, one after another: all at once may be too large."""
    numbers = [number for number, member in enumerate(progress) if not member.is_failed]
    with files.atomic_write(run_dir.test_table_of_members) as temporary, contextlib.ExitStack() as stack:
        writer = None
        for number, output_NxO in zip(numbers, output_ExNxO, strict=True):
            rows = pa.Table.from_pandas(evaluator.table_of_member(evaluator.points(output_NxO), number))
            writer = writer or stack.enter_context(pq.ParquetWriter(temporary, rows.schema))
            writer.write_table(rows)


def _describe_best(alone, run_dir, config, data, layout, progress: MemberProgress, best: int) -> None:
    """Makes a run directory of the best member of the run at `place`, as if it had been trained alone by `config`."""
    record = find_record(alone)
    if record is not None:
        check_same(alone, record, config, data)
    devices.sync_processes("best member looked for")
    if devices.is_main_process():
        if record is None:
            create(alone, config, data, layout)
        alone.test_metrics.unlink(missing_ok=True)  # of a sweep that was killed before its own were written
        save_scalers(alone, data)
        rows = metrics_log.rows_until(run_dir.metrics, progress.epoch)
        metrics_log.write_rows(alone.metrics, [{**row, "member": 0} for row in rows if row["member"] == best])
    devices.sync_processes("directory of the best member")


def _write_best(
    alone, judge: snapshot_evaluation.SnapshotEvaluator, arrays, progress, table: pd.DataFrame, output_ExNxO
) -> None:
    """Writes what the best member learned and how it does, as a run of its own would."""
    best = int(table["member"].iloc[0])
    one = slice(best, best + 1)
    own = jax.tree.map(lambda x: devices.gather(x)[one], arrays)
    with Checkpoints(alone.checkpoints) as checkpoints:
        own = devices.shard_members(own, devices.make_mesh())
        checkpoints.save(progress[best].epoch, own, member_progress.to_checkpoint(progress[one]))
    own_outputs = {split: output[one] for split, output in output_ExNxO.items()}
    write_tested(alone, judge, own_outputs, table.iloc[:1].assign(member=0), progress[one])
