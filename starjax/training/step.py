"""The training step on the device: many of them as one function of arrays."""

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from starjax.models import heads
from starjax.models.ensemble import map_members
from starjax.runtime import devices
from starjax.sampling import sampler

# What is summed over the samples of an epoch.
SUMS = ("loss", "mae", "mse", "num_sample")
# Of the slots of a sample: what samples of few stars may be computed with on a CPU.
CPU_SLOT_SHARES = (0.5, 0.75, 1)


def slot_choices(num_star_per_sample: int, is_superlinear: bool) -> tuple[int, ...]:
    """How many slots a micro-batch may be computed with, ascending; the last is all.

    Samples of a step are sorted by their stars, so that those of few stars need not carry the empty slots of others.
    It pays where work grows faster than the slots, and where micro-batches follow one another anyway, on a
    CPU (benchmarks/README.md); each choice is a program of its own to compile.
    """
    if not is_superlinear or jax.default_backend() != "cpu":
        return (num_star_per_sample,)
    return tuple(sorted({math.ceil(share * num_star_per_sample) for share in CPU_SLOT_SHARES}))


def make_train_steps(
    apply,
    head: heads.PointHead | heads.MixtureHead,
    optimizer_of: Callable[[dict], optax.GradientTransformation],
    config: sampler.SamplerConfig,
    batch_size: int,
    hparams: dict,
    rotate: Callable | None = None,
    micro_batch_size: int | None = None,
    is_sharded: bool = False,
    slots: tuple[int, ...] | None = None,
) -> Callable:
    """Many training steps as one function of arrays, to be run `on_mesh`.

    The last step of an epoch may have fewer samples than `batch_size`; its empty rows weigh nothing.

    Args:
      head: what the outputs of the model mean.
      optimizer_of: the optimizer with some hyperparameters, of which its state does not depend.
      hparams: of all members, by name; a member's own ones go before. Needed are `huber_delta`, `dropout`
        (None: that of the model), and what `optimizer_of` reads.
      turn: turns each sample (see `symmetry.random_turn`), if given.
      micro_batch_size: samples that a device draws and sends through the model at a time, while their
        gradients add up; None: all of its share of a step at once.
      is_sharded: whether each device has stars of its own (see `data.placement`).
      slots: as `slot_choices` gives them; None: all slots for every sample.

    Returns:
      `(state, members, stars, epoch, first_step, num_step) -> (state, sums)`, of states and members (see
      `ensemble.Members.arrays`) along a first axis, with sums over the real samples of the steps done: loss,
      mae, mse (means over targets) and num_sample. A member that is not active does none.
    """
    slots = slots or (config.num_star_per_sample,)

    def train_member(state, member, stars, epoch, first_step, num_step):
        own_hparams = hparams | member["hparams"]
        optimizer = optimizer_of(own_hparams)
        samples = _Samples.of_member(member["key"], stars, epoch, config, rotate)
        row_NxM, num_row = devices.local_rows(batch_size, micro_batch_size, is_sharded=is_sharded)

        def step(number, carry):
            state, sums = carry
            params_P, unravel = ravel_pytree(state["params"])
            # A copy on each device, so that the gradient is that of its own samples, to be summed once.
            own_params = unravel(devices.copy_per_device(params_P))
            pair_NxM, is_real_NxM = samples.at(jnp.where(row_NxM < 0, -1, number * num_row + row_NxM))
            pair_NxM, is_real_NxM, choice_N = samples.sorted_for(slots, pair_NxM, is_real_NxM)

            def accumulate(micro, total):
                loss = functools.partial(
                    _loss, apply=apply, head=head, hparams=own_hparams, is_real_M=is_real_NxM[micro]
                )
                batch = samples.draw(pair_NxM[micro])
                gradients, found = _gradient(loss, own_params, batch, slots, choice_N[micro])
                return jax.tree.map(jnp.add, total, (ravel_pytree(gradients)[0], found))

            zeros = (jnp.zeros_like(params_P), jnp.zeros_like(params_P, shape=len(SUMS)))
            totals = jax.lax.fori_loop(0, len(row_NxM), accumulate, devices.copy_per_device(zeros))
            gradient_P, totals = devices.sum_over_devices(totals)
            gradients = unravel(gradient_P / totals[SUMS.index("num_sample")])
            updates, opt_state = optimizer.update(gradients, state["opt_state"], state["params"])
            params = optax.apply_updates(state["params"], updates)
            return {"params": params, "opt_state": opt_state}, sums + totals

        zeros = jnp.zeros_like(jax.tree.leaves(state["params"])[0], shape=len(SUMS))
        last_step = first_step + num_step * member["is_active"]
        state, sums = jax.lax.fori_loop(first_step, last_step, step, (state, zeros))
        return state, dict(zip(SUMS, sums, strict=True))

    def train_steps(states, members, stars, epoch, first_step, num_step):
        stars = devices.local_share(stars, is_sharded)
        return map_members(
            lambda state, member: train_member(state, member, stars, epoch, first_step, num_step),
            states,
            members,
        )

    return train_steps


