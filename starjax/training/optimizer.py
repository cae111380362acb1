"""The optimizer, its learning-rate schedule, and the average of the parameters."""

import optax
import optax.contrib
from jax.flatten_util import ravel_pytree

# Learning rate at the last step, relative to its peak.
FINAL_LEARNING_RATE_RATIO = 1e-3
OPTIMIZERS = ("adamw", "muon")
# Learning rate of Adam for what is no matrix, relative to that of Muon.
_ADAM_SHARE = 0.3


def schedule_shape(num_step: int, num_warmup_step: int) -> optax.Schedule:
    """Return the schedule of the learning rate, relative to its peak.

    Linear rise from 0 to 1 over `num_warmup_step`, then a cosine down to 1e-3 at `num_step`.
    """
    return optax.warmup_cosine_decay_schedule(
        init_value=0.0,
        peak_value=1.0,
        warmup_steps=num_warmup_step,
        decay_steps=num_step,
        end_value=FINAL_LEARNING_RATE_RATIO,
    )


def create_optimizer(
    name: str, learning_rate, shape: optax.Schedule, weight_decay, clip_norm: float, average_decay: float
) -> optax.GradientTransformation:
    """Return an optimizer on gradients clipped to a global norm of `clip_norm`.

    Its state contains a running average of the parameters (see `average`). All but Muon treats them as one
    vector: with many small arrays, launching the operations would take longer than the operations.

    Args:
      name: one of OPTIMIZERS: AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101); or Muon (Jordan et al.
        2024, kellerjordan.github.io/posts/muon), which makes the updates of matrices orthogonal, and Adam
        without weight decay, at _ADAM_SHARE of the learning rate, for all other parameters.
      learning_rate: the peak; it and `weight_decay` may be traced.
      shape: see `schedule_shape`.
    """
    clip, averaging = optax.clip_by_global_norm(clip_norm), _averaging(average_decay)

    def rate(step):
        return learning_rate * shape(step)

    if name == "muon":
        muon = optax.contrib.muon(
            rate, weight_decay=weight_decay, adam_learning_rate=lambda step: _ADAM_SHARE * rate(step)
        )
        return optax.chain(optax.flatten(clip), muon, optax.flatten(averaging))
    return optax.flatten(optax.chain(clip, optax.adamw(rate, weight_decay=weight_decay), averaging))


def _averaging(decay: float) -> optax.GradientTransformation:
    """Return a transformation that averages the updated parameters, and leaves the updates unchanged."""
    ema = optax.ema(decay)

    def update(updates, state, params):
        _, state = ema.update(optax.apply_updates(params, updates), state)
        return updates, state

    return optax.GradientTransformation(ema.init, update)


def average(opt_state: optax.OptState, decay: float, params: dict) -> dict:
    """Return the exponentially weighted average of the parameters over all steps (at least one).

    Args:
      opt_state: of an optimizer made by `create_optimizer`.
      decay: its `average_decay`.
      params: some parameters of the model, for their shapes.

    Polyak & Juditsky 1992, SIAM J. Control Optim. 30, 838, with weights that fall by `decay` per step.
    """
    *_, state = opt_state  # that of `_averaging`, the last of the chain
    _, unravel = ravel_pytree(params)
    return unravel(optax.tree.bias_correction(state.ema, decay, state.count))
