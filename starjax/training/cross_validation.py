"""Cross-validation: members that were each trained without one fold of the simulations form one ensemble.

Every simulation of training and validation is validated on by members that did not learn from it, so that the
errors of all these simulations are known, and all of them are learned from (see `datasets.folds`).
"""

import dataclasses

import jax
import numpy as np
import pandas as pd

from starjax import errors
from starjax.runs import member_progress, metrics_log, run_config
from starjax.runs.checkpoints import Checkpoints
from starjax.runtime import devices
from starjax.training import write_results
from starjax.training.loop import TrainState
from starjax.training.prepare import RunContext, make_evaluator, make_mesh, split_dataset
from starjax.training.trainer import abstract_arrays


class CrossValidationError(errors.StarjaxError):
    """Folds that cannot be combined."""


@dataclasses.dataclass(frozen=True)
class TrainedFold:
    """The M members that left out one fold: trained, validated on the fold, and tested.

    Attributes:
      layout: of their run (see `prepare.Setup`).
      trained: their state after the last epoch, the arrays on the host.
      output_MxNxO: their outputs for all samples of 'val', which is the fold, and of 'test'.
      table: see `write_results.members_table`.
      history: rows of metrics.csv.
    """

    layout: dict
    trained: TrainState
    output_MxNxO: dict[str, np.ndarray]
    table: pd.DataFrame
    history: list[dict]


def read_fold(run: RunContext) -> TrainedFold:
    """Return the members of a finished run that leaves out a fold.

    Raises:
      CrossValidationError: one of its members has failed.
      RunDirectoryError: the run is not finished, or left out other simulations than would be left out now.
    """
    config, layout = run.config, run.state.finished_record()["layout"]
    data = split_dataset(config, run.stored)
    # Finished, perhaps long ago: the calibration pairs its outputs with the simulations left out now.
    run.state.check_left_out(config, data)
    mesh = make_mesh(config, layout["placement"])
    with Checkpoints(run.run_dir.checkpoints, is_read_only=True) as checkpoints:
        saved = checkpoints.restore_last(abstract_arrays(config, mesh))
    progress = member_progress.from_checkpoint(saved.content)
    failed = [number for number, member in enumerate(progress) if member.is_failed]
    if failed:
        # The calibration needs equally many members for each simulation.
        raise CrossValidationError(
            f"{run.run_dir.path}: the loss of its member {failed[0]} was not finite, and folds need all of "
            f"their members: lower config.optim.learning_rate (here {config.optim.learning_rate}), with "
            "another config.name or config.resume=False"
        )
    evaluator = make_evaluator(config, data, layout["placement"], layout["micro_batch_size"])
    output_MxNxO = {split: evaluator.predict(saved.arrays["best"], split)[0] for split in ("val", "test")}
    trained = TrainState(jax.tree.map(devices.gather, saved.arrays), progress)
    return TrainedFold(
        layout=layout,
        trained=trained,
        output_MxNxO=output_MxNxO,
        table=write_results.members_table(config, evaluator, output_MxNxO["val"], progress),
        history=metrics_log.rows_until(run.run_dir.metrics, trained.epoch),
    )


def combine_folds(run: RunContext, folds: list[TrainedFold]) -> None:
    """Combine the members of all folds into one run, calibrated on what they left out, and write its results.

    Args:
      run: the whole.
    """
    config, run_dir = run.config, run.run_dir
    layout, fold_size = folds[0].layout, run_config.size_of_fold(config)
    trained = _save_checkpoint(run, folds)
    # Members are numbered over all folds.
    history = [
        row | {"member": number * fold_size + row["member"]}
        for number, fold in enumerate(folds)
        for row in fold.history
    ]
    if devices.is_main_process():
        history.sort(key=lambda row: (row["epoch"], row["member"]))
        metrics_log.write_rows(run_dir.metrics, history)
    table = pd.concat(fold.table.assign(fold=number) for number, fold in enumerate(folds))
    table["member"] += table["fold"] * fold_size
    output_ExNxO = {
        # As many members as leave out a fold: those that did not learn from a snapshot.
        "val": np.concatenate([fold.output_MxNxO["val"] for fold in folds], axis=1),
        "test": np.concatenate([fold.output_MxNxO["test"] for fold in folds]),
    }
    data = split_dataset(config, run.stored)  # 'val' is all folds
    evaluator = make_evaluator(config, data, layout["placement"], layout["micro_batch_size"])
    write_results.write_tested(
        run_dir,
        write_results.snapshot_evaluator(config, data, evaluator),
        output_ExNxO,
        # By number, since losses on different simulations cannot be compared.
        table.sort_values("member", ignore_index=True),
        trained.progress,
    )


def _save_checkpoint(run: RunContext, folds: list[TrainedFold]) -> TrainState:
    """Save the members of all folds as the one checkpoint of the whole run, and return them."""
    arrays = jax.tree.map(lambda *parts: np.concatenate(parts), *(fold.trained.arrays for fold in folds))
    trained = TrainState(arrays, tuple(member for fold in folds for member in fold.trained.progress))
    mesh = make_mesh(run.config, folds[0].layout["placement"])
    with Checkpoints(run.run_dir.checkpoints) as checkpoints:
        # A checkpoint that exists is that of an attempt that was interrupted, perhaps with other folds.
        checkpoints.clear()
        content = member_progress.to_checkpoint(trained.progress)
        checkpoints.save(trained.epoch, devices.shard_members(arrays, mesh), content)
    return trained
