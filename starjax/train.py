"""Training: the step on the device, the loop over epochs, early stopping and resuming."""

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from ml_collections import ConfigDict

from starjax import distributed, errors, functional, losses, memory, models, optim, step
from starjax import progress as progress_bars
from starjax.checkpoint import Checkpoints
from starjax.data import placement, sampler, symmetry
from starjax.data.dataset import Dataset
from starjax.evaluate import Evaluator
from starjax.record import Recorder

# Calls of the device an epoch is made in: what a progress bar can show of it.
CALLS_PER_EPOCH = 16


class TrainingError(errors.StarjaxError):
    """Training that cannot go on."""


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a run is, after `epoch` epochs; stored with every checkpoint.

    Attributes:
      best_epoch: the epoch, counted from 1, with the lowest validation loss; 0 before any.
      best_loss: that loss.
    """

    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = math.inf

    def after(self, loss: float) -> "Progress":
        """The progress after one more epoch, with validation loss `loss`."""
        if loss < self.best_loss:
            return Progress(self.epoch + 1, self.epoch + 1, loss)
        return dataclasses.replace(self, epoch=self.epoch + 1)

    def is_over(self, max_epochs: int, patience: int) -> bool:
        return self.epoch >= max_epochs or self.epoch - self.best_epoch >= patience


@dataclasses.dataclass(frozen=True)
class Trainer:
    """Everything compiled or placed for one run.

    Attributes:
      apply: the model as a pure function.
      initial_state: `{'params', 'opt_state', 'key'}`, replicated over the mesh.
      num_step: steps of an epoch.
      micro_batch_size: samples that a device sends through the model at a time.
      train_steps: `(state, stars, epoch, first_step, num_step) -> (state, sums)`, compiled; numbers are int32.
      schedule: learning rate by step.
    """

    apply: Callable
    initial_state: dict
    num_step: int
    micro_batch_size: int
    train_steps: Callable
    schedule: optax.Schedule


def sampler_config(config: ConfigDict) -> sampler.SamplerConfig:
    """What a training sample is."""
    data = config.data
    return sampler.SamplerConfig(
        num_star_per_sample=data.num_star_per_sample,
        num_sample_per_snapshot=data.num_sample_per_snapshot,
        drop_probability=data.drop_probability,
        drop_ratio_range=tuple(data.drop_ratio_range),
        feature_clip=data.feature_clip,
    )


def create(config: ConfigDict, data: Dataset, source: placement.Source, mesh: jax.sharding.Mesh) -> Trainer:
    """Initializes model and optimizer for the training samples of `source`, and compiles the steps."""
    hparams = {name: value for name, value in config.model.items() if name != "name"}
    init_key, run_key = jax.random.split(jax.random.key(config.seed))
    num_feature, num_target = len(config.data.feature_keys), len(config.data.target_keys)
    model = models.create(config.model.name, num_feature, num_target, init_key, **hparams)
    params, apply = functional.split(model)
    schedule = optim.learning_rate_schedule(
        config.optim.learning_rate,
        config.train.max_epochs * source.num_step,
        config.optim.warmup_epochs * source.num_step,
    )
    optimizer = optim.create(
        schedule, config.optim.weight_decay, config.optim.clip_norm, config.optim.average_decay
    )
    turn = None
    if config.data.random_turns:
        turn = symmetry.random_turn(config.data.feature_keys, data.feature_scalers)
    steps_of = functools.partial(
        step.make_train_steps,
        apply,
        optimizer,
        sampler_config(config),
        config.train.batch_size,
        config.optim.huber_delta,
        turn,
        is_sharded=source.is_sharded,
    )
    state = distributed.replicate(step.initial_state(params, optimizer, run_key), mesh)
    number = jax.ShapeDtypeStruct((), np.int32)
    sharded = (1,) if source.is_sharded else ()

    def compiled_with(micro_batch_size: int):
        steps = distributed.on_mesh(
            steps_of(micro_batch_size=micro_batch_size),
            mesh,
            sharded=sharded,
            num_argument=5,
            donate_argnums=0,
        )
        return steps.lower(state, source.like, number, number, number).compile()

    num_local = config.train.batch_size // mesh.size
    if config.train.micro_batch_size == "auto":
        micro_batch_size, train_steps = memory.largest_micro_batch(compiled_with, num_local, mesh)
    else:
        micro_batch_size = min(int(config.train.micro_batch_size), num_local)
        train_steps = compiled_with(micro_batch_size)
    return Trainer(apply, state, source.num_step, micro_batch_size, train_steps, schedule)


def fit(
    config: ConfigDict,
    trainer: Trainer,
    source: placement.Source,
    evaluator: Evaluator,
    checkpoints: Checkpoints,
    recorder: Recorder,
) -> tuple[dict, Progress]:
    """Trains until the last epoch or until patience runs out, from the last checkpoint if there is one.

    Args:
      source: the training samples.
      evaluator: predicts the validation samples after each epoch.
      checkpoints, recorder: where each epoch is kept and told.

    Returns:
      The state of the best epoch, its parameters averaged, and how far the run went.

    Raises:
      TrainingError: a loss is not finite. The checkpoints of the epochs before stand.
    """
    state, progress = trainer.initial_state, Progress()
    if checkpoints.latest is not None:
        state, stored = checkpoints.restore(checkpoints.latest, like=state)
        progress = Progress(**stored)
    recorder.start(progress.epoch)
    while not progress.is_over(config.train.max_epochs, config.train.patience):
        with recorder.timed_epoch(progress.epoch + 1, trainer.num_step) as advance:
            state, train_metrics = _train_epoch(trainer, state, source, progress.epoch, advance)
        prediction, target = evaluator.predict(averaged(config, state), "val")
        loss = float(losses.huber(prediction, target, config.optim.huber_delta).mean())
        progress = progress.after(loss)
        if not all(map(math.isfinite, (loss, *train_metrics.values()))):
            raise TrainingError(
                f"the loss is not finite in epoch {progress.epoch} (training {train_metrics['huber']}, validation "
                f"{loss}); checkpoints of the epochs before stand. Lower config.optim.learning_rate="
                f"{config.optim.learning_rate}, or look for extreme values in the features"
            )
        recorder.epoch(
            progress,
            learning_rate=float(trainer.schedule(progress.epoch * trainer.num_step)),
            train=train_metrics,
            val={"huber": loss, **evaluator.metrics(prediction, target)},
        )
        # After its row of metrics, so that a checkpoint never lacks one.
        is_best = progress.best_epoch == progress.epoch
        checkpoints.save(progress.epoch, state, dataclasses.asdict(progress), is_best=is_best)
    best, _ = checkpoints.restore(progress.best_epoch, like=state)
    return averaged(config, best), progress


def averaged(config: ConfigDict, state: dict) -> dict:
    """`state` with the average of its parameters: what is validated, tested and predicted with."""
    _, unravel = ravel_pytree(state["params"])
    return {**state, "params": unravel(optim.average(state["opt_state"], config.optim.average_decay))}


def _train_epoch(
    trainer: Trainer, state, source: placement.Source, epoch: int, advance: Callable[[int], None]
):
    """One epoch in a few calls of many steps each; the state after it, and means over its samples."""
    most = math.ceil(trainer.num_step / CALLS_PER_EPOCH)
    sums = []
    for stars, num_step in source.chunks(epoch):
        if sums and source.placement == "streamed":
            # This chunk was sent while the device worked on the last one; the next is to wait until that is done.
            jax.block_until_ready(sums[-1])
        for first in range(0, num_step, most):
            num = min(most, num_step - first)
            state, sums_of_call = trainer.train_steps(state, stars, *map(np.int32, (epoch, first, num)))
            sums.append(sums_of_call)
            if progress_bars.is_terminal():
                jax.block_until_ready(sums_of_call)  # the bar should show what is done, not what is queued
            advance(num)
    totals = jax.tree.map(lambda *values: sum(map(float, values)), *jax.device_get(sums))
    num_sample = totals.pop("num_sample")
    return state, {name: value / num_sample for name, value in totals.items()}
