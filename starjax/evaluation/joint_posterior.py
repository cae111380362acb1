"""The joint posterior of all targets: mixtures of multivariate Gaussians, and calibrated samples of them.

Calibration stretches the intervals of each target (see `calibration`). Samples follow: each target of a
sample is mapped, piecewise linearly and in order, so that the percentiles of the pooled mixture become the
bounds of the calibrated intervals. The order of the samples in each target, and so their rank correlation,
is that of the mixture.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from starjax.evaluation.calibration import LEVELS, Calibration
from starjax.evaluation.mixture import Mixture


@dataclasses.dataclass(frozen=True)
class JointMixture:
    """Predictive distributions of n vectors of T targets, each a mixture of C Gaussians.

    Attributes:
      weight: (n, C), which sum to one.
      mean: (n, C, T).
      factor: (n, C, T, T), lower triangular; a covariance is `factor @ factor.T`.
    """

    weight: np.ndarray
    mean: np.ndarray
    factor: np.ndarray

    def __getitem__(self, rows: slice) -> "JointMixture":
        """Return some of the distributions."""
        return JointMixture(self.weight[rows], self.mean[rows], self.factor[rows])

    def sample(self, rngs: Sequence[np.random.Generator], num: int) -> np.ndarray:
        """Return samples (n, num, T), those of each distribution from a generator of its own."""
        return np.stack([self._sample_one(i, rng, num) for i, rng in enumerate(rngs)])

    def _sample_one(self, i: int, rng: np.random.Generator, num: int) -> np.ndarray:
        weight_C, normal_DxT = self.weight[i], rng.standard_normal((num, self.mean.shape[-1]))
        chosen_D = rng.choice(len(weight_C), size=num, p=weight_C / weight_C.sum())
        return self.mean[i, chosen_D] + np.einsum("dij,dj->di", self.factor[i, chosen_D], normal_DxT)


def calibrated_samples(
    joint: JointMixture,
    predictive: Sequence[Mixture],
    calibrated: Calibration,
    rngs: Sequence[np.random.Generator],
    num: int,
) -> np.ndarray:
    """Return samples (n, num, T) of the calibrated joint posterior, in scaled units.

    Args:
      joint: the pooled outputs.
      predictive: their marginal distributions, by target.
      rngs: a random generator for each of the n clusters.
      num: number of samples of each cluster.
    """
    as_pooled = dataclasses.replace(calibrated, stretch=np.ones_like(calibrated.stretch))
    median_1xNxT = np.stack([one.quantile(0.5) for one in predictive], axis=-1)[None]
    # Quantiles are slow, and those of `calibrated.intervals` are the same.
    pooled_Lx2xNxT = as_pooled.intervals(predictive)
    calibrated_Lx2xNxT = median_1xNxT + calibrated.stretch[:, None, None] * (pooled_Lx2xNxT - median_1xNxT)
    from_KxNxT, to_KxNxT = (_ascending(one, median_1xNxT) for one in (pooled_Lx2xNxT, calibrated_Lx2xNxT))
    sample_NxDxT = joint.sample(rngs, num)
    found = np.empty_like(sample_NxDxT)
    for cluster, target in np.ndindex(sample_NxDxT.shape[0], sample_NxDxT.shape[2]):
        found[cluster, :, target] = _stretch(
            sample_NxDxT[cluster, :, target], from_KxNxT[:, cluster, target], to_KxNxT[:, cluster, target]
        )
    return found


def _ascending(interval_Lx2xNxT: np.ndarray, median_1xNxT: np.ndarray) -> np.ndarray:
    """Return the bounds of all levels and the median in ascending order (2 L + 1, N, T)."""
    by_width = np.argsort(LEVELS)
    lower, upper = interval_Lx2xNxT[by_width[::-1], 0], interval_Lx2xNxT[by_width, 1]
    knots = np.concatenate([lower, median_1xNxT, upper])
    # Intervals of few calibration simulations need not be nested.
    middle = len(LEVELS)
    knots[middle:] = np.maximum.accumulate(knots[middle:])
    knots[: middle + 1] = np.minimum.accumulate(knots[middle::-1])[::-1]
    return knots


def _stretch(value_D: np.ndarray, from_K: np.ndarray, to_K: np.ndarray) -> np.ndarray:
    """Return values with the knots `from_K` moved to `to_K`; beyond them, stretched as the whole is."""
    inside_D = np.clip(value_D, from_K[0], from_K[-1])
    factor = (to_K[-1] - to_K[0]) / (from_K[-1] - from_K[0])
    return np.interp(inside_D, from_K, to_K) + factor * (value_D - inside_D)
