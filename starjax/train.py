"""Training: the step on the device, the loop over epochs, early stopping and resuming."""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from ml_collections import ConfigDict

from starjax import distributed, errors, functional, losses, models, optim
from starjax import progress as progress_bars
from starjax.checkpoint import Checkpoints
from starjax.data import sampler, symmetry
from starjax.data.dataset import Dataset
from starjax.evaluate import Evaluator
from starjax.record import Recorder

# Calls of the device an epoch is made in: what a progress bar can show of it.
CALLS_PER_EPOCH = 16
# What is summed over the samples of an epoch.
SUMS = ("huber", "mae", "mse", "num_sample")


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
      train_steps: `(state, stars, epoch, first_step, num_step) -> (state, sums)`.
      schedule: learning rate by step.
    """

    apply: Callable
    initial_state: dict
    num_step: int
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


def create(config: ConfigDict, data: Dataset, mesh: jax.sharding.Mesh) -> Trainer:
    """Initializes model and optimizer for the training set of `data`."""
    hparams = {name: value for name, value in config.model.items() if name != "name"}
    init_key, run_key = jax.random.split(jax.random.key(config.seed))
    num_feature, num_target = len(config.data.feature_keys), len(config.data.target_keys)
    model = models.create(config.model.name, num_feature, num_target, init_key, **hparams)
    params, apply = functional.split(model)
    draws = sampler_config(config)
    num_step = math.ceil(sampler.num_sample(data.shards["train"], draws) / config.train.batch_size)
    schedule = optim.learning_rate_schedule(
        config.optim.learning_rate, config.train.max_epochs * num_step, config.optim.warmup_epochs * num_step
    )
    optimizer = optim.create(
        schedule, config.optim.weight_decay, config.optim.clip_norm, config.optim.average_decay
    )
    state = initial_state(params, optimizer, run_key)
    turn = None
    if config.data.random_turns:
        turn = symmetry.random_turn(config.data.feature_keys, data.feature_scalers)
    steps = make_train_steps(
        apply,
        optimizer,
        draws,
        config.train.batch_size,
        config.optim.huber_delta,
        turn,
    )
    return Trainer(
        apply=apply,
        initial_state=distributed.replicate(state, mesh),
        num_step=num_step,
        train_steps=distributed.on_mesh(steps, mesh, donate_argnums=0),
        schedule=schedule,
    )


def initial_state(params: dict, optimizer: optax.GradientTransformation, key: jax.Array) -> dict:
    """What a run changes as it goes, and the key that everything it draws comes from.

    The optimizer sees all parameters as one vector: many small arrays cost more to start on than to work through.
    """
    opt_state = optimizer.init(ravel_pytree(params)[0])
    return {"params": params, "opt_state": opt_state, "key": jax.random.key_data(key)}


def make_train_steps(
    apply,
    optimizer,
    config: sampler.SamplerConfig,
    batch_size: int,
    huber_delta: float,
    turn: Callable | None = None,
) -> Callable:
    """Many training steps as one function of arrays, to be run `on_mesh`.

    Each sample is turned by `turn` (see `symmetry.random_turn`), if given.

    The last step of an epoch may have fewer samples than `batch_size`; its empty rows weigh nothing.

    Returns:
      `(state, stars, epoch, first_step, num_step) -> (state, sums)`, with sums over the real samples
      of the steps done: huber, mae, mse (means over targets) and num_sample.
    """

    def train_steps(state, stars, epoch, first_step, num_step):
        num_sample = sampler.num_sample(stars, config)
        order_key = sampler.purpose_key(state["key"], "order")
        sample_key = sampler.purpose_key(state["key"], "train")
        row_B = distributed.local_rows(batch_size)

        def step(number, carry):
            state, sums = carry
            position_B = number * batch_size + row_B
            weight_B = (position_B < num_sample).astype(jnp.float32)
            pair_B = sampler.shuffled_pair(order_key, epoch, position_B, num_sample)
            features_BxKxF, mask_BxK, target_BxT, dropout_key_B = sampler.draw_batch(
                stars, sample_key, epoch, pair_B, config, turn
            )

            def loss(params_P):
                prediction_BxT = apply(
                    unravel(distributed.vary(params_P)), features_BxKxF, mask_BxK, dropout_key_B
                )
                error_BxT = prediction_BxT - target_BxT
                of_sample = (
                    losses.huber(prediction_BxT, target_BxT, huber_delta),
                    jnp.abs(error_BxT).mean(axis=-1),
                    (error_BxT**2).mean(axis=-1),
                    jnp.ones_like(weight_B),
                )
                # Summed over devices before it is differentiated, so that the gradient is that of
                # the global mean on any number of devices.
                totals = distributed.total(jnp.stack([(weight_B * x).sum() for x in of_sample]))
                return totals[0] / totals[-1], totals

            params_P, unravel = ravel_pytree(state["params"])
            gradient_P, totals = jax.grad(loss, has_aux=True)(params_P)
            updates_P, opt_state = optimizer.update(gradient_P, state["opt_state"], params_P)
            params = unravel(optax.apply_updates(params_P, updates_P))
            return {**state, "params": params, "opt_state": opt_state}, sums + totals

        zeros = jnp.zeros(len(SUMS))
        state, sums = jax.lax.fori_loop(first_step, first_step + num_step, step, (state, zeros))
        return state, dict(zip(SUMS, sums, strict=True))

    return train_steps


def fit(
    config: ConfigDict,
    trainer: Trainer,
    stars: dict[str, sampler.Stars],
    evaluator: Evaluator,
    checkpoints: Checkpoints,
    recorder: Recorder,
) -> tuple[dict, Progress]:
    """Trains until the last epoch or until patience runs out, from the last checkpoint if there is one.

    Args:
      stars: the placed shards of train and val.
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
            state, train_metrics = _train_epoch(trainer, state, stars["train"], progress.epoch, advance)
        prediction, target = evaluator.predict(averaged(config, state), stars["val"], "val")
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


def _train_epoch(trainer: Trainer, state, stars, epoch: int, advance: Callable[[int], None]):
    """One epoch in a few calls of many steps each; the state after it, and means over its samples."""
    num_step_per_call = math.ceil(trainer.num_step / CALLS_PER_EPOCH)
    sums = []
    for first in range(0, trainer.num_step, num_step_per_call):
        num = min(num_step_per_call, trainer.num_step - first)
        state, sums_of_call = trainer.train_steps(state, stars, epoch, first, num)
        sums.append(sums_of_call)
        if progress_bars.is_terminal():
            jax.block_until_ready(sums_of_call)  # the bar should show what is done, not what is queued
        advance(num)
    totals = jax.tree.map(lambda *values: sum(map(float, values)), *jax.device_get(sums))
    num_sample = totals.pop("num_sample")
    return state, {name: value / num_sample for name, value in totals.items()}
