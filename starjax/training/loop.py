"""The training loop: epochs, validation, early stopping, checkpoints and resuming."""

import dataclasses
import functools
import itertools
import math
import signal
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from starjax import errors
from starjax.runs import member_progress
from starjax.runs.checkpoints import CheckpointError, Checkpoints
from starjax.runs.member_progress import MemberProgress
from starjax.runs.metrics_log import MetricsLogger
from starjax.runtime import devices, log, signals
from starjax.training.epoch import EpochState, train_epoch
from starjax.training.prepare import Setup
from starjax.training.trainer import Trainer

# Counts all stop requests of this process, over all runs that it trains: jax needs increasing numbers.
_REQUESTS = itertools.count(1)


class TrainingError(errors.StarjaxError):
    """Training that failed."""


@dataclasses.dataclass(frozen=True)
class Storage:
    """Checkpoints and logs of a run.

    Attributes:
      checkpoints: after each epoch.
      interrupted: within an epoch, if the process is asked to stop there.
      metrics: of each epoch.
    """

    checkpoints: Checkpoints
    interrupted: Checkpoints
    metrics: MetricsLogger


@dataclasses.dataclass(frozen=True)
class TrainState:
    """The state of training between epochs.

    Attributes:
      arrays: `{'state', 'best'}`: parameters and optimizer state, and the averaged parameters of each
        member's best epoch.
      progress: of each member.
    """

    arrays: dict
    progress: tuple[MemberProgress, ...]

    @property
    def epoch(self) -> int:
        """The last epoch of all members; 0 before the first."""
        return max(member.epoch for member in self.progress)


def fit(config: ConfigDict, setup: Setup, storage: Storage) -> TrainState:
    """Train until the last epoch or until patience runs out, from the last saved state on.

    A member whose patience has run out, or whose loss is not finite, is inactive while the others continue.

    Raises:
      TrainingError: no member has a finite loss. Checkpoints of earlier epochs are kept.
      StoppedError: the process was asked to stop, and has saved its state.
    """
    trainer, max_epochs, patience = setup.trainer, config.train.max_epochs, config.train.patience
    train_state, epoch = _restore(trainer, storage)
    with signals.deferred() as deferred:
        stop_requested = _stop_requests(deferred, storage.checkpoints)
        while any(is_active := [not p.is_over(max_epochs, patience) for p in train_state.progress]):
            epoch = epoch or EpochState(train_state.epoch + 1, train_state.arrays["state"])
            with storage.metrics.show_progress(epoch.number, trainer.num_step) as advance:
                epoch = train_epoch(trainer, epoch, setup.source, is_active, advance, stop_requested)
            if not epoch.is_done:
                assert deferred.number is not None
                _save_interrupted(trainer, storage, epoch)
                raise signals.StoppedError(
                    f"{epoch.number - 1} epochs and {epoch.num_step} of {trainer.num_step} steps of the "
                    "next are saved",
                    deferred.number,
                )
            train_state, epoch = _end_epoch(config, setup, storage, epoch, train_state), None
            if stop_requested():
                break
    if deferred.number is not None:  # now, or while the last epoch ended
        storage.checkpoints.wait()
        raise signals.StoppedError(f"{train_state.epoch} epochs are saved", deferred.number)
    if train_state.epoch < max_epochs:
        devices.log_on_main_process(
            f"stopped after epoch {train_state.epoch}: no better validation loss for {patience} epochs"
        )
    return train_state


def _restore(trainer: Trainer, storage: Storage) -> tuple[TrainState, EpochState | None]:
    """Return the last saved state, and the interrupted epoch after it, if there is one."""
    state = trainer.initial_state
    # The first epoch is better than none, so these zeros are never used.
    arrays = {"state": state, "best": jax.tree.map(jnp.zeros_like, state["params"])}
    train_state = TrainState(arrays, (MemberProgress(),) * len(trainer.members))
    last, metrics_sha256 = 0, ""
    if saved := storage.checkpoints.restore({"state": state, "best": state["params"]}):
        train_state = TrainState(saved.arrays, member_progress.from_checkpoint(saved.content))
        last, metrics_sha256 = saved.epoch, saved.content["metrics_sha256"]
    storage.metrics.start(last, metrics_sha256)
    return train_state, _restore_interrupted(trainer, storage, last + 1)


def _restore_interrupted(trainer: Trainer, storage: Storage, number: int) -> EpochState | None:
    """Return the state within epoch `number`, if the run was interrupted there."""
    try:
        saved = storage.interrupted.restore({"state": trainer.initial_state})
    except CheckpointError as error:
        # Only part of an epoch is lost, so this does not end the run.
        log.warning(f"{error}; the epoch starts again")
        return None
    # A state of another epoch was left by an earlier interruption.
    if saved is None or saved.content["number"] != number:
        return None
    epoch = EpochState.from_checkpoint(saved.arrays["state"], saved.content)
    devices.log_on_main_process(f"and after {epoch.num_step} of {trainer.num_step} steps of epoch {number}")
    return epoch


