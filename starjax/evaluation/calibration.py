"""Split-conformal calibration of predictive intervals, on validation simulations.

Snapshots of one simulation are correlated, simulations are exchangeable. If one snapshot is drawn from each
validation simulation, its score is exchangeable with that of a snapshot of a new simulation, so that
intervals from the split-conformal quantile of such scores have nominal coverage (Dunn, Wasserman & Ramdas
2022, arXiv:1809.07441, "subsampling once"). Simulations are weighted by their number of snapshots, in
proportion to which a test contains them (weighted split-conformal prediction, Tibshirani et al. 2019,
arXiv:1904.06019): long simulations reach old ages, which are hard to predict. The quantile is averaged over
many draws, so that it does not depend on a single one.

The conformity score is the factor by which a predictive interval has to be stretched about its median to
reach the true value (conformalized quantile regression, Romano, Patterson & Candès 2019, arXiv:1905.03222, in
multiplicative form). Both sides of an interval are stretched by the same factor: the sum of both tails is
calibrated, but not each tail if predictions are biased. The same validation simulations selected the best
epoch, so their errors are slightly too small.

With cross-validation (`datasets.folds`), all simulations of training and validation serve for calibration,
each predicted by the ensemble members that left it out. This resembles cross-conformal prediction (Vovk 2015,
arXiv:1208.0806) without its guarantee: the scores are those of a few members, while predictions are made by
the whole ensemble. The ensemble's errors are slightly smaller and its distributions slightly wider, so that
coverage tends to be above nominal.

Nominal coverage is guaranteed on average over calibration sets. Given one set of few simulations, coverage
may lie above or below (Vovk 2012, arXiv:1209.2673), and its estimate from few test simulations scatters
again. Both scatter like proportions in cluster sampling (Kish 1965, Survey Sampling, chapter 5), which
depends on the correlation of coverage between snapshots of one simulation: see `correlation` and
`coverage_error`.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from starjax import errors
from starjax.evaluation.mixture import Mixture
from starjax.io import files

# Nominal coverage of the calibrated intervals.
LEVELS = (0.68, 0.95)
# Levels and bounds of intervals as the columns of tables name them: in per cent, and as percentiles.
LEVEL_NAMES = tuple(f"{100 * level:.0f}" for level in LEVELS)
PERCENTILES = tuple((f"p{100 * (1 - level) / 2:.3g}", f"p{100 * (1 + level) / 2:.3g}") for level in LEVELS)
# Draws of one snapshot per simulation, and their seed, so that a calibration is reproducible.
NUM_DRAW, SEED = 1000, 0
# Subsets of the simulations, each tested with a calibration on all others, and draws of such a calibration:
# fewer, as it is repeated for every subset.
NUM_SUBSET, NUM_DRAW_OF_SUBSET = 20, 100


class CalibrationError(errors.StarjaxError):
    """A calibration that cannot be read."""


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Errors of each target on validation simulations, in scaled units.

    Attributes:
      sigma: (T,) root mean square error.
      stretch: (levels, T) factor by which an interval of each of LEVELS is stretched about its median.
      correlation: (levels, T) correlation of coverage between snapshots of one simulation, from 0 to 1; NaN
        if there is only one simulation.
      level_error: (levels, T) standard error of the coverage of the stretched intervals on clusters like
        these, due to the finite number of simulations; NaN if there is only one.
      num_simulation: number of validation simulations. If they are too few for a high level, the largest
        score is used.
    """

    sigma: np.ndarray
    stretch: np.ndarray
    correlation: np.ndarray
    level_error: np.ndarray
    num_simulation: int

    def intervals(self, predictive: Sequence[Mixture]) -> np.ndarray:
        """Return the calibrated bounds (levels, 2, n, T), in scaled units.

        Args:
          predictive: the distributions of each target, of numpy or of jax arrays.
        """
        xp = predictive[0].mean.__array_namespace__()
        median_T = [one.quantile(0.5) for one in predictive]

        def bound(stretch_T, end):
            columns = [
                median + float(stretch) * (one.quantile(end) - median)
                for one, median, stretch in zip(predictive, median_T, stretch_T, strict=True)
            ]
            return xp.stack(columns, axis=-1)

        return xp.stack(
            [
                xp.stack([bound(stretch_T, end) for end in _ends(level)])
                for level, stretch_T in zip(LEVELS, self.stretch, strict=True)
            ]
        )


