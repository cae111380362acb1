"""What a model's outputs mean: a value of each target, or a distribution over all of them.

Both heads share one contract, in scaled units. `num_output` is what the model gives for each set; `loss` is what
training minimizes, of each sample; `mean` the expected targets; `parameters` what the outputs are, and `components` what Gaussians
these make the predictive distribution of each target of (see `marginals`).
"""

import dataclasses
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax

# DOC """Losses. Each refuses unequal shapes, which would otherwise broadcast silently."""

HEADS = ("point", "mixture")
# What the expected targets of a mixture learn from.
MEANS = ("likelihood", "huber")
# What the likelihood of a mixture's shape counts for in layers that the expected targets share, if these learn from the
# Huber loss: at 1 all of it, the age of test clusters loses 5 Myr (benchmarks/README.md). Adam gives weights that
# are the shape's own full steps all the same.
SHAPE_SHARE = 0.01


@dataclasses.dataclass(frozen=True)
class PointHead:
    """The outputs are the targets; trained by the Huber loss."""

    num_target: int
    loss_name = "Huber loss [scaled units]"

    @property
    def num_output(self) -> int:
        return self.num_target

    def loss(self, output_BxT, target_BxT, huber_delta) -> jax.Array:
        """(B,); `huber_delta` as `losses.huber` takes it."""
        return huber(output_BxT, target_BxT, huber_delta)

    def mean(self, output_BxT) -> jax.Array:
        """(B, T)."""
        return output_BxT

    def parameters(self, output_BxT) -> tuple:
        """The values alone."""
        return (output_BxT,)

    def components(self, parameters: tuple, sigma_T: np.ndarray) -> tuple:
        """A Gaussian about each value, as wide as errors were in validation: weights (B, 1), means and widths (B, 1, T)."""
        (output_BxT,) = parameters
        xp = output_BxT.__array_namespace__()
        mean_Bx1xT = output_BxT[..., None, :]
        return (
            xp.ones_like(mean_Bx1xT[..., 0]),
            mean_Bx1xT,
            xp.broadcast_to(xp.asarray(sigma_T), mean_Bx1xT.shape),
        )


