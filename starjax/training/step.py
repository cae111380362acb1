"""The training step: draw samples, accumulate gradients, update the parameters."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from starjax.models import heads
from starjax.models.ensemble import map_members
from starjax.runtime import devices
from starjax.sampling import sampler

# Sums over the samples of an epoch.
SUMS = ("loss", "mae", "mse", "num_sample")
# Lengths to which samples of few stars may be padded on a CPU, relative to a whole sample. These leave 0.70
# of the attention weights of the packaged sample (docs/explanation/performance.md); more of them would take
# longer to compile.
CPU_PADDED_SHARES = (0.5, 0.75, 1)
# The same with the observer: most lists have few of the stars of their cluster. No other four lengths compute
# fewer positions with --config=gaia.
CPU_OBSERVED_SHARES = (0.1875, 0.375, 0.625, 1)


@dataclasses.dataclass(frozen=True)
class StepSpec:
    """Everything that a training step depends on, apart from arrays.

    Attributes:
      apply: the model as a pure function (see `factory.split_module`).
      head: meaning of the model's outputs.
      create_optimizer: `(hparams) -> optimizer`; the structure of its state does not depend on the
        hyperparameters.
      sampler: settings of training samples.
      batch_size: samples of a step over all devices.
      hparams: shared hyperparameters by name; a member's own ones take precedence. Needed are `huber_delta`,
        `dropout` (None: that of the model), and what `create_optimizer` reads.
      rotate: rotation of each sample (see `augmentation.random_rotation`), or None.
      micro_batch_size: samples that a device draws and sends through the model at a time, while their
        gradients are added up; None: its whole share of a step at once.
      is_sharded: whether each device has stars of its own (see `device_placement`).
      padded_lengths: see the function of that name; None: the length of a whole sample for all.
    """

    apply: Callable
    head: heads.PointHead | heads.MixtureHead
    create_optimizer: Callable[[dict], optax.GradientTransformation]
    sampler: sampler.SamplerConfig
    batch_size: int
    hparams: dict
    rotate: Callable | None = None
    micro_batch_size: int | None = None
    is_sharded: bool = False
    padded_lengths: tuple[int, ...] | None = None

    @property
    def lengths(self) -> tuple[int, ...]:
        """The lengths to which samples are padded, ascending."""
        return self.padded_lengths or (self.sampler.num_star_per_sample,)


def padded_lengths(
    num_star_per_sample: int, is_superlinear: bool, is_observed: bool = False
) -> tuple[int, ...]:
    """Return the lengths to which samples may be padded, ascending; the last one is that of a whole sample.

    The samples of a step are sorted by their number of stars, so that small samples are computed without the
    padded positions of large ones. This pays if the cost grows faster than the length and micro-batches
    follow one another anyway, as on a CPU (docs/explanation/performance.md). Each length is a program of its
    own to compile.
    """
    if not (is_superlinear or is_observed) or jax.default_backend() != "cpu":
        return (num_star_per_sample,)
    shares = CPU_OBSERVED_SHARES if is_observed else CPU_PADDED_SHARES
    return tuple(sorted({math.ceil(share * num_star_per_sample) for share in shares}))


def train_steps(spec: StepSpec, states, members, stars, epoch, first_step, num_step):
    """Run some training steps of all members; to be called inside `devices.on_mesh`.

    The last step of an epoch may have fewer samples than `batch_size`; the empty rows of its batch have no
    weight.

    Args:
      states: `{'params', 'opt_state'}`, with members along the first axis of each array.
      members: see `EnsembleMembers.arrays`; inactive members do no step.
      stars: a chunk of the training stars (see `device_placement.Source`).
      epoch: its number, from 0.
      first_step, num_step: the steps of the chunk to run.

    Returns:
      The new states, and a dict of sums over the real samples of these steps, (E,) each: loss, mae, mse
      (means over targets) and num_sample.
    """
    stars = devices.local_share(stars, spec.is_sharded)
    return map_members(
        lambda state, member: _train_member(spec, state, member, stars, epoch, first_step, num_step),
        states,
        members,
    )


def _train_member(spec: StepSpec, state, member, stars, epoch, first_step, num_step):
    """Run some training steps of one member."""
    hparams = spec.hparams | member["hparams"]
    samples = _EpochSamples.of_member(spec, member["key"], stars, epoch)

    def step(number, carry):
        state, sums = carry
        state, step_sums = train_step(spec, hparams, state, samples, number)
        return state, sums + step_sums

    # Like parameters, so that shard_map knows the sums to vary over members, as they do after a step.
    zeros = jnp.zeros_like(jax.tree.leaves(state["params"])[0], shape=len(SUMS))
    # A bound, and not a condition on each step: an inactive member costs nothing.
    last_step = first_step + num_step * member["is_active"]
    state, sums = jax.lax.fori_loop(first_step, last_step, step, (state, zeros))
    return state, dict(zip(SUMS, sums, strict=True))


def train_step(spec: StepSpec, hparams: dict, state: dict, samples: "_EpochSamples", number):
    """Run one step of one member.

    Args:
      hparams: of the member.
      number: of the step.

    Returns:
      The new state, and SUMS over the samples of the step.
    """
    gradients, sums = accumulate_gradients(spec, hparams, state["params"], samples, number)
    optimizer = spec.create_optimizer(hparams)
    updates, opt_state = optimizer.update(gradients, state["opt_state"], state["params"])
    return {"params": optax.apply_updates(state["params"], updates), "opt_state": opt_state}, sums


def accumulate_gradients(spec: StepSpec, hparams: dict, params: dict, samples: "_EpochSamples", number):
    """Return the gradient of the mean loss over the samples of a step, and SUMS over them.

    The gradient is added up as one vector (P,), first over the micro-batches of a device, then over devices,
    which exchange that one array instead of one for each parameter.
    """
    params_P, unravel = ravel_pytree(params)
    own_params = unravel(devices.copy_per_device(params_P))
    batches = samples.micro_batches(number)

    def add_micro_batch(i, totals):
        loss = functools.partial(_loss, spec, hparams, batches.is_real_NxM[i])
        draw = samples.drawer(batches.pair_NxM[i])
        gradients, sums = _gradient(loss, own_params, draw, spec.lengths, batches.length_N[i])
        return jax.tree.map(jnp.add, totals, (ravel_pytree(gradients)[0], sums))

    zeros = (jnp.zeros_like(params_P), jnp.zeros_like(params_P, shape=len(SUMS)))
    num_batch = len(batches.pair_NxM)
    totals = jax.lax.fori_loop(0, num_batch, add_micro_batch, devices.copy_per_device(zeros))
    gradient_P, sums = devices.sum_over_devices(totals)
    return unravel(gradient_P / sums[SUMS.index("num_sample")]), sums


class _MicroBatches(NamedTuple):
    """The samples of a device in one step: N micro-batches of M samples.

    Attributes:
      pair_NxM: numbers of the samples (see `sampler.shuffled_pair`).
      is_real_NxM: False for rows that fill up the last micro-batch or the last step.
      length_N: index of the length in `StepSpec.lengths` to which a micro-batch is padded.
    """

    pair_NxM: jax.Array
    is_real_NxM: jax.Array
    length_N: jax.Array


@dataclasses.dataclass(frozen=True)
class _EpochSamples:
    """The shuffled training samples of a member in one epoch.

    Attributes:
      row_NxM: rows of a batch that fall to this device; -1 for padding.
      num_row: rows of a batch, over the devices that share their numbers.
    """

    spec: StepSpec
    stars: sampler.Stars
    epoch: jax.Array
    order_key: jax.Array
    sample_key: jax.Array
    row_NxM: jax.Array
    num_row: int

    @classmethod
    def of_member(cls, spec: StepSpec, run_key: jax.Array, stars: sampler.Stars, epoch) -> "_EpochSamples":
        """Return the samples of the member with the key data `run_key`."""
        order_key, sample_key = sampler.order_key(run_key, stars), sampler.purpose_key(run_key, "train")
        rows = devices.local_rows(spec.batch_size, spec.micro_batch_size, is_sharded=spec.is_sharded)
        return cls(spec, stars, epoch, order_key, sample_key, *rows)

    def micro_batches(self, number) -> _MicroBatches:
        """Return the samples of a step; sorted by number of stars if they are padded to several lengths."""
        position_NxM = jnp.where(self.row_NxM < 0, -1, number * self.num_row + self.row_NxM)
        num_sample = sampler.num_sample(self.stars, self.spec.sampler)
        is_real_NxM = (position_NxM >= 0) & (position_NxM < num_sample)
        # Rows of padding draw a sample like any other, whose loss then has no weight.
        position_NxM = jnp.where(is_real_NxM, position_NxM, num_sample)
        pair_NxM = sampler.shuffled_pair(self.order_key, self.epoch, position_NxM, num_sample)
        if len(self.spec.lengths) == 1:
            return _MicroBatches(pair_NxM, is_real_NxM, jnp.zeros(len(pair_NxM), jnp.int32))
        return self._sorted(pair_NxM, is_real_NxM)

    def _sorted(self, pair_NxM: jax.Array, is_real_NxM: jax.Array) -> _MicroBatches:
        pair, is_real = pair_NxM.ravel(), is_real_NxM.ravel()
        count = sampler.count_batch(self.stars, self.sample_key, self.epoch, pair, self.spec.sampler)
        # Rows of padding come first, so that they do not lengthen a micro-batch.
        count = jnp.where(is_real, count, 0)
        order = jnp.argsort(count)
        largest_N = count[order].reshape(pair_NxM.shape)[:, -1]  # the last one, since they are sorted
        pair_NxM, is_real_NxM = (x[order].reshape(pair_NxM.shape) for x in (pair, is_real))
        return _MicroBatches(
            pair_NxM, is_real_NxM, jnp.searchsorted(jnp.asarray(self.spec.lengths), largest_N)
        )

    def drawer(self, pair_M: jax.Array) -> Callable:
        """Return `(length) -> batch`: samples as from `sampler.draw_batch`, of which it has some positions.

        The observer works on every position, so that its samples are drawn with the length. All others are
        drawn once and cut.
        """

        def draw(config: sampler.SamplerConfig):
            return sampler.draw_batch(
                self.stars, self.sample_key, self.epoch, pair_M, config, self.spec.rotate
            )

        config = self.spec.sampler
        if config.observed is not None:
            return lambda length: draw(dataclasses.replace(config, num_star_per_sample=length))
        features_MxKxF, mask_MxK, *rest = draw(config)
        return lambda length: (features_MxKxF[:, :length], mask_MxK[:, :length], *rest)


def _gradient(loss: Callable, params, draw: Callable, lengths: tuple[int, ...], choice):
    """Return the gradient of `loss(params, batch) -> (sum, SUMS)`, and SUMS.

    The batch is `draw(lengths[choice])`.
    """

    def with_length(length):
        return jax.grad(loss, has_aux=True)(params, draw(length))

    # A branch for each length, since shapes within a program are fixed.
    return jax.lax.switch(choice, [functools.partial(with_length, length) for length in lengths])


def _loss(spec: StepSpec, hparams: dict, is_real_M, params, batch):
    """Return the sum of the loss over the real ones of some samples, and all SUMS over them."""
    features_MxKxF, mask_MxK, target_MxT, dropout_key_M = batch
    output_MxO = spec.apply(params, features_MxKxF, mask_MxK, dropout_key_M, hparams["dropout"])
    error_MxT = spec.head.mean(output_MxO) - target_MxT
    by_sample = (
        spec.head.loss(output_MxO, target_MxT, hparams["huber_delta"]),
        jnp.abs(error_MxT).mean(axis=-1),
        (error_MxT**2).mean(axis=-1),
        jnp.ones_like(error_MxT[:, 0]),  # counts the samples
    )
    sums = jnp.stack([jnp.where(is_real_M, x, 0).sum() for x in by_sample])
    return sums[0], sums
