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

from starjax import (
    calibration,
    coverage,
    density_plots,
    distributed,
    ensemble,
    experiment,
    files,
    finished,
    lock,
    novelty,
    plots,
    snapshot_plots,
    snapshots,
    stopping,
)
from starjax import record as record_lib
from starjax.checkpoint import Checkpoints
from starjax.data import incompleteness
from starjax.data.dataset import Dataset
from starjax.evaluate import Evaluator
from starjax.experiment import Experiment
from starjax.stopping import Progress

# Metrics of a member that its table shows, of each target.
MEMBER_METRICS = ("mae", "r2")


def write(
    config: ConfigDict,
    place: Experiment,
    data: Dataset,
    layout: dict,
    evaluator: Evaluator,
    arrays: dict,
    progress: Sequence[Progress],
) -> None:
    """Tests what was trained and writes all of it; called by all processes.

    Args:
      layout: how the run lies on its devices (see `prepare.Setup`).
      arrays, progress: as `train.fit` returns them.
    """
    output_ExNxO = {split: evaluator.predict(arrays["best"], split)[0] for split in ("val", "test")}
    table = members_table(config, evaluator, output_ExNxO["val"], progress)
    judge = judge_of(config, data, evaluator)
    if ensemble.is_sweep(config) and len(progress) > 1:
        alone, best = best_of(place), int(table["member"].iloc[0])
        with lock.held(alone.directory) if distributed.is_main_process() else contextlib.nullcontext():
            _describe_best(alone, place, ensemble.lone(config, best), data, layout, progress[best], best)
            _write_best(alone, judge, arrays, progress, table, output_ExNxO)
    is_there = [not member.is_failed for member in progress]
    write_tested(place, judge, {split: x[is_there] for split, x in output_ExNxO.items()}, table, progress)


def judge_of(config: ConfigDict, data: Dataset, evaluator: Evaluator) -> snapshots.Judge:
    """What it takes to judge what `evaluator` gives."""
    some = novelty.some(data.shards["train"].num_snapshot)
    known = incompleteness.observed(config, data, "train", snapshots=some).shards["train"]
    return snapshots.Judge(evaluator, data, known)


def members_table(
    config: ConfigDict, evaluator: Evaluator, output_ExNxO: np.ndarray, progress: Sequence[Progress]
) -> pd.DataFrame:
    """One row a member, those of the lowest validation loss first and failed ones last.

    `output_ExNxO` is of the validation samples. The loss, `val_loss`, has config.optim.huber_delta for all of them, lest members be held against different ones.
    """
    members, target_NxT = ensemble.members(config), evaluator.targets("val")
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
    place: Experiment,
    judge: snapshots.Judge,
    output_ExNxO: dict[str, np.ndarray],
    table_of_members: pd.DataFrame,
    progress: Sequence[Progress],
) -> None:
    """Calibration, test tables and figures, and last the test metrics, whose presence says that the run is finished.

    Called by all processes.

    Args:
      output_ExNxO: what the E members that have not failed say of the samples of 'val' and 'test'; where they leave
        out folds, what as many as leave out one say of 'val', each sample told of by those that left it out.
      table_of_members: see `members_table`.
      progress: of all members.
    """
    if distributed.is_main_process():
        evaluator = judge.evaluator
        prediction_ExNxT, target_NxT = evaluator.points(output_ExNxO["test"]), evaluator.targets("test")
        if len(progress) > 1:
            with files.written_whole(place.members) as temporary:
                table_of_members.to_csv(temporary, index=False)
            _write_members(place, evaluator, output_ExNxO["test"], progress)
        table = evaluator.table(prediction_ExNxT, target_NxT, "test")
        figures = _write_judgement(place, judge, output_ExNxO)
        content = {
            "best_epoch": int(np.median([p.best_epoch for p in progress if not p.is_failed])),
            "epochs": max(p.epoch for p in progress),
            "members": len(prediction_ExNxT),
            "test": evaluator.metrics(prediction_ExNxT.mean(axis=0), target_NxT),
        }
        with files.written_whole(place.test_table) as temporary:
            table.to_parquet(temporary, index=False)
        figures |= {
            "predicted-against-true": density_plots.predicted_against_true(table, content["test"]),
            "training-curves": plots.training_curves(
                pd.read_csv(place.metrics), [p.best_epoch for p in progress], evaluator.head.loss_name
            ),
        }
        for name, figure in figures.items():
            plots.save(figure, place.figures / f"{name}.png")
        finished.mark(place, content)
    distributed.wait_for_all("test metrics")


