"""The meaning of a model's outputs: a value for each target, or a distribution over all of them.

Both heads have the same methods, in scaled units. `num_output` is the number of outputs per set, `loss` the
training loss of each sample, `mean` the expected targets, `parameters` the parameters that the outputs stand
for, and `components` the Gaussians that make up the predictive distribution of each target (see
`evaluation.mixture.marginals`). `factors` returns what correlates the targets of each component.
"""

import dataclasses
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax

HEADS = ("point", "mixture")
# The losses that the expected targets of a mixture can be trained with.
MEANS = ("likelihood", "huber")
# Factor on the gradient of the likelihood in layers that the expected targets share, if these are trained
# with the Huber loss. With 1 the error of the age of test clusters grows by 5 Myr
# (docs/explanation/accuracy.md). Weights that only the shape of the mixture depends on still take full steps,
# because Adam normalizes their gradients.
SHAPE_SHARE = 0.01


@dataclasses.dataclass(frozen=True)
class PointHead:
    """A value for each target, trained with the Huber loss."""

    num_target: int
    loss_name = "Huber loss [scaled units]"

    @property
    def num_output(self) -> int:
        return self.num_target

    def loss(self, output_BxT, target_BxT, huber_delta) -> jax.Array:
        """Return the Huber loss of each sample, (B,), see `huber`."""
        return huber(output_BxT, target_BxT, huber_delta)

    def mean(self, output_BxT) -> jax.Array:
        """Return the expected targets (B, T)."""
        return output_BxT

    def parameters(self, output_BxT) -> tuple:
        """Return the targets (B, T), in a tuple."""
        return (output_BxT,)

    def components(self, parameters: tuple, sigma_T: np.ndarray | None) -> tuple:
        """Return the components of each target's predictive distribution: one Gaussian about the value.

        Args:
          parameters: as `parameters` returns them.
          sigma_T: its standard deviation, from the errors in validation.

        Returns:
          Weights (B, 1), means and standard deviations (B, 1, T).
        """
        (output_BxT,) = parameters
        xp = output_BxT.__array_namespace__()
        mean_Bx1xT = output_BxT[..., None, :]
        return (
            xp.ones_like(mean_Bx1xT[..., 0]),
            mean_Bx1xT,
            xp.broadcast_to(xp.asarray(sigma_T), mean_Bx1xT.shape),
        )

    def factors(self, parameters: tuple, sigma_T: np.ndarray | None) -> np.ndarray:
        """Return the Cholesky factor of the covariance of each component (B, 1, T, T).

        The targets are independent: nothing is known of the correlation of their errors.
        """
        (output_BxT,) = parameters
        return np.broadcast_to(np.diag(np.asarray(sigma_T)), (len(output_BxT), 1, *[self.num_target] * 2))