@dataclasses.dataclass(frozen=True)
class MixtureHead:
    """A mixture of C Gaussians with full covariance over the T targets (Bishop 1994).

    Trained by its likelihood. That weighs errors by how sure the mixture is, and gives up on the mean where it is not: with
    few simulations, whose errors are soon learned by heart, expected targets are the better for a loss of their own, and
    what is left over about them for the likelihood (Stirn et al. 2023, arXiv:2212.09184).

    The covariance of a component is S U (S U)^T: S holds scales on its diagonal, U is lower triangular with ones on
    its diagonal (Williams 1996).

    Attributes:
      num_component: C.
      min_scale: least scale of a component, in scaled units: a likelihood has no upper bound without one.
      means: what the expected targets learn from, one of MEANS; all else learns from the likelihood.
    """

    num_target: int
    num_component: int
    min_scale: float
    means: str = "likelihood"

    @property
    def loss_name(self) -> str:
        likelihood = "negative log-likelihood [nat]"
        return likelihood if self.means == "likelihood" else f"Huber loss\n+ {likelihood}"

    @property
    def num_output(self) -> int:
        num_lower = self.num_target * (self.num_target - 1) // 2
        return self.num_component * (1 + 2 * self.num_target + num_lower)

    def parameters(self, output_BxO):
        """log weights (B, C), means and scales (B, C, T), and the entries of U below its diagonal, row by row (B, C, L)."""
        num_target = self.num_target
        of_component = output_BxO.reshape(*output_BxO.shape[:-1], self.num_component, -1)
        logit, mean, raw, lower = jnp.split(of_component, [1, 1 + num_target, 1 + 2 * num_target], axis=-1)
        return jax.nn.log_softmax(logit[..., 0]), mean, self.min_scale + jax.nn.softplus(raw), lower

    def loss(self, output_BxO, target_BxT, huber_delta) -> jax.Array:
        """Negative log-likelihood [nat] of all targets together, (B,), and with `means='huber'` the Huber loss of the expected ones.

        Raises:
          ValueError: the targets are not those of the head.
        """
        if target_BxT.shape[-1] != self.num_target:
            raise ValueError(f"target {target_BxT.shape} should have {self.num_target} column(s)")
        if self.means == "likelihood":
            return self._negative_log_likelihood(self.parameters(output_BxO), target_BxT)
        of_shape = SHAPE_SHARE * output_BxO + (1 - SHAPE_SHARE) * jax.lax.stop_gradient(output_BxO)
        log_weight_BxC, mean_BxCxT, *rest = self.parameters(of_shape)
        expected_Bx1xT = _expected(log_weight_BxC, mean_BxCxT)[..., None, :]
        about_BxCxT = mean_BxCxT - expected_Bx1xT + jax.lax.stop_gradient(expected_Bx1xT)
        likelihood = self._negative_log_likelihood((log_weight_BxC, about_BxCxT, *rest), target_BxT)
        return huber(self.mean(output_BxO), target_BxT, huber_delta) + likelihood

    def _negative_log_likelihood(self, parameters: tuple, target_BxT) -> jax.Array:
        log_weight_BxC, mean_BxCxT, scale_BxCxT, lower_BxCxL = parameters
        away_BxCxT = (target_BxT[..., None, :] - mean_BxCxT) / scale_BxCxT
        normal = []
        for row, lower in enumerate(_rows(lower_BxCxL, self.num_target)):
            done = sum((lower[..., j] * normal[j] for j in range(row)), jnp.zeros_like(away_BxCxT[..., 0]))
            normal.append(away_BxCxT[..., row] - done)
        square_BxC = sum(z**2 for z in normal)
        log_volume_BxC = jnp.log(scale_BxCxT).sum(axis=-1) + self.num_target / 2 * math.log(2 * math.pi)
        return -jax.nn.logsumexp(log_weight_BxC - square_BxC / 2 - log_volume_BxC, axis=-1)

    def mean(self, output_BxO) -> jax.Array:
        """(B, T)."""
        log_weight_BxC, mean_BxCxT, _, _ = self.parameters(output_BxO)
        return _expected(log_weight_BxC, mean_BxCxT)

    def components(self, parameters: tuple, sigma_T=None) -> tuple:
        """Weights (B, C), means and widths (B, C, T) of each target's own distribution; `sigma_T` is for the other head."""
        del sigma_T
        log_weight_BxC, mean_BxCxT, scale_BxCxT, lower_BxCxL = parameters
        xp = log_weight_BxC.__array_namespace__()
        weight_BxC = xp.exp(log_weight_BxC)
        width = [xp.sqrt(1 + (lower**2).sum(axis=-1)) for lower in _rows(lower_BxCxL, self.num_target)]
        return (
            weight_BxC / weight_BxC.sum(axis=-1, keepdims=True),
            mean_BxCxT,
            scale_BxCxT * xp.stack(width, axis=-1),
        )


def _expected(log_weight_BxC, mean_BxCxT):
    """(B, T)."""
    return (jnp.exp(log_weight_BxC)[..., None] * mean_BxCxT).sum(axis=-2)


def _rows(lower, num_target: int):
    """The rows of U below its diagonal: the i-th has i entries."""
    return [lower[..., i * (i - 1) // 2 : i * (i + 1) // 2] for i in range(num_target)]


def create(kind: str, num_target: int, mixture: Mapping) -> PointHead | MixtureHead:
    """Return a head.

    Args:
      kind: one of HEADS.
      mixture: `num_component`, `min_scale` and `means` of a MixtureHead.
    """
    return MixtureHead(num_target, **mixture) if kind == "mixture" else PointHead(num_target)


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
