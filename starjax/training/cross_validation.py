"""Members that were each trained without a fold of the runs, put together as one run (see `data.folds`).

Each run of training and validation is validated on by members that did not learn from it, so that errors of all these
runs are known, and all of them are learned from.
"""

import dataclasses

import jax
import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from starjax import errors
from starjax.datasets.dataset import Dataset
from starjax.runs import integrity, member_progress, metrics_log, run_config
from starjax.runs.checkpoints import Checkpoints
from starjax.runs.directory import RunDirectory, check_left_out
from starjax.runs.member_progress import MemberProgress
from starjax.runtime import devices
from starjax.training import prepare, write_results
from starjax.training.trainer import abstract_arrays


class CrossValidationError(errors.StarjaxError):
    """Folds that cannot be put together."""


@dataclasses.dataclass(frozen=True)
class TrainedFold:
    """The M members that left out one fold, trained, validated on it and tested.

    Attributes:
      layout: how the run that trained them lay on its devices (see `prepare.Setup`).
      arrays, progress: as `train.fit` returns them; the arrays on the host.
      output_MxNxO: what they give for all samples of the fold, 'val', and of 'test'.
      table: of them (see `results.members_table`).
      history: rows of their epochs (see `record`).
    """

    layout: dict
    arrays: dict
    progress: tuple[MemberProgress, ...]
    output_MxNxO: dict[str, np.ndarray]
    table: pd.DataFrame
    history: list[dict]


def read_fold(config: ConfigDict, run_dir: RunDirectory, stored: Dataset) -> TrainedFold:
    """The members of a run that is finished.

    Args:
      config, place: of the run of the fold.
      stored: its data set, as `prepare.read` gives it.

    Raises:
      CrossValidationError, ExperimentError: a member of it failed; it left out other runs than are left out now.
    """
    described = integrity.read_finished_record(run_dir)
    data, chosen = prepare.load(config, described, stored)
    check_left_out(run_dir, described, config, data)
    mesh = prepare.make_mesh(config, chosen)
    with Checkpoints(run_dir.checkpoints, is_read_only=True) as checkpoints:
        found = checkpoints.restore_last(abstract_arrays(config, mesh))
    arrays, progress = found.arrays, member_progress.from_checkpoint(found.content)
    failed = [number for number, member in enumerate(progress) if member.is_failed]
    if failed:
        # Intervals are calibrated on what as many members say of each run.
        raise CrossValidationError(
            f"{run_dir.path}: the loss of its member {failed[0]} was not finite, and folds need all of their members: "
            f"lower config.optim.learning_rate (here {config.optim.learning_rate}), with another config.name or "
            "config.resume=False"
        )
    micro_batch_size = described["layout"]["micro_batch_size"]
    evaluator = prepare.make_evaluator(config, data, mesh, chosen, micro_batch_size)
    output_MxNxO = {split: evaluator.predict(arrays["best"], split)[0] for split in ("val", "test")}
    return TrainedFold(
        described["layout"],
        jax.tree.map(devices.gather, arrays),
        progress,
        output_MxNxO,
        write_results.members_table(config, evaluator, output_MxNxO["val"], progress),
        metrics_log.rows_until(run_dir.metrics, max(member.epoch for member in progress)),
    )


def combine_folds(
    config: ConfigDict, stored: Dataset, run_dir: RunDirectory, folds: list[TrainedFold]
) -> None:
    """Makes one run of the members of all folds, calibrated on what they left out, and writes all of it.

    Args:
      config, place: of the whole run.
      stored: its data set, as `prepare.read` gives it.
    """
    data, _ = prepare.load(config, stored=stored)  # that validates on all folds
    layout, num_member = folds[0].layout, run_config.size_of_fold(config)
    mesh = prepare.make_mesh(config, layout["placement"])
    progress = tuple(member for fold in folds for member in fold.progress)
    with Checkpoints(run_dir.checkpoints) as checkpoints:
        arrays = jax.tree.map(lambda *parts: np.concatenate(parts), *(fold.arrays for fold in folds))
        # One that is there is of an attempt that did not come to its end, and perhaps of other folds.
        checkpoints.clear()
        last = max(member.epoch for member in progress)
        checkpoints.save(last, devices.shard_members(arrays, mesh), member_progress.to_checkpoint(progress))
    # Members are called by their numbers among all.
    history = [
        row | {"member": number * num_member + row["member"]}
        for number, fold in enumerate(folds)
        for row in fold.history
    ]
    if devices.is_main_process():
        metrics_log.write_rows(
            run_dir.metrics, sorted(history, key=lambda row: (row["epoch"], row["member"]))
        )
    table = pd.concat(fold.table.assign(fold=number) for number, fold in enumerate(folds))
    table["member"] += table["fold"] * num_member
    output_ExNxO = {
        # As if of as many members as leave out a fold: each snapshot is told by those that did not learn from its run.
        "val": np.concatenate([fold.output_MxNxO["val"] for fold in folds], axis=1),
        "test": np.concatenate([fold.output_MxNxO["test"] for fold in folds]),
    }
    evaluator = prepare.make_evaluator(config, data, mesh, layout["placement"], layout["micro_batch_size"])
    write_results.write_tested(
        run_dir,
        write_results.snapshot_evaluator(config, data, evaluator),
        output_ExNxO,
        # Losses on different runs do not compare.
        table.sort_values("member", ignore_index=True),
        progress,
    )