@dataclasses.dataclass(frozen=True)
class MixtureHead:
    """A mixture of C Gaussians with full covariance over the T targets.

    A mixture density network (Bishop 1994), trained with its likelihood. The likelihood down-weights errors
    where the predicted variance is large. With few simulations the network overfits, and the mean is better
    trained with a loss of its own, while the likelihood trains the distribution about it (Stirn et al. 2023,
    arXiv:2212.09184).

    The covariance of a component is S U (S U)^T, with a diagonal matrix S of scales and a lower triangular
    matrix U with ones on its diagonal (Williams 1996, "Using neural networks to model conditional
    multivariate densities").

    Attributes:
      num_target: T.
      num_component: C.
      min_scale: smallest scale of a component, in scaled units; without one the likelihood has no upper
        bound.
      means: the loss of the expected targets, one of MEANS; everything else is trained with the likelihood.
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
        """Return the parameters of the mixture.

        Returns:
          Log weights (B, C), means and scales (B, C, T), and the entries of U below its diagonal, row by row
          (B, C, L).
        """
        num_target = self.num_target
        output_BxCxP = output_BxO.reshape(*output_BxO.shape[:-1], self.num_component, -1)
        logit, mean, raw, lower = jnp.split(output_BxCxP, [1, 1 + num_target, 1 + 2 * num_target], axis=-1)
        return jax.nn.log_softmax(logit[..., 0]), mean, self.min_scale + jax.nn.softplus(raw), lower

    def loss(self, output_BxO, target_BxT, huber_delta) -> jax.Array:
        """Return the loss of each sample, (B,).

        It is the negative log-likelihood of all targets together [nat]; with `means='huber'`, plus the Huber
        loss of the expected targets.

        Raises:
          ValueError: the number of targets is not that of the head; it would broadcast.
        """
        if target_BxT.shape[-1] != self.num_target:
            raise ValueError(f"target {target_BxT.shape} should have {self.num_target} column(s)")
        if self.means == "likelihood":
            return self._negative_log_likelihood(self.parameters(output_BxO), target_BxT)
        # The same values, with the gradient scaled by SHAPE_SHARE.
        damped_BxO = SHAPE_SHARE * output_BxO + (1 - SHAPE_SHARE) * jax.lax.stop_gradient(output_BxO)
        log_weight_BxC, mean_BxCxT, *rest = self.parameters(damped_BxO)
        expected_Bx1xT = _expected(log_weight_BxC, mean_BxCxT)[..., None, :]
        # The likelihood must not move the expected targets, only the components relative to them.
        about_BxCxT = mean_BxCxT - expected_Bx1xT + jax.lax.stop_gradient(expected_Bx1xT)
        likelihood = self._negative_log_likelihood((log_weight_BxC, about_BxCxT, *rest), target_BxT)
        return huber(self.mean(output_BxO), target_BxT, huber_delta) + likelihood

    def _negative_log_likelihood(self, parameters: tuple, target_BxT) -> jax.Array:
        log_weight_BxC, mean_BxCxT, scale_BxCxT, lower_BxCxL = parameters
        # Solve U z = S^-1 (target - mean) row by row; z is standard normal, and the determinant of U is 1.
        away_BxCxT = (target_BxT[..., None, :] - mean_BxCxT) / scale_BxCxT
        normal: list[jax.Array] = []
        for row, lower in enumerate(_rows(lower_BxCxL, self.num_target)):
            done = sum((lower[..., j] * normal[j] for j in range(row)), jnp.zeros_like(away_BxCxT[..., 0]))
            normal.append(away_BxCxT[..., row] - done)
        square_BxC = sum(z**2 for z in normal)
        log_volume_BxC = jnp.log(scale_BxCxT).sum(axis=-1) + self.num_target / 2 * math.log(2 * math.pi)
        return -jax.nn.logsumexp(log_weight_BxC - square_BxC / 2 - log_volume_BxC, axis=-1)

    def mean(self, output_BxO) -> jax.Array:
        """Return the expected targets (B, T)."""
        log_weight_BxC, mean_BxCxT, _, _ = self.parameters(output_BxO)
        return _expected(log_weight_BxC, mean_BxCxT)

    def components(self, parameters: tuple, sigma_T=None) -> tuple:
        """Return the components of each target's predictive distribution.

        Args:
          parameters: as `parameters` returns them.
          sigma_T: unused; a PointHead needs it.

        Returns:
          Weights (B, C), means and standard deviations (B, C, T).
        """
        del sigma_T
        log_weight_BxC, mean_BxCxT, scale_BxCxT, lower_BxCxL = parameters
        xp = log_weight_BxC.__array_namespace__()
        # Float32 outputs are exact weights only within rounding: they are normalized again below.
        weight_BxC = xp.exp(log_weight_BxC)
        width = [xp.sqrt(1 + (lower**2).sum(axis=-1)) for lower in _rows(lower_BxCxL, self.num_target)]
        return (
            weight_BxC / weight_BxC.sum(axis=-1, keepdims=True),
            mean_BxCxT,
            scale_BxCxT * xp.stack(width, axis=-1),
        )

    def factors(self, parameters: tuple, sigma_T=None) -> np.ndarray:
        """Return the Cholesky factor S U of the covariance of each component (B, C, T, T).

        Args:
          parameters: as `parameters` returns them.
          sigma_T: unused; a PointHead needs it.
        """
        del sigma_T
        _, _, scale_BxCxT, lower_BxCxL = (np.asarray(x, np.float64) for x in parameters)
        factor_BxCxTxT = np.zeros((*scale_BxCxT.shape, self.num_target)) + np.eye(self.num_target)
        for i, row in enumerate(_rows(lower_BxCxL, self.num_target)):
            factor_BxCxTxT[..., i, :i] = row
        return scale_BxCxT[..., None] * factor_BxCxTxT


def _expected(log_weight_BxC, mean_BxCxT):
    return (jnp.exp(log_weight_BxC)[..., None] * mean_BxCxT).sum(axis=-2)


def _rows(lower, num_target: int):
    """Return the rows of U left of its diagonal; row i, counted from 0, has i entries."""
    return [lower[..., i * (i - 1) // 2 : i * (i + 1) // 2] for i in range(num_target)]


def create(kind: str, num_target: int, mixture: Mapping) -> PointHead | MixtureHead:
    """Return a head.

    Args:
      kind: one of HEADS.
      num_target: number of targets.
      mixture: `num_component`, `min_scale` and `means` of a MixtureHead.
    """
    return MixtureHead(num_target, **mixture) if kind == "mixture" else PointHead(num_target)


def huber(prediction_BxT: jax.Array, target_BxT: jax.Array, delta: float) -> jax.Array:
    """Return the Huber loss of each sample, averaged over its targets (Huber 1964).

    Args:
      prediction_BxT, target_BxT: in scaled units.
      delta: residual, in scaled units, beyond which the loss grows linearly.

    Returns:
      (B,).

    Raises:
      ValueError: the shapes differ; they would broadcast.
    """
    if prediction_BxT.shape != target_BxT.shape:
        raise ValueError(f"prediction {prediction_BxT.shape} and target {target_BxT.shape} differ in shape")
    return optax.losses.huber_loss(prediction_BxT, target_BxT, delta=delta).mean(axis=-1)
