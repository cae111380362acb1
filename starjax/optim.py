"""The optimizer and its learning-rate schedule."""

import optax

FINAL_LEARNING_RATE_RATIO = 1e-3


def learning_rate_schedule(learning_rate: float, num_step: int, num_warmup_step: int) -> optax.Schedule:
    """Linear rise from 0 over `num_warmup_step`, then a cosine down to 1e-3 of the peak at `num_step`."""
    return optax.warmup_cosine_decay_schedule(
        init_value=learning_rate if num_warmup_step == 0 else 0.0,
        peak_value=learning_rate,
        warmup_steps=num_warmup_step,
        decay_steps=num_step,
        end_value=FINAL_LEARNING_RATE_RATIO * learning_rate,
    )


def create(schedule: optax.Schedule, weight_decay: float, clip_norm: float) -> optax.GradientTransformation:
    """AdamW (Loshchilov & Hutter 2019) on gradients clipped to a global norm of `clip_norm`."""
    return optax.chain(optax.clip_by_global_norm(clip_norm), optax.adamw(schedule, weight_decay=weight_decay))