@dataclasses.dataclass(frozen=True)
class _Samples:
    """The training samples of a member in one epoch, in their order."""

    stars: sampler.Stars
    order_key: jax.Array
    sample_key: jax.Array
    epoch: jax.Array
    config: sampler.SamplerConfig
    rotate: Callable | None

    @classmethod
    def of_member(cls, run_key, stars, epoch, config, rotate) -> "_Samples":
        """Those of the member whose run has the data `run_key` of its key."""
        order_key = sampler.order_key(run_key, stars)
        return cls(stars, order_key, sampler.purpose_key(run_key, "train"), epoch, config, rotate)

    def at(self, position: jax.Array):
        """What stands at positions of the epoch (-1: none): the numbers of samples, and whether they are real."""
        num_sample = sampler.num_sample(self.stars, self.config)
        is_real = (position >= 0) & (position < num_sample)
        position = jnp.where(is_real, position, num_sample)
        return sampler.shuffled_pair(self.order_key, self.epoch, position, num_sample), is_real

    def sorted_for(self, slots: tuple[int, ...], pair_NxM: jax.Array, is_real_NxM: jax.Array):
        """The same samples by their stars, ascending, and which of `slots` (N,) each micro-batch needs."""
        if len(slots) == 1:
            return pair_NxM, is_real_NxM, jnp.zeros(len(pair_NxM), jnp.int32)
        pair, is_real = pair_NxM.ravel(), is_real_NxM.ravel()
        count = sampler.count_batch(self.stars, self.sample_key, self.epoch, pair, self.config)
        count = jnp.where(is_real, count, 0)
        order = jnp.argsort(count)
        most_N = count[order].reshape(pair_NxM.shape)[:, -1]
        pair_NxM, is_real_NxM = (x[order].reshape(pair_NxM.shape) for x in (pair, is_real))
        return pair_NxM, is_real_NxM, jnp.searchsorted(jnp.asarray(slots), most_N)

    def draw(self, pair_M: jax.Array):
        """Features, mask, targets and a key for each sample (see `sampler.draw_batch`)."""
        return sampler.draw_batch(self.stars, self.sample_key, self.epoch, pair_M, self.config, self.rotate)


def _gradient(loss: Callable, params, batch, slots: tuple[int, ...], choice):
    """The gradient of `loss(params, batch) -> (sum, SUMS)`, and SUMS, with `slots[choice]` slots of the samples."""
    features_MxKxF, mask_MxK, *rest = batch

    def with_slots(num_slot):
        return jax.grad(loss, has_aux=True)(
            params, (features_MxKxF[:, :num_slot], mask_MxK[:, :num_slot], *rest)
        )

    return jax.lax.switch(choice, [functools.partial(with_slots, num_slot) for num_slot in slots])


def _loss(params, batch, *, apply, head, hparams: dict, is_real_M):
    """The sum of the loss over some samples, and all SUMS over the real ones of them."""
    features_MxKxF, mask_MxK, target_MxT, dropout_key_M = batch
    output_MxO = apply(params, features_MxKxF, mask_MxK, dropout_key_M, hparams["dropout"])
    error_MxT = head.mean(output_MxO) - target_MxT
    of_sample = (
        head.loss(output_MxO, target_MxT, hparams["huber_delta"]),
        jnp.abs(error_MxT).mean(axis=-1),
        (error_MxT**2).mean(axis=-1),
        jnp.ones_like(error_MxT[:, 0]),
    )
    sums = jnp.stack([jnp.where(is_real_M, x, 0).sum() for x in of_sample])
    return sums[0], sums
