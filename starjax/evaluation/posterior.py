"""The posterior of clusters from the outputs of a model: pooled distributions, calibrated intervals, spreads.

A cluster may be predicted from several samples of its stars (`num_draws`) and by several ensemble members.
Their distributions are pooled with equal weights, and the spread of the expected values among them is
reported separately.

`MemberOutputs.pool` and `summarize` take jax arrays as well as numpy's, so that an exported program computes
what tables hold (`inference.jax_function`).
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import pandas as pd

from starjax.datasets.scalers.bundle import ScalerBundle
from starjax.evaluation import array_functions, calibration, joint_posterior
from starjax.evaluation.calibration import LEVEL_NAMES, PERCENTILES, Calibration
from starjax.evaluation.joint_posterior import JointMixture
from starjax.evaluation.mixture import Mixture, marginals
from starjax.models import heads

# Samples of each cluster, unless another number is asked for.
NUM_SAMPLE = 1000
# What follows the name of a target in the columns of a prediction, and where `summarize` has its values.
PREDICTION_COLUMNS = {
    "": "prediction_physical",
    **{f"_{bound}": f"{bound}_physical" for pair in PERCENTILES for bound in pair},
    "_spread_members": "spread_members",
    "_spread_draws": "spread_draws",
}


@dataclasses.dataclass(frozen=True)
class MemberOutputs:
    """Outputs of E ensemble members for S samples of each of N clusters.

    Attributes:
      output: (E, N, S, O).
      head: the head of the model, which interprets the outputs.
    """

    output: np.ndarray
    head: heads.PointHead | heads.MixtureHead

    @property
    def points(self) -> np.ndarray:
        """The expected scaled targets (E, N, S, T)."""
        return array_functions.widen(self.head.mean(self.output), self.output)

    def pool(self, sigma_T: np.ndarray) -> list[Mixture]:
        """Return the distribution of each target over all members and samples, one row per cluster.

        Args:
          sigma_T: root mean square errors on validation (see `marginals`).
        """
        # A pool with equal weights of mixtures is a mixture of all their components.
        each = marginals(self.head, self.output.reshape(-1, self.output.shape[-1]), sigma_T)
        return [
            Mixture(self._regroup(m.weight) / self._num_pooled, self._regroup(m.mean), self._regroup(m.sigma))
            for m in each
        ]

    def pool_jointly(self, sigma_T: np.ndarray) -> JointMixture:
        """Return the joint distribution of all targets over all members and samples, in float64.

        Args:
          sigma_T: as for `pool`.
        """
        parameters = self.head.parameters(self.output.reshape(-1, self.output.shape[-1]))
        parameters = tuple(np.asarray(one, np.float64) for one in parameters)
        weight, mean, _ = self.head.components(parameters, sigma_T)
        factor = self.head.factors(parameters, sigma_T)
        return JointMixture(
            self._regroup(weight) / self._num_pooled, self._regroup(mean), self._regroup(factor)
        )

    @property
    def _num_pooled(self) -> int:
        return self.output.shape[0] * self.output.shape[2]

    def _regroup(self, x):
        """Return the components of each cluster, (E * N * S, C, …) as (N, E * S * C, …)."""
        xp = x.__array_namespace__()
        num_member, num_cluster, num_sample, _ = self.output.shape
        by_cluster = xp.moveaxis(x.reshape(num_member, num_cluster, num_sample, *x.shape[1:]), 1, 0)
        return by_cluster.reshape(num_cluster, -1, *x.shape[2:])


@dataclasses.dataclass(frozen=True)
class Posterior:
    """The posterior of the targets of clusters.

    Attributes:
      table: one row per cluster and target (see `posterior_table`); `cluster` is the cluster's name, and
        `num_star` and `novelty` are added.
      clusters: the names of the clusters, in the order of the distributions.
      predictive: the distribution of each target in scaled units before calibration, one row per cluster.
      joint: that of all targets together.
      calibrated: the calibration.
      target_scalers: the scalers of the targets.
      target_keys: the targets.
    """

    table: pd.DataFrame
    clusters: tuple[str, ...]
    predictive: Sequence[Mixture]
    joint: JointMixture
    calibrated: Calibration
    target_scalers: ScalerBundle
    target_keys: tuple[str, ...]

    def samples(self, cluster: str, num: int = NUM_SAMPLE) -> pd.DataFrame:
        """Return samples of the calibrated joint posterior of a cluster, in physical units.

        The same call returns the same samples, whatever other clusters there are.

        Args:
          cluster: its name.
          num: number of samples.

        Returns:
          `num` rows, one column per target.

        Raises:
          KeyError: there is no cluster of this name.
        """
        if cluster not in self.clusters:
            raise KeyError(f"no cluster {cluster!r}; there are {', '.join(self.clusters):.2000}")
        own = slice(number := self.clusters.index(cluster), number + 1)
        median_NxT, interval_Lx2xNxT = self._bounds
        scaled_1xDxT = joint_posterior.calibrated_samples(
            self.joint[own],
            median_NxT[own],
            interval_Lx2xNxT[:, :, own],
            self.calibrated,
            [np.random.default_rng([*cluster.encode()])],
            num,
        )
        # Ages and masses are not negative.
        physical_DxT = np.maximum(self.target_scalers.inverse(scaled_1xDxT[0], self.target_keys), 0)
        return pd.DataFrame(physical_DxT, columns=list(self.target_keys))

    @functools.cached_property
    def _bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """The scaled medians (N, T) and calibrated bounds (levels, 2, N, T)."""
        names = ["prediction", *(bound for pair in PERCENTILES for bound in pair)]
        # The table has all clusters of the first target first.
        columns_BxNxT = np.stack(
            [self.table[f"{name}_scaled"].to_numpy().reshape(len(self.target_keys), -1).T for name in names]
        )
        return columns_BxNxT[0], columns_BxNxT[1:].reshape(len(PERCENTILES), 2, *columns_BxNxT.shape[1:])


def fit_calibration(outputs: MemberOutputs, target_NxT: np.ndarray, group_N: np.ndarray) -> Calibration:
    """Fit the calibration on validation errors, grouped by simulation (`group_N`)."""
    error_NxT = outputs.points.mean(axis=(0, 2)) - target_NxT
    sigma_T = np.sqrt((error_NxT**2).mean(axis=0))
    return calibration.fit(outputs.pool(sigma_T), target_NxT, group_N, sigma_T)


def summarize(
    outputs: MemberOutputs,
    predictive: Sequence[Mixture],
    calibrated: Calibration,
    target_keys: Sequence[str],
    scalers: ScalerBundle,
) -> dict[str, np.ndarray]:
    """Return the summary of the posterior by column, each (N, T).

    Args:
      predictive: the pooled outputs.

    Returns:
      `prediction_scaled` and `prediction_physical`, the medians; the calibrated bounds of PERCENTILES, such
      as `p16_scaled` and `p16_physical`, physical ones cut at zero; and in physical units `spread_members`
      and `spread_draws`, the standard deviations of the expected values between members (averaged over
      samples) and between samples (averaged over members).
    """
    xp = outputs.output.__array_namespace__()
    median_NxT = xp.stack([one.quantile(0.5) for one in predictive], axis=-1)

    def physical(scaled_NxT):
        # Ages and masses are not negative.
        return xp.maximum(scalers.inverse(scaled_NxT, target_keys), 0)

    values = {"prediction_scaled": median_NxT, "prediction_physical": physical(median_NxT)}
    for names, pair in zip(PERCENTILES, calibrated.intervals(predictive), strict=True):
        for name, bound_NxT in zip(names, pair, strict=True):
            values[f"{name}_scaled"] = bound_NxT
            values[f"{name}_physical"] = physical(bound_NxT)
    points_ExNxSxT = scalers.inverse(outputs.points, target_keys)
    values["spread_members"] = _spread(points_ExNxSxT.mean(axis=2), axis=0)
    values["spread_draws"] = _spread(points_ExNxSxT.mean(axis=0), axis=1)
    return values


def posterior_table(
    outputs: MemberOutputs,
    predictive: Sequence[Mixture],
    calibrated: Calibration,
    target_keys: Sequence[str],
    scalers: ScalerBundle,
) -> pd.DataFrame:
    """Return one row per cluster and target, all clusters of the first target first.

    Returns:
      `cluster`, its number; `target_key`; and the columns of `summarize`.
    """
    values = summarize(outputs, predictive, calibrated, target_keys, scalers)
    cluster_N = np.arange(outputs.output.shape[1])
    return pd.concat(
        [
            pd.DataFrame(
                {"cluster": cluster_N, "target_key": key}
                | {name: value_NxT[:, i] for name, value_NxT in values.items()}
            )
            for i, key in enumerate(target_keys)
        ],
        ignore_index=True,
    )


def _spread(values, axis: int):
    """Return the standard deviation along an axis; 0 where the axis has a single value."""
    xp = values.__array_namespace__()
    return values.std(axis=axis, ddof=1) if values.shape[axis] > 1 else xp.zeros_like(values.take(0, axis))


def table_with_truth(
    outputs: MemberOutputs,
    calibrated: Calibration,
    target_NxT: np.ndarray,
    target_keys: Sequence[str],
    scalers: ScalerBundle,
) -> pd.DataFrame:
    """Return the posterior table with the true values and the scores of the predictions.

    Args:
      target_NxT: true scaled targets.

    Returns:
      beside the columns of `posterior_table`: `target_scaled`, `target_physical`; `is_within_68` and so on,
      whether the calibrated interval of each level covers the true value; `pit`, the probability integral
      transform, `crps_scaled` and `log_score_scaled` (see `Mixture`), all three before calibration.
    """
    predictive = outputs.pool(calibrated.sigma)
    table = posterior_table(outputs, predictive, calibrated, target_keys, scalers)
    target_NxT = np.asarray(target_NxT, np.float64)
    table["target_scaled"] = target_NxT.T.ravel()
    table["target_physical"] = scalers.inverse(target_NxT, target_keys).T.ravel()
    for level, (low, high) in zip(LEVEL_NAMES, PERCENTILES, strict=True):
        table[f"is_within_{level}"] = table["target_scaled"].between(
            table[f"{low}_scaled"], table[f"{high}_scaled"]
        )
    pairs = list(zip(predictive, target_NxT.T, strict=True))
    table["pit"] = np.concatenate([one.pit(truth_N) for one, truth_N in pairs])
    table["crps_scaled"] = np.concatenate([one.crps(truth_N) for one, truth_N in pairs])
    table["log_score_scaled"] = np.concatenate([one.log_score(truth_N) for one, truth_N in pairs])
    return table
