"""Members that were each trained without a fold of the runs, tested as one (see `data.folds`).

Each run of training and validation is validated on by members that did not learn from it, so that errors of all these
runs are known, and all of them are learned from.
"""

import dataclasses

import jax
import numpy as np
import pandas as pd
from ml_collections import ConfigDict

from starjax import assemble, distributed, ensemble, errors, experiment, prepare, record, results
from starjax.checkpoint import Checkpoints
from starjax.data.dataset import Dataset
from starjax.evaluate import Evaluator
from starjax.experiment import Experiment
from starjax.stopping import Progress


class CrossValidationError(errors.StarjaxError):
    """Folds that cannot be put together."""


@dataclasses.dataclass(frozen=True)
class Fold:
    """The members that left out one fold, trained.

    Attributes:
      place, config, layout: of the run that trained them.
      evaluator: validates on the fold.
      arrays, progress: as `train.fit` returns them; the arrays on the host.
    """

    place: Experiment
    config: ConfigDict
    layout: dict
    evaluator: Evaluator
    arrays: dict
    progress: tuple[Progress, ...]

    def validate(self) -> np.ndarray:
        """What the members give for all samples of the fold, (M, n_sample, O)."""
        params = distributed.share_members(self.arrays["best"], self.evaluator.mesh)
        output_MxNxO, _ = self.evaluator.predict(params, "val")
        return output_MxNxO


def read(config: ConfigDict, place: Experiment) -> Fold:
    """The members of a run that is finished.

    Raises:
      CrossValidationError: a member of it failed.
    """
    described = experiment.read_finished(place)
    layout = described["layout"]
    data, chosen = prepare.load(config, described)
    mesh = prepare.make_mesh(config, chosen)
    with Checkpoints(place.checkpoints) as checkpoints:
        arrays, stored = checkpoints.restore(checkpoints.latest, assemble.abstract_arrays(config, mesh))
    progress = tuple(Progress(**member) for member in stored)
    failed = [number for number, member in enumerate(progress) if member.is_failed]
    if failed:
        # Intervals are calibrated on what as many members say of each run.
        raise CrossValidationError(
            f"{place.directory}: the loss of member {failed[0]} was not finite, and folds need all of their members: "
            f"lower config.optim.learning_rate (here {config.optim.learning_rate})"
        )
    evaluator = prepare.evaluator(config, data, mesh, chosen, layout["micro_batch_size"])
    return Fold(place, config, layout, evaluator, jax.tree.map(distributed.gather, arrays), progress)


def test(config: ConfigDict, data: Dataset, place: Experiment, folds: list[Fold]) -> None:
    """Makes one run of the members of all folds: calibrates it on the folds, tests it and writes all of it.

    Args:
      config, data, place: of the whole run; its data validate on all folds.
    """
    arrays = jax.tree.map(lambda *parts: np.concatenate(parts), *(fold.arrays for fold in folds))
    progress = tuple(member for fold in folds for member in fold.progress)
    layout = folds[0].layout
    mesh = prepare.make_mesh(config, layout["placement"])
    arrays = distributed.share_members(arrays, mesh)
    last = max(member.epoch for member in progress)
    with Checkpoints(place.checkpoints) as checkpoints:
        if checkpoints.latest is None:
            checkpoints.save(last, arrays, [dataclasses.asdict(member) for member in progress])
    if distributed.is_main_process():
        record.write_rows(place.metrics, _rows(config, folds))
    of_fold = [fold.validate() for fold in folds]
    evaluator = prepare.evaluator(config, data, mesh, layout["placement"], layout["micro_batch_size"])
    output_ExNxO = {
        # As if of as many members as leave out a fold: each snapshot is told by those that did not learn from its run.
        "val": np.concatenate(of_fold, axis=1),
        "test": evaluator.predict(arrays["best"], "test")[0],
    }
    table = pd.concat(
        results.members_table(fold.config, fold.evaluator, output, fold.progress).assign(fold=number)
        for number, (fold, output) in enumerate(zip(folds, of_fold, strict=True))
    )
    table["member"] += table["fold"] * ensemble.size_of_fold(config)
    table = table.sort_values(["val_loss", "member"], ignore_index=True)
    results.write_tested(place, results.judge_of(config, data, evaluator), output_ExNxO, table, progress)


def _rows(config: ConfigDict, folds: list[Fold]) -> list[dict]:
    """What all folds recorded of their epochs, members called by their numbers among all."""
    rows = []
    for number, fold in enumerate(folds):
        first = number * ensemble.size_of_fold(config)
        last = max(member.epoch for member in fold.progress)
        rows += [
            row | {"member": first + row["member"]} for row in record.rows_until(fold.place.metrics, last)
        ]
    return sorted(rows, key=lambda row: (row["epoch"], row["member"]))