def _ends(level: float) -> tuple[float, float]:
    """Return the probabilities below the two bounds of a central interval."""
    return (1 - level) / 2, (1 + level) / 2


def fit(
    predictive: Sequence[Mixture], target_NxT: np.ndarray, group_N: np.ndarray, sigma_T: np.ndarray
) -> Calibration:
    """Fit the stretch of the predictive intervals.

    Args:
      predictive: the distributions of each target, of N snapshots.
      target_NxT: true scaled targets.
      group_N: the simulation of each snapshot.
      sigma_T: root mean square errors, which the calibration keeps.
    """
    stretch, correlation, level_error = np.empty((3, len(LEVELS), len(predictive)))
    size_G = np.unique(group_N, return_counts=True)[1]
    for target, one in enumerate(predictive):
        for i, level in enumerate(LEVELS):
            score_N = conformity_score(one, target_NxT[:, target].astype(np.float64), level)
            stretch[i, target] = quantile_of_groups(score_N, group_N, level)
            correlation[i, target] = _correlation(score_N, group_N, level)
            level_error[i, target] = coverage_error(level, correlation[i, target], size_G)
    return Calibration(np.asarray(sigma_T, np.float64), stretch, correlation, level_error, len(size_G))


def conformity_score(predictive: Mixture, target_N: np.ndarray, level: float) -> np.ndarray:
    """Return the factors (N,) that stretch the intervals about their medians to reach the true values."""
    median_N = predictive.quantile(0.5)
    low_N, high_N = (predictive.quantile(end) for end in _ends(level))
    # Each error is measured by the half of the interval on its side of the median.
    error_N = target_N - median_N
    return error_N / np.where(error_N < 0, low_N - median_N, high_N - median_N)


def coverage_error(level: float, correlation: float, size_G: np.ndarray) -> float:
    """Return the standard error of the coverage measured on few simulations (Kish 1965, chapter 5).

    Args:
      level: nominal coverage.
      correlation: correlation of coverage between snapshots of one simulation.
      size_G: number of snapshots of each simulation.
    """
    num_pair = np.sum(size_G * (size_G - 1.0))
    num = np.sum(size_G)
    return float(np.sqrt(level * (1 - level) * (num + correlation * num_pair)) / num)


def _correlation(score_N: np.ndarray, group_N: np.ndarray, level: float) -> float:
    """Return the correlation of coverage between snapshots of one simulation.

    Each subset of the simulations is tested with intervals that were calibrated on the others. Tested on
    their own calibration set, intervals would cover too evenly.
    """
    from sklearn.model_selection import GroupKFold  # slow to import, and needed after training only

    num_group = len(np.unique(group_N))
    if num_group < 2:
        return np.nan
    excess_N = np.empty(len(score_N))
    for others, subset in GroupKFold(min(NUM_SUBSET, num_group)).split(score_N, groups=group_N):
        stretch = quantile_of_groups(score_N[others], group_N[others], level, NUM_DRAW_OF_SUBSET)
        excess_N[subset] = (score_N[subset] <= stretch) - level
    of_group = pd.Series(excess_N).groupby(group_N)
    sum_G, size_G = of_group.sum(), of_group.size()
    num_pair = np.sum(size_G * (size_G - 1))
    if num_pair == 0:
        return 0.0
    # The sum over all pairs of a group is the square of its sum, less the squares of its values.
    covariance = (np.sum(sum_G**2) - np.sum(excess_N**2)) / num_pair
    # Few simulations may give an estimate that no correlation can have.
    return float(np.clip(covariance / (level * (1 - level)), 0, 1))


