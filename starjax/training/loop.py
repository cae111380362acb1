"""Training: the loop over epochs, early stopping and resuming."""

import dataclasses
import functools
import itertools
import math
import signal
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from starjax import errors
from starjax.evaluation.evaluator import Evaluator
from starjax.models.ensemble import EnsembleMembers
from starjax.runs import member_progress
from starjax.runs.checkpoints import CheckpointError, Checkpoints
from starjax.runs.member_progress import MemberProgress
from starjax.runs.metrics_log import MetricsLogger
from starjax.runtime import devices, log, signals
from starjax.sampling import device_placement
from starjax.training.epoch import EpochState, train_epoch
from starjax.training.trainer import Trainer

# How often a process was asked whether it is to go, over all that it trains: jax wants a number that only rises.
_COUNT = itertools.count(1)


class TrainingError(errors.StarjaxError):
    """Training that cannot go on."""


@dataclasses.dataclass(frozen=True)
class CheckpointState:
    """Where it is kept how far a run is.

    Attributes:
      checkpoints: after each epoch.
      interrupted: within an epoch, if the process was asked to go in it.
      recorder: what is told of each epoch.
    """

    checkpoints: Checkpoints
    interrupted: Checkpoints
    recorder: MetricsLogger


def fit(
    config: ConfigDict,
    trainer: Trainer,
    source: device_placement.Source,
    evaluator: Evaluator,
    kept: CheckpointState,
) -> tuple[dict, tuple[MemberProgress, ...]]:
    """Trains until the last epoch or until patience runs out, from where the run stands.

    A member whose patience has run out, or whose loss is not finite, rests while the others go on.

    Args:
      source: the training samples.
      evaluator: predicts the validation samples after each epoch.
      kept: where it is kept how far the run is.

    Returns:
      `{'state', 'best'}`: the last state, and the averaged parameters of each member's best epoch; and how far
      each member went.

    Raises:
      TrainingError: no member has a finite loss. The checkpoints of the epochs before stand.
      StoppedError: the process is asked to go, and has saved what it was at.
    """
    max_epochs, patience = config.train.max_epochs, config.train.patience
    arrays, progress, begun = _restore(trainer, kept)
    with signals.deferred() as deferral:
        is_asked_to_go = _stop_requested(deferral, kept.checkpoints)
        while any(is_active := [not p.is_over(max_epochs, patience) for p in progress]):
            number = max(p.epoch for p in progress) + 1
            part, begun = begun or EpochState(number, arrays["state"]), None
            with kept.recorder.shown_epoch(number, trainer.num_step) as advance:
                part = train_epoch(trainer, part, source, is_active, advance, is_asked_to_go)
            if not part.is_done:
                done = (number - 1) * trainer.num_step + part.num_step
                kept.interrupted.save(done, {"state": part.state}, part.content())
                kept.interrupted.wait()
                raise signals.StoppedError(
                    f"{number - 1} epochs stand, and {part.num_step} of {trainer.num_step} steps of the next",
                    deferral.number,
                )
            arrays, progress = _end_epoch(config, trainer, evaluator, kept, part, arrays, progress)
            if is_asked_to_go():
                break
    if deferral.number is not None:  # by now, or as the last epoch ended
        kept.checkpoints.wait()
        raise signals.StoppedError(f"{max(p.epoch for p in progress)} epochs stand", deferral.number)
    last = max(p.epoch for p in progress)
    if last < max_epochs:
        devices.log_on_main_process(f"stopped after epoch {last}: no better validation loss for {patience} epochs")
    return arrays, progress


def _restore(
    trainer: Trainer, kept: CheckpointState
) -> tuple[dict, tuple[MemberProgress, ...], EpochState | None]:
    """Arrays and progress where the run stands, and the epoch that is begun, if one is."""
    state = trainer.initial_state
    # The first epoch is better than none, so that these best are never used.
    arrays = {"state": state, "best": jax.tree.map(jnp.zeros_like, state["params"])}
    progress, last, metrics_sha256 = (MemberProgress(),) * len(trainer.members), 0, ""
    if found := kept.checkpoints.restore({"state": state, "best": state["params"]}):
        arrays, progress, last = found.arrays, member_progress.from_checkpoint(found.content), found.epoch
        metrics_sha256 = found.content["metrics_sha256"]
    kept.recorder.start(last, metrics_sha256)
    try:
        begun = kept.interrupted.restore({"state": state})
    except CheckpointError as error:
        log.warning(f"{error}; the epoch is begun again")
        begun = None
    if begun is None or begun.content["number"] != last + 1:
        return arrays, progress, None
    part = EpochState.restored(begun.arrays["state"], begun.content)
    devices.log_on_main_process(f"and after {part.num_step} of {trainer.num_step} steps of epoch {part.number}")
    return arrays, progress, part


