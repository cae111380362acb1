"""What a run says of clusters: a distribution of each target, and from it a value, intervals and how members agree.

A cluster may be seen in several samples (`num_draws`) and by several members; their distributions are pooled with equal
weights, and the spread of the values among them is told apart.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from starjax.datasets.scalers.bundle import ScalerBundle
from starjax.evaluation import calibration
from starjax.evaluation.calibration import Calibration
from starjax.evaluation.mixture import Mixture, marginals
from starjax.models import heads

# What bounds of calibrated intervals are called: the percentiles that they stand for.
PERCENTILES = tuple(
    (f"p{100 * (1 - level) / 2:.3g}", f"p{100 * (1 + level) / 2:.3g}") for level in calibration.LEVELS
)


@dataclasses.dataclass(frozen=True)
class MemberOutputs:
    """What E members give for S samples of each of N clusters.

    Attributes:
      output: (E, N, S, O).
      head: what they mean.
    """

    output: np.ndarray
    head: heads.PointHead | heads.MixtureHead

    @property
    def points(self) -> np.ndarray:
        """Expected scaled targets (E, N, S, T)."""
        return np.asarray(self.head.mean(self.output), np.float64)

    def pooled(self, sigma_T: np.ndarray) -> list[Mixture]:
        """The distribution of each target over members and samples, one row a cluster."""
        num_member, num_cluster, num_sample, _ = self.output.shape

        def regroup(x):
            by_cluster = np.moveaxis(x.reshape(num_member, num_cluster, num_sample, -1), 1, 0)
            return by_cluster.reshape(num_cluster, -1)

        each = marginals(self.head, self.output.reshape(-1, self.output.shape[-1]), sigma_T)
        share = num_member * num_sample
        return [Mixture(regroup(m.weight) / share, regroup(m.mean), regroup(m.sigma)) for m in each]


@dataclasses.dataclass(frozen=True)
class Posterior:
    """What a run says of clusters.

    Attributes:
      table: one row a cluster and target (see `table`); `cluster` is the name, beside it `num_star`, `novelty`.
      predictive: the distribution of each target in scaled units, before calibration, one row a cluster.
    """

    table: pd.DataFrame
    predictive: Sequence[Mixture]


def fit_calibration(outputs: MemberOutputs, target_NxT: np.ndarray, group_N: np.ndarray) -> Calibration:
    """What the errors on validation clusters, of runs `group_N`, teach of the next ones'."""
    error_NxT = outputs.points.mean(axis=(0, 2)) - target_NxT
    sigma_T = np.sqrt((error_NxT**2).mean(axis=0))
    return calibration.fit(outputs.pooled(sigma_T), target_NxT, group_N, sigma_T)


def posterior_table(
    outputs: MemberOutputs,
    predictive: Sequence[Mixture],
    calibrated: Calibration,
    target_keys: Sequence[str],
    scalers: ScalerBundle,
) -> pd.DataFrame:
    """One row a cluster and target, clusters of the first target first.

    Args:
      predictive: the outputs pooled.

    Returns:
      `cluster` (number), `target_key`; `prediction_scaled` and `prediction_physical`, the medians; their bounds by
      PERCENTILES, calibrated, physical ones cut at zero; `spread_members` and `spread_draws` (physical), the standard deviations of expected
      values between members (of their means over samples) and between samples (of the means over members).
    """
    median_NxT = np.stack([one.quantile(0.5) for one in predictive], axis=-1)
    bounds = calibrated.intervals(predictive)

    def physical(scaled_NxT):
        # No age and no mass is negative.
        return np.maximum(scalers.inverse(scaled_NxT, target_keys), 0)

    values = {"prediction_scaled": median_NxT, "prediction_physical": physical(median_NxT)}
    for names, pair in zip(PERCENTILES, bounds, strict=True):
        for name, bound_NxT in zip(names, pair, strict=True):
            values[f"{name}_scaled"] = bound_NxT
            values[f"{name}_physical"] = physical(bound_NxT)
    physical_ExNxSxT = scalers.inverse(outputs.points, target_keys)
    values["spread_members"] = _spread(physical_ExNxSxT.mean(axis=2), axis=0)
    values["spread_draws"] = _spread(physical_ExNxSxT.mean(axis=0), axis=1)
    return pd.concat(
        [
            pd.DataFrame(
                {"cluster": np.arange(len(median_NxT)), "target_key": key}
                | {name: value_NxT[:, i] for name, value_NxT in values.items()}
            )
            for i, key in enumerate(target_keys)
        ],
        ignore_index=True,
    )


def _spread(values, axis: int) -> np.ndarray:
    """Standard deviation between values; 0 where there is one."""
    return values.std(axis=axis, ddof=1) if values.shape[axis] > 1 else np.zeros_like(values.take(0, axis))


def table_with_truth(
    outputs: MemberOutputs,
    calibrated: Calibration,
    target_NxT: np.ndarray,
    target_keys: Sequence[str],
    scalers: ScalerBundle,
) -> pd.DataFrame:
    """The same table with what is true, and how well it was told.

    Returns:
      beside the columns of `table`: `target_scaled`, `target_physical`; `is_within_68` and so on, whether the
      calibrated interval of each level holds the truth; `pit`, the distribution's value at the truth, `crps_scaled` and `log_score_scaled`, its scores (see `scoring.Mixture`), all before calibration.
    """
    predictive = outputs.pooled(calibrated.sigma)
    found = posterior_table(outputs, predictive, calibrated, target_keys, scalers)
    target_NxT = np.asarray(target_NxT, np.float64)
    found["target_scaled"] = target_NxT.T.ravel()
    found["target_physical"] = scalers.inverse(target_NxT, target_keys).T.ravel()
    for level, (low, high) in zip(calibration.LEVELS, PERCENTILES, strict=True):
        found[f"is_within_{100 * level:.0f}"] = found["target_scaled"].between(
            found[f"{low}_scaled"], found[f"{high}_scaled"]
        )
    truths = list(zip(predictive, target_NxT.T, strict=True))
    found["pit"] = np.concatenate([one.pit(truth_N) for one, truth_N in truths])
    found["crps_scaled"] = np.concatenate([one.crps(truth_N) for one, truth_N in truths])
    found["log_score_scaled"] = np.concatenate([one.log_score(truth_N) for one, truth_N in truths])
    return found