def quantile_of_groups(
    score_N: np.ndarray, group_N: np.ndarray, level: float, num_draw: int = NUM_DRAW
) -> float:
    """Return the score that a snapshot of a new group does not exceed with probability `level`.

    One score is drawn from each group and weighted by the group's size. The result is their weighted
    quantile, with the score of the new group at infinity and its weight the mean weight of the group of a
    snapshot, averaged over draws. For k groups of equal size it is the ceil(level (k + 1))-th smallest score;
    for too few groups, the largest.

    Args:
      score_N: conformity scores of the snapshots.
      group_N: the simulation of each snapshot.
      level: between 0 and 1.
      num_draw: draws to average over.
    """
    _, number_N = np.unique(group_N, return_inverse=True)
    order_N = np.argsort(number_N, kind="stable")
    size_G = np.bincount(number_N)
    first_G = np.cumsum(size_G) - size_G
    # Made anew in each call, so that the result depends on the arguments alone.
    rng = np.random.default_rng(SEED)
    snapshot_DxG = (rng.random((num_draw, len(size_G))) * size_G).astype(int)
    drawn_DxG = score_N[order_N[first_G + snapshot_DxG]]
    rank_DxG = np.argsort(drawn_DxG, axis=1)
    weight_DxG = size_G[rank_DxG].cumsum(axis=1)
    weight_of_new = (size_G**2).sum() / size_G.sum()
    # If the weight is reached exactly, rounding errors must not select the next rank.
    needed = level * (size_G.sum() + weight_of_new) * (1 - 1e-12)
    chosen_Dx1 = np.minimum((weight_DxG < needed).sum(axis=1, keepdims=True), len(size_G) - 1)
    ascending_DxG = np.take_along_axis(drawn_DxG, rank_DxG, axis=1)
    return float(np.take_along_axis(ascending_DxG, chosen_Dx1, axis=1).mean())


def save(path: Path, calibration: Calibration, target_keys: Sequence[str]) -> None:
    """Write a calibration as JSON."""
    content = {
        "num_simulation": calibration.num_simulation,
        "targets": {
            key: {
                "sigma": float(calibration.sigma[i]),
                "stretch": _by_level(calibration.stretch[:, i]),
                "correlation": _by_level(calibration.correlation[:, i]),
                "level_error": _by_level(calibration.level_error[:, i]),
            }
            for i, key in enumerate(target_keys)
        },
    }
    files.write_json(path, content)


def _by_level(values: np.ndarray) -> dict[str, float | None]:
    """Return the values by level, None for NaN, which JSON lacks."""
    return {
        str(level): None if np.isnan(value) else float(value)
        for level, value in zip(LEVELS, values, strict=True)
    }


def _number(value: float | None) -> float:
    """Return a number read from JSON, NaN for None; raise TypeError for anything else."""
    if value is None:
        return np.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"a {type(value).__name__} instead of a number")
    return float(value)


def load(path: Path, target_keys: Sequence[str]) -> Calibration:
    """Read a calibration.

    Raises:
      CalibrationError: the file is missing, damaged, or belongs to other targets.
    """
    try:
        content = files.read_json(path)
        targets = [content["targets"][key] for key in target_keys]
        sigma = np.array([_number(one["sigma"]) for one in targets])
        stretch, correlation, level_error = (
            np.array([[_number(one[name][str(level)]) for one in targets] for level in LEVELS])
            for name in ("stretch", "correlation", "level_error")
        )
        if not (np.isfinite(sigma).all() and np.isfinite(stretch).all()):
            raise ValueError("a value of sigma or stretch is not finite")
        return Calibration(sigma, stretch, correlation, level_error, int(_number(content["num_simulation"])))
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise CalibrationError(
            f"{path} cannot be read ({type(error).__name__}: {error}): restore it, or train the run again"
        ) from error
