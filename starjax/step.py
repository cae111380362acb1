"""The training step on the device: many of them as one function of arrays."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from starjax import distributed, ensemble, losses
from starjax.data import sampler

# What is summed over the samples of an epoch.
SUMS = ("huber", "mae", "mse", "num_sample")


def initial_state(params: dict, optimizer: optax.GradientTransformation) -> dict:
    """What a run changes as it goes, of one model.

    The optimizer sees all parameters as one vector: many small arrays cost more to start on than to work through.
    """
    return {"params": params, "opt_state": optimizer.init(ravel_pytree(params)[0])}


def make_train_steps(
    apply,
    optimizer_of: Callable[[dict], optax.GradientTransformation],
    config: sampler.SamplerConfig,
    batch_size: int,
    hparams: dict,
    turn: Callable | None = None,
    micro_batch_size: int | None = None,
    is_sharded: bool = False,
) -> Callable:
    """Many training steps as one function of arrays, to be run `on_mesh`.

    The last step of an epoch may have fewer samples than `batch_size`; its empty rows weigh nothing.

    Args:
      optimizer_of: the optimizer with some hyperparameters, of which its state does not depend.
      hparams: of all members, by name; a member's own ones go before. Needed is `huber_delta`, and what
        `optimizer_of` reads; `dropout`, where it is there, goes before that of the model.
      turn: turns each sample (see `symmetry.random_turn`), if given.
      micro_batch_size: samples that a device draws and sends through the model at a time, while their
        gradients add up; None: all of its share of a step at once.
      is_sharded: whether each device has stars of its own (see `data.placement`).

    Returns:
      `(state, members, stars, epoch, first_step, num_step) -> (state, sums)`, of states and members (see
      `ensemble.Members.arrays`) along a first axis, with sums over the real samples of the steps done: huber,
      mae, mse (means over targets) and num_sample. A member that is not active does none.
    """

    def train_member(state, member, stars, epoch, first_step, num_step):
        own_hparams = hparams | member["hparams"]
        optimizer = optimizer_of(own_hparams)
        num_sample = sampler.num_sample(stars, config)
        order_key = sampler.order_key(member["key"], stars)
        sample_key = sampler.purpose_key(member["key"], "train")
        row_NxM, num_row = distributed.local_rows(batch_size, micro_batch_size, is_sharded=is_sharded)

        def loss(params, position_M):
            """The sum over some samples of an epoch, and all that is summed over them."""
            weight_M = (position_M < num_sample).astype(jnp.float32)
            pair_M = sampler.shuffled_pair(order_key, epoch, position_M, num_sample)
            features_MxKxF, mask_MxK, target_MxT, dropout_key_M = sampler.draw_batch(
                stars, sample_key, epoch, pair_M, config, turn
            )
            prediction_MxT = apply(
                params, features_MxKxF, mask_MxK, dropout_key_M, own_hparams.get("dropout")
            )
            error_MxT = prediction_MxT - target_MxT
            of_sample = (
                losses.huber(prediction_MxT, target_MxT, own_hparams["huber_delta"]),
                jnp.abs(error_MxT).mean(axis=-1),
                (error_MxT**2).mean(axis=-1),
                jnp.ones_like(weight_M),
            )
            sums = jnp.stack([(weight_M * x).sum() for x in of_sample])
            return sums[0], sums

        def step(number, carry):
            state, sums = carry
            params_P, unravel = ravel_pytree(state["params"])
            # A copy on each device, so that the gradient is that of its own samples, to be summed once.
            own_params_P = distributed.vary(params_P)
            own_zeros = (jnp.zeros_like(own_params_P), jnp.zeros_like(own_params_P, shape=len(SUMS)))

            def accumulate(number_of_micro, carry):
                row_M = row_NxM[number_of_micro]
                position_M = jnp.where(row_M < 0, num_sample, number * num_row + row_M)
                found = jax.grad(lambda p: loss(unravel(p), position_M), has_aux=True)(own_params_P)
                return jax.tree.map(jnp.add, carry, found)

            own_totals = jax.lax.fori_loop(0, len(row_NxM), accumulate, own_zeros)
            gradient_P, totals = distributed.total(own_totals)
            mean_gradient_P = gradient_P / totals[SUMS.index("num_sample")]
            updates_P, opt_state = optimizer.update(mean_gradient_P, state["opt_state"], params_P)
            params = unravel(optax.apply_updates(params_P, updates_P))
            return {"params": params, "opt_state": opt_state}, sums + totals

        zeros = jnp.zeros_like(jax.tree.leaves(state["params"])[0], shape=len(SUMS))
        last_step = first_step + num_step * member["is_active"]
        state, sums = jax.lax.fori_loop(first_step, last_step, step, (state, zeros))
        return state, dict(zip(SUMS, sums, strict=True))

    def train_steps(states, members, stars, epoch, first_step, num_step):
        stars = distributed.own(stars, is_sharded)
        return ensemble.for_each(
            lambda state, member: train_member(state, member, stars, epoch, first_step, num_step),
            states,
            members,
        )

    return train_steps
