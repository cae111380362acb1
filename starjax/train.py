"""Training: the loop over epochs, early stopping and resuming."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from starjax import assemble, distributed, ensemble, errors
from starjax import progress as progress_bars
from starjax.checkpoint import Checkpoints
from starjax.data import placement
from starjax.evaluate import Evaluator
from starjax.record import Recorder
from starjax.stopping import Progress

# Calls of the device an epoch is made in: what a progress bar can show of it.
CALLS_PER_EPOCH = 16


class TrainingError(errors.StarjaxError):
    """Training that cannot go on."""


def fit(
    config: ConfigDict,
    trainer: assemble.Trainer,
    source: placement.Source,
    evaluator: Evaluator,
    checkpoints: Checkpoints,
    recorder: Recorder,
) -> tuple[dict, tuple[Progress, ...]]:
    """Trains until the last epoch or until patience runs out, from the last checkpoint if there is one.

    A member whose patience has run out, or whose loss is not finite, rests while the others go on.

    Args:
      source: the training samples.
      evaluator: predicts the validation samples after each epoch.
      checkpoints, recorder: where each epoch is kept and told.

    Returns:
      `{'state', 'best'}`: the last state, and the averaged parameters of each member's best epoch; and how far
      each member went.

    Raises:
      TrainingError: no member has a finite loss. The checkpoints of the epochs before stand.
    """
    max_epochs, patience = config.train.max_epochs, config.train.patience
    state, progress = trainer.initial_state, (Progress(),) * len(trainer.members)
    # The first epoch is better than none, so that these are never used.
    arrays = {"state": state, "best": jax.tree.map(jnp.zeros_like, state["params"])}
    if checkpoints.latest is not None:
        arrays, stored = checkpoints.restore(
            checkpoints.latest, like={"state": state, "best": state["params"]}
        )
        progress = tuple(Progress(**member) for member in stored)
    recorder.start(max(p.epoch for p in progress))
    while any(is_active := [not p.is_over(max_epochs, patience) for p in progress]):
        epoch = max(p.epoch for p in progress) + 1
        with recorder.timed_epoch(epoch, trainer.num_step) as advance:
            state, train_metrics = train_epoch(
                trainer, arrays["state"], source, epoch - 1, is_active, advance
            )
        averaged = trainer.average(state)
        val_metrics = _validate(config, trainer, evaluator, averaged)
        progress = tuple(
            _after(p, train, val) if active else p
            for p, active, train, val in zip(progress, is_active, train_metrics, val_metrics, strict=True)
        )
        _check_failed(config, trainer.members, progress, epoch, train_metrics, val_metrics)
        arrays = {
            "state": state,
            "best": _where(np.array([p.best_epoch == epoch for p in progress]), averaged, arrays["best"]),
        }
        learning_rate = trainer.learning_rate(epoch * trainer.num_step).tolist()
        rows = [
            {"member": i, "learning_rate": learning_rate[i], "train": train_metrics[i], "val": val_metrics[i]}
            for i, p in enumerate(progress)
            if p.epoch == epoch
        ]
        if rows:  # or the last ones have failed that were not at rest
            recorder.epoch(epoch, rows, progress)
        # After its rows of metrics, so that a checkpoint never lacks one.
        checkpoints.save(epoch, arrays, [dataclasses.asdict(p) for p in progress])
    last = max(p.epoch for p in progress)
    if distributed.is_main_process() and last < max_epochs:
        print(f"stopped after epoch {last}: no better validation loss for {patience} epochs", flush=True)
    return arrays, progress


def _after(progress: Progress, train: dict, val: dict) -> Progress:
    return progress.after(val["loss"], is_finite=all(map(math.isfinite, (val["loss"], *train.values()))))


@jax.jit
def _where(condition_E: jax.Array, new: dict, old: dict) -> dict:
    """`new` of the members for which the condition holds, `old` of the others."""
    return jax.vmap(lambda condition, *trees: jax.tree.map(functools.partial(jnp.where, condition), *trees))(
        condition_E, new, old
    )


def _validate(
    config: ConfigDict, trainer: assemble.Trainer, evaluator: Evaluator, params: dict
) -> list[dict]:
    """Loss and metrics of each member on the validation samples."""
    output_ExNxO, target_NxT = evaluator.predict(params, "val")
    delta = trainer.members.each("huber_delta", config.optim.huber_delta)
    return [
        {
            "loss": float(evaluator.head.loss(output_NxO, target_NxT, delta[i]).mean()),
            **evaluator.metrics(evaluator.points(output_NxO), target_NxT),
        }
        for i, output_NxO in enumerate(output_ExNxO)
    ]


def _check_failed(
    config, members: ensemble.Members, progress: Sequence[Progress], epoch: int, train: list, val: list
) -> None:
    """Says which members have just failed; TrainingError once all have."""
    rate = members.each("learning_rate", config.optim.learning_rate)
    new = [i for i, p in enumerate(progress) if p.is_failed and p.epoch == epoch - 1]
    for i in new:
        message = f"the loss is not finite in epoch {epoch} (training {train[i]['loss']}, validation {val[i]['loss']})"
        if len(progress) > 1 and distributed.is_main_process():
            print(
                f"member {i} is left out from here on, its learning rate was {rate[i]}: {message}", flush=True
            )
        if all(p.is_failed for p in progress):
            where = "optim"
            if "learning_rate" in members.hparams:
                where = "sweep" if config.sweep.learning_rate else "sweep.log_uniform"
            raise TrainingError(
                f"{message}; checkpoints of the epochs before stand. Lower config.{where}.learning_rate (here {rate[i]}), "
                "or look for extreme values in the features"
            )


def train_epoch(
    trainer: assemble.Trainer,
    state,
    source: placement.Source,
    epoch: int,
    is_active,
    advance: Callable[[int], None],
) -> tuple[dict, list[dict]]:
    """One epoch in a few calls of many steps each.

    Returns:
      the state after it; of each member, means over its samples, NaN where it rests.
    """
    members = trainer.members.arrays() | {"is_active": np.asarray(is_active, np.int32)}
    members = distributed.share_members(members, trainer.mesh)
    most = math.ceil(trainer.num_step / CALLS_PER_EPOCH)
    sums = []
    for stars, num_step in source.chunks(epoch):
        if sums and source.placement == "streamed":
            # This chunk was sent while the device worked on the last one; the next is to wait until that is done.
            jax.block_until_ready(sums[-1])
        for first in range(0, num_step, most):
            num = min(most, num_step - first)
            state, sums_of_call = trainer.train_steps(
                state, members, stars, *map(np.int32, (epoch, first, num))
            )
            sums.append(sums_of_call)
            if progress_bars.is_terminal():
                jax.block_until_ready(sums_of_call)  # the bar should show what is done, not what is queued
            advance(num)
    totals = jax.tree.map(
        lambda *values: np.sum([distributed.gather(x) for x in values], axis=0, dtype=np.float64), *sums
    )
    num_sample = totals.pop("num_sample")
    with np.errstate(invalid="ignore"):
        means = {name: values / num_sample for name, values in totals.items()}
    return state, [{name: float(values[i]) for name, values in means.items()} for i in range(len(is_active))]