def _stop_requested(deferral: signals.DeferredStop, checkpoints: Checkpoints) -> Callable[[], bool]:
    """Tells whether the process is to go; of many processes all at once, so that they have to ask as often."""

    def is_asked_to_go():
        if checkpoints.is_asked_to_go(next(_COUNT)):
            deferral.number = signal.SIGTERM
        return deferral.number is not None

    return is_asked_to_go


def _end_epoch(
    config,
    trainer,
    evaluator,
    kept: CheckpointState,
    part: EpochState,
    arrays: dict,
    progress: Sequence[MemberProgress],
) -> tuple[dict, tuple[MemberProgress, ...]]:
    """Validates, records and saves an epoch; arrays and progress after it."""
    averaged, train_metrics = trainer.average(part.state), part.means()
    val_metrics = _validate(config, trainer, evaluator, averaged)
    progress = tuple(
        _after(p, train, val) if not p.is_over(config.train.max_epochs, config.train.patience) else p
        for p, train, val in zip(progress, train_metrics, val_metrics, strict=True)
    )
    _check_failed(config, trainer.members, progress, part.number, train_metrics, val_metrics)
    is_best = np.array([p.best_epoch == part.number for p in progress])
    arrays = {"state": part.state, "best": _where(is_best, averaged, arrays["best"])}
    learning_rate = trainer.learning_rate(part.number * trainer.num_step).tolist()
    rows = [
        {"member": i, "learning_rate": learning_rate[i], "train": train_metrics[i], "val": val_metrics[i]}
        for i, p in enumerate(progress)
        if p.epoch == part.number
    ]
    if rows:  # or the last ones have failed that were not at rest
        kept.recorder.epoch(part.number, part.seconds, rows, progress)
    # After its rows of metrics, so that a checkpoint never lacks one.
    kept.checkpoints.save(
        part.number, arrays, member_progress.to_checkpoint(progress, kept.recorder.metrics_sha256)
    )
    return arrays, progress


def _after(progress: MemberProgress, train: dict, val: dict) -> MemberProgress:
    return progress.after(val["loss"], is_finite=all(map(math.isfinite, (val["loss"], *train.values()))))


@jax.jit
def _where(condition_E: jax.Array, new: dict, old: dict) -> dict:
    """`new` of the members for which the condition holds, `old` of the others."""
    return jax.vmap(lambda condition, *trees: jax.tree.map(functools.partial(jnp.where, condition), *trees))(
        condition_E, new, old
    )


def _validate(config: ConfigDict, trainer: Trainer, evaluator: Evaluator, params: dict) -> list[dict]:
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
    config, members: EnsembleMembers, progress: Sequence[MemberProgress], epoch: int, train: list, val: list
) -> None:
    """Says which members have just failed; TrainingError once all have."""
    rate = members.each("learning_rate", config.optim.learning_rate)
    new = [i for i, p in enumerate(progress) if p.is_failed and p.epoch == epoch - 1]
    for i in new:
        message = f"the loss is not finite in epoch {epoch} (training {train[i]['loss']}, validation {val[i]['loss']})"
        if len(progress) > 1 and devices.is_main_process():
            log.warning(f"member {i} is left out from here on, its learning rate was {rate[i]}: {message}")
        if all(p.is_failed for p in progress):
            where = "optim"
            if "learning_rate" in members.hparams:
                where = "sweep" if config.sweep.learning_rate else "sweep.log_uniform"
            raise TrainingError(
                f"{message}; checkpoints of the epochs before stand. Lower config.{where}.learning_rate (here {rate[i]}), "
                "or look for extreme values in the features"
            )
