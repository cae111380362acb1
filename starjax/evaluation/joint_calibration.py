"""Tests of the joint posterior of all targets: coverage of its ellipses, and TARP.

Each test ranks the true values of a snapshot among samples of its calibrated posterior: by the distance from
their mean in units of their covariance (the smallest ellipse that contains the true values), or by the
distance from a random point (TARP, "tests of accuracy with random points", Lemos et al. 2023, ICML,
arXiv:2302.03026). If the posterior is right, the share of samples that are closer than the true values is
uniform between 0 and 1. Then the ellipse that contains 68 % of the samples covers 68 % of the true values.

Wrong correlations, with which each target alone may still be calibrated, show in ellipses first. TARP finds
deviations of any form, but needs more snapshots for it.

Conformal intervals of few simulations are slightly too wide on average, and so are ellipses: if a right
posterior is calibrated on 20 (93) simulations, they cover 73 (70) % instead of 68 %, and the p value is below
0.05 in 14 (6) % of all cases (300 simulated cases, 20 test simulations).
"""

import dataclasses

import numpy as np
import pandas as pd

from starjax.evaluation.calibration import LEVEL_NAMES, Calibration
from starjax.evaluation.joint_posterior import calibrated_samples
from starjax.evaluation.posterior import MemberOutputs

# Names of the tests.
TESTS = ("ellipse", "tarp")
# Samples of each posterior, and how many posteriors are sampled at a time, to limit memory.
NUM_SAMPLE, NUM_AT_ONCE = 1000, 500
# Nominal coverages at which curves are evaluated, in per cent; those of LEVELS are among them.
PERCENT = np.arange(1, 100)
# Random signs for a p value, and the seed of these and of the samples, so that results are reproducible.
NUM_SIGN, SEED = 2000, 0


@dataclasses.dataclass(frozen=True)
class CoverageCurve:
    """Coverage of one of TESTS at the nominal values PERCENT.

    Attributes:
      coverage: (99,) shares of snapshots.
      error: (99,) their expected scatter about the nominal values, over sets of calibration and test
        simulations.
      p_value: how often calibrated posteriors deviate by as much as the largest deviation of the curve; one
        if there is only one test simulation.
    """

    coverage: np.ndarray
    error: np.ndarray
    p_value: float

    def summary(self) -> dict[str, float]:
        """Return `coverage_68` and so on with their errors, the largest deviation, and the p value."""
        values: dict[str, float] = {}
        for name in LEVEL_NAMES:
            (at,) = np.flatnonzero(int(name) == PERCENT)
            values |= {f"coverage_{name}": self.coverage[at], f"coverage_{name}_error": self.error[at]}
        deviation = self.coverage - PERCENT / 100
        values["largest_deviation"] = deviation[np.argmax(np.abs(deviation))]
        return {name: float(value) for name, value in values.items()} | {"p_value": self.p_value}