def _save_interrupted(trainer: Trainer, storage: Storage, epoch: EpochState) -> None:
    # Numbered by all steps of the run, so that the latest state has the largest number.
    num_step = (epoch.number - 1) * trainer.num_step + epoch.num_step
    storage.interrupted.save(num_step, {"state": epoch.state}, epoch.to_checkpoint())
    storage.interrupted.wait()  # the process ends next


def _stop_requests(deferred: signals.DeferredStop, checkpoints: Checkpoints) -> Callable[[], bool]:
    """Return `() -> bool`: whether this process was asked to stop.

    With many processes all get the same answer, and must ask equally often.
    """

    def stop_requested():
        if checkpoints.stop_requested(next(_REQUESTS)):
            deferred.number = signal.SIGTERM
        return deferred.number is not None

    return stop_requested


def _end_epoch(
    config: ConfigDict, setup: Setup, storage: Storage, epoch: EpochState, before: TrainState
) -> TrainState:
    """Validate, log and save an epoch; return the state after it."""
    trainer, max_epochs, patience = setup.trainer, config.train.max_epochs, config.train.patience
    averaged, train_metrics = trainer.average(epoch.state), epoch.means()
    val_metrics = _validate(config, setup, averaged)
    # Inactive members are validated like the others, but make no progress.
    progress = tuple(
        p if p.is_over(max_epochs, patience) else _after(p, train, val)
        for p, train, val in zip(before.progress, train_metrics, val_metrics, strict=True)
    )
    _check_finite(config, trainer, progress, epoch.number, train_metrics, val_metrics)
    is_best = np.array([p.best_epoch == epoch.number for p in progress])
    arrays = {"state": epoch.state, "best": _where(is_best, averaged, before.arrays["best"])}
    learning_rate = trainer.learning_rate(epoch.number * trainer.num_step).tolist()
    rows = [
        {"member": i, "learning_rate": learning_rate[i], "train": train_metrics[i], "val": val_metrics[i]}
        for i, p in enumerate(progress)
        if p.epoch == epoch.number
    ]
    if rows:  # none if the last active members have just failed
        storage.metrics.log_epoch(epoch.number, epoch.seconds, rows, progress)
    # Saved after its metrics are logged, so that a checkpoint never lacks a row of them.
    content = member_progress.to_checkpoint(progress, storage.metrics.metrics_sha256)
    storage.checkpoints.save(epoch.number, arrays, content)
    return TrainState(arrays, progress)


def _after(progress: MemberProgress, train: dict, val: dict) -> MemberProgress:
    return progress.after(val["loss"], is_finite=all(map(math.isfinite, (val["loss"], *train.values()))))


@jax.jit
def _where(condition_E: jax.Array, new: dict, old: dict) -> dict:
    """Return `new` for the members that meet the condition, and `old` for the others."""
    return jax.vmap(lambda condition, *trees: jax.tree.map(functools.partial(jnp.where, condition), *trees))(
        condition_E, new, old
    )


def _validate(config: ConfigDict, setup: Setup, params: dict) -> list[dict]:
    """Return loss and metrics of each member on the validation samples."""
    evaluator = setup.evaluator
    output_ExNxO, target_NxT = evaluator.predict(params, "val")
    delta = setup.trainer.members.each("huber_delta", config.optim.huber_delta)
    return [
        {
            "loss": float(evaluator.head.loss(output_NxO, target_NxT, delta[i]).mean()),
            **evaluator.metrics(evaluator.points(output_NxO), target_NxT),
        }
        for i, output_NxO in enumerate(output_ExNxO)
    ]


def _check_finite(
    config: ConfigDict,
    trainer: Trainer,
    progress: tuple[MemberProgress, ...],
    epoch: int,
    train_metrics: list[dict],
    val_metrics: list[dict],
) -> None:
    """Report members whose loss is not finite any more; raise TrainingError if all members have failed."""
    members = trainer.members
    rate = members.each("learning_rate", config.optim.learning_rate)
    for i, member in enumerate(progress):
        if not (member.is_failed and member.epoch == epoch - 1):
            continue
        message = (
            f"the loss is not finite in epoch {epoch} (training {train_metrics[i]['loss']}, "
            f"validation {val_metrics[i]['loss']})"
        )
        if len(progress) > 1 and devices.is_main_process():
            log.warning(f"member {i} is left out from now on, its learning rate was {rate[i]}: {message}")
        if all(p.is_failed for p in progress):
            section = "optim"
            if "learning_rate" in members.hparams:
                section = "sweep" if config.sweep.learning_rate else "sweep.log_uniform"
            raise TrainingError(
                f"{message}; checkpoints of the epochs before are kept. Lower config.{section}.learning_rate "
                f"(here {rate[i]}), or look for extreme values in the features"
            )