def _write_judgement(place: Experiment, judge: snapshots.Judge, output_ExNxO: dict) -> dict[str, Figure]:
    """What it takes to answer with an uncertainty, and how good that is on the test snapshots; returns figures of it."""
    calibrated = judge.calibrate(output_ExNxO["val"])
    calibration.save(place.calibration, calibrated, judge.evaluator.target_keys)
    novelty.save(place.training_set, judge.reference)
    table = judge.table(output_ExNxO["test"], calibrated, "test")
    with files.written_whole(place.snapshots) as temporary:
        table.to_parquet(temporary, index=False)
    by_bins = coverage.by_bins(table, calibrated)
    with files.written_whole(place.coverage) as temporary:
        by_bins.to_csv(temporary, index=False)
    return {
        "errors": snapshot_plots.errors(table),
        "calibration": snapshot_plots.calibration_curves(table, by_bins),
    }


def best_of(place: Experiment) -> Experiment:
    """Where the best member of a sweep stands as a run of its own."""
    return Experiment(place.directory.with_name(f"{place.name}-best"))


def _write_members(
    place: Experiment, evaluator: Evaluator, output_ExNxO, progress: Sequence[Progress]
) -> None:
    """The test table of members that have not failed, one after another: all at once may be too large."""
    numbers = [number for number, member in enumerate(progress) if not member.is_failed]
    with files.written_whole(place.test_table_of_members) as temporary, contextlib.ExitStack() as stack:
        writer = None
        for number, output_NxO in zip(numbers, output_ExNxO, strict=True):
            rows = pa.Table.from_pandas(evaluator.table_of_member(evaluator.points(output_NxO), number))
            writer = writer or stack.enter_context(pq.ParquetWriter(temporary, rows.schema))
            writer.write_table(rows)


def _describe_best(alone, place, config, data, layout, progress: Progress, best: int) -> None:
    """Makes a run directory of the best member of the run at `place`, as if it had been trained alone by `config`."""
    record = experiment.find(alone)
    if record is not None:
        experiment.check_same(alone, record, config, data)
    distributed.wait_for_all("best member looked for")
    if distributed.is_main_process():
        if record is None:
            experiment.create(alone, config, data, layout)
        alone.test_metrics.unlink(missing_ok=True)  # of a sweep that was killed before its own were written
        experiment.save_scalers(alone, data)
        rows = record_lib.rows_until(place.metrics, progress.epoch)
        record_lib.write_rows(alone.metrics, [{**row, "member": 0} for row in rows if row["member"] == best])
    distributed.wait_for_all("directory of the best member")


def _write_best(alone, judge: snapshots.Judge, arrays, progress, table: pd.DataFrame, output_ExNxO) -> None:
    """Writes what the best member learned and how it does, as a run of its own would."""
    best = int(table["member"].iloc[0])
    one = slice(best, best + 1)
    own = jax.tree.map(lambda x: distributed.gather(x)[one], arrays)
    with Checkpoints(alone.checkpoints) as checkpoints:
        own = distributed.share_members(own, distributed.make_mesh())
        checkpoints.save(progress[best].epoch, own, stopping.content(progress[one]))
    own_outputs = {split: output[one] for split, output in output_ExNxO.items()}
    write_tested(alone, judge, own_outputs, table.iloc[:1].assign(member=0), progress[one])