def joint_ranks(
    outputs: MemberOutputs, calibrated: Calibration, target_NxT: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the share (N,) of samples of the posterior that are closer than the truth.

    Args:
      target_NxT: true scaled targets. The random points of TARP are drawn from their range.

    Returns:
      `joint_ellipse` and `joint_tarp`, in the order of TESTS.
    """
    predictive, joint = outputs.pool(calibrated.sigma), outputs.pool_jointly(calibrated.sigma)
    median_NxT = np.stack([one.quantile(0.5) for one in predictive], axis=-1)
    interval_Lx2xNxT = calibrated.intervals(predictive)
    target_NxT = np.asarray(target_NxT, np.float64)
    rng = np.random.default_rng(SEED)
    reference_NxT = rng.uniform(target_NxT.min(axis=0), target_NxT.max(axis=0), target_NxT.shape)
    rngs = rng.spawn(len(target_NxT))
    parts = []
    for start in range(0, len(target_NxT), NUM_AT_ONCE):
        rows = slice(start, start + NUM_AT_ONCE)
        sample_NxDxT = calibrated_samples(
            joint[rows], median_NxT[rows], interval_Lx2xNxT[:, :, rows], calibrated, rngs[rows], NUM_SAMPLE
        )
        truth_NxT = target_NxT[rows]
        parts.append(
            (ellipse_rank(sample_NxDxT, truth_NxT), tarp_rank(sample_NxDxT, truth_NxT, reference_NxT[rows]))
        )
    ranks = np.concatenate(parts, axis=1)
    return {f"joint_{test}": rank_N for test, rank_N in zip(TESTS, ranks, strict=True)}


def tarp_rank(sample_NxDxT: np.ndarray, target_NxT: np.ndarray, reference_NxT: np.ndarray) -> np.ndarray:
    """Return the share (N,) of samples that are closer to the reference point than the truth."""
    distance_NxD = np.square(sample_NxDxT - reference_NxT[:, None]).sum(axis=-1)
    distance_N = np.square(target_NxT - reference_NxT).sum(axis=-1)
    return (distance_NxD < distance_N[:, None]).mean(axis=1)


def ellipse_rank(sample_NxDxT: np.ndarray, target_NxT: np.ndarray) -> np.ndarray:
    """Return the share (N,) of samples in the ellipse about their mean on which the truth lies.

    The axes of the ellipse are those of the samples' covariance (Mahalanobis distance).
    """
    mean_Nx1xT = sample_NxDxT.mean(axis=1, keepdims=True)
    away_NxDxT = sample_NxDxT - mean_Nx1xT
    covariance_NxTxT = away_NxDxT.swapaxes(1, 2) @ away_NxDxT
    precision_NxTxT = np.linalg.inv(covariance_NxTxT)

    def distance(away):
        return ((away @ precision_NxTxT) * away).sum(axis=-1)

    return (distance(away_NxDxT) < distance(target_NxT[:, None] - mean_Nx1xT)).mean(axis=1)


def coverage_curve(
    rank_N: np.ndarray, group_N: np.ndarray, num_calibration: int, rng: np.random.Generator
) -> CoverageCurve:
    """Return the coverage by the ranks of one test, its expected scatter, and a p value.

    Snapshots of one simulation are correlated, so the scatter is that of whole simulations about the nominal
    values (cluster-robust), enlarged by what calibration on few simulations adds. The p value compares the
    largest deviation with those of curves to which each simulation contributes with a random sign (wild
    cluster bootstrap, Cameron, Gelbach & Miller 2008, Rev. Econ. Stat. 90, 414).

    Args:
      rank_N: shares of samples (see `joint_ranks`).
      group_N: the simulation of each snapshot.
      num_calibration: number of simulations of the calibration.
    """
    nominal_A = PERCENT / 100
    _, number_N, size_G = np.unique(group_N, return_inverse=True, return_counts=True)
    count_GxB = np.zeros((len(size_G), len(nominal_A) + 1))
    np.add.at(count_GxB, (number_N, np.searchsorted(nominal_A, rank_N, side="right")), 1)
    covered_GxA = count_GxB.cumsum(axis=1)[:, :-1]
    coverage_A = covered_GxA.sum(axis=0) / len(rank_N)
    # What each simulation contributes to the deviation from the nominal values.
    share_GxA = (covered_GxA - size_G[:, None] * nominal_A) / len(rank_N)
    # Calibration and test set scatter independently, by their numbers of simulations.
    enlarged = np.sqrt(1 + len(size_G) / num_calibration)
    sign_SxG = rng.choice([-1.0, 1.0], size=(NUM_SIGN, len(size_G)))
    largest_S = enlarged * np.abs(sign_SxG @ share_GxA).max(axis=1)
    # The signs as observed are one more draw, so that the p value is never zero.
    p_value = (1 + np.sum(largest_S >= np.abs(coverage_A - nominal_A).max())) / (1 + NUM_SIGN)
    error_A = enlarged * np.sqrt(np.square(share_GxA).sum(axis=0))
    return CoverageCurve(coverage_A, error_A, float(p_value))


def coverage_curves(snapshots: pd.DataFrame, calibrated: Calibration) -> dict[str, CoverageCurve]:
    """Return the curve of each of TESTS.

    Args:
      snapshots: see `SnapshotEvaluator.table`.
    """
    rows = snapshots[snapshots["target_key"] == snapshots["target_key"].iloc[0]]
    # Without names of simulations, every snapshot counts as one.
    group = rows["run_id"] if "run_id" in rows else rows["snapshot_id"]
    return {
        test: coverage_curve(
            rows[f"joint_{test}"].to_numpy(),
            group.to_numpy(),
            calibrated.num_simulation,
            np.random.default_rng(SEED),
        )
        for test in TESTS
    }
