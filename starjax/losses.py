"""Losses. Each refuses unequal shapes, which would otherwise broadcast silently."""

import jax
import optax


def huber(prediction_BxT: jax.Array, target_BxT: jax.Array, delta: float) -> jax.Array:
    """Huber loss of each sample, mean over its targets (Huber 1964).

    Args:
      delta: residual, in scaled units, beyond which the loss grows linearly.

    Returns:
      (B,).

    Raises:
      ValueError: the shapes differ.
    """
    if prediction_BxT.shape != target_BxT.shape:
        raise ValueError(f"prediction {prediction_BxT.shape} and target {target_BxT.shape} differ in shape")
    return optax.losses.huber_loss(prediction_BxT, target_BxT, delta=delta).mean(axis=-1)
