"""Intervals that hold what they say: measured on validation runs, which are not learned from, and kept with the run.

Snapshots of one simulation are not independent, simulations are. A score of one snapshot drawn from each validation
run is exchangeable with that of a snapshot of a new run, so that the split-conformal quantile of these scores
covers it as often as it says (Dunn, Wasserman & Ramdas 2022, arXiv:1809.07441, "subsampling once"). Runs count by their
snapshots, as they are met in a test (weighted split-conformal, Tibshirani et al. 2019, arXiv:1904.06019): long ones are old
and hard. The quantile is averaged over many such draws, lest it depend on one of them.

The score is by how much the predictive interval of a level has to be stretched about its median to reach the truth
(conformalized quantile regression, Romano, Patterson & Candès 2019, arXiv:1905.03222, in its multiplicative form).

The two sides of an interval are stretched alike: what lies beyond both together is right, what lies beyond one is not
where predictions are biased. The same validation runs chose the epochs that answer, so that their errors are a little small.

Where members leave out folds (`data.folds`), all runs of training and validation are validation runs, each told of by the
members that left it out, in the manner of cross-conformal prediction (Vovk 2015, arXiv:1208.0806) but without a guarantee: the
scores are of these few members, what answers is all of them together. These err a little less, and their distribution is a little
wider, so that intervals rather hold too much.

That share is one over all calibrations: of a single one, on few runs, the intervals hold more or less for ever after (Vovk 2012,
arXiv:1209.2673), and a test on few runs finds more or less again. Both scatter as shares of samples in clusters do (Kish 1965,
Survey Sampling, chapter 5), by how alike snapshots of one run are in being held: `correlation`, `share_error`.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold

from starjax import errors
from starjax.evaluation.mixture import Mixture
from starjax.io import files

# Shares of clusters that intervals are to hold.
LEVELS = (0.68, 0.95)
# Draws of one snapshot from each run, and their seed.
NUM_DRAW, SEED = 1000, 0
# Parts of the runs, of which each is held against a calibration on all others, and the draws of such a calibration.
NUM_PART, NUM_DRAW_OF_PART = 20, 100


class CalibrationError(errors.StarjaxError):
    """A calibration that cannot be read."""


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What validation taught of the errors of each target, in scaled units.

    Attributes:
      sigma: (T,) root mean square error.
      stretch: (levels, T) by how much an interval of each of LEVELS is stretched about its median.
      correlation: (levels, T) between snapshots of one run in being held, from 0 to 1; NaN where there is but one run.
      level_error: (levels, T) standard error of the share that so stretched intervals hold of clusters like these, for
        want of more runs to calibrate on; NaN where there is but one.
      num_simulation: validation runs that this is measured on. Of too few no interval can hold a high level; the largest
        score stands in for it.
    """

    sigma: np.ndarray
    stretch: np.ndarray
    correlation: np.ndarray
    level_error: np.ndarray
    num_simulation: int

    def intervals(self, predictive: Sequence[Mixture]) -> np.ndarray:
        """Calibrated bounds in scaled units, (levels, 2, n, T), of the predictive distribution of each target."""
        bounds = np.empty((len(LEVELS), 2, len(predictive[0].weight), len(predictive)))
        for target, one in enumerate(predictive):
            median = one.quantile(0.5)
            for i, level in enumerate(LEVELS):
                for j, end in enumerate(_ends(level)):
                    away = one.quantile(end) - median
                    bounds[i, j, :, target] = median + self.stretch[i, target] * away
        return bounds


def _ends(level: float) -> tuple[float, float]:
    return (1 - level) / 2, (1 + level) / 2


def fit(
    predictive: Sequence[Mixture], target_NxT: np.ndarray, group_N: np.ndarray, sigma_T: np.ndarray
) -> Calibration:
    """Measures how far predictive intervals have to be stretched.

    Args:
      predictive: distributions of each target, of n snapshots.
      target_NxT: what is true, scaled.
      group_N: the run of each snapshot.
      sigma_T: root mean square errors, to be kept.
    """
    stretch, correlation, level_error = np.empty((3, len(LEVELS), len(predictive)))
    size_G = np.unique(group_N, return_counts=True)[1]
    for target, one in enumerate(predictive):
        for i, level in enumerate(LEVELS):
            score_N = stretch_needed(one, target_NxT[:, target].astype(np.float64), level)
            stretch[i, target] = quantile_of_groups(score_N, group_N, level)
            correlation[i, target] = _correlation(score_N, group_N, level)
            level_error[i, target] = share_error(level, correlation[i, target], size_G)
    return Calibration(np.asarray(sigma_T, np.float64), stretch, correlation, level_error, len(size_G))


def stretch_needed(predictive: Mixture, target_N: np.ndarray, level: float) -> np.ndarray:
    """By how much the interval of a level would have to be stretched about its median to reach the truth, (n,)."""
    median_N = predictive.quantile(0.5)
    low_N, high_N = (predictive.quantile(end) for end in _ends(level))
    away_N = target_N - median_N
    return away_N / np.where(away_N < 0, low_N - median_N, high_N - median_N)


def share_error(level: float, correlation: float, size_G: np.ndarray) -> float:
    """Standard error of the share of snapshots that intervals hold, which hold `level` of all.

    Args:
      correlation: between snapshots of one run in being held.
      size_G: snapshots of each run.
    """
    num_pair = np.sum(size_G * (size_G - 1.0))
    num = np.sum(size_G)
    return float(np.sqrt(level * (1 - level) * (num + correlation * num_pair)) / num)


def _correlation(score_N: np.ndarray, group_N: np.ndarray, level: float) -> float:
    """Between snapshots of one run in being held, by intervals that were calibrated without it."""
    num_group = len(np.unique(group_N))
    if num_group < 2:
        return np.nan
    away_N = np.empty(len(score_N))
    for others, part in GroupKFold(min(NUM_PART, num_group)).split(score_N, groups=group_N):
        stretch = quantile_of_groups(score_N[others], group_N[others], level, NUM_DRAW_OF_PART)
        away_N[part] = (score_N[part] <= stretch) - level
    of_group = pd.Series(away_N).groupby(group_N)
    sum_G, size_G = of_group.sum(), of_group.size()
    num_pair = np.sum(size_G * (size_G - 1))
    if num_pair == 0:
        return 0.0
    of_pair = (np.sum(sum_G**2) - np.sum(away_N**2)) / num_pair
    return float(np.clip(of_pair / (level * (1 - level)), 0, 1))


def quantile_of_groups(
    score_N: np.ndarray, group_N: np.ndarray, level: float, num_draw: int = NUM_DRAW
) -> float:
    """The score that a member of a new group stays below with probability `level`.

    Of the scores of one member of each group, weighed by the groups' sizes, the lowest that this share of all weight does
    not exceed; the new group's score is beyond all, and its weight what groups are met with. Averaged over draws of
    the members. Of k groups of one size it is the ceil(level (k + 1))-th lowest; of too few groups, the largest.
    """
    _, number_N = np.unique(group_N, return_inverse=True)
    order_N = np.argsort(number_N, kind="stable")
    size_G = np.bincount(number_N)
    first_G = np.cumsum(size_G) - size_G
    rng = np.random.default_rng(SEED)
    member_DxG = (rng.random((num_draw, len(size_G))) * size_G).astype(int)
    drawn_DxG = score_N[order_N[first_G + member_DxG]]
    rank_DxG = np.argsort(drawn_DxG, axis=1)
    weight_DxG = size_G[rank_DxG].cumsum(axis=1)
    weight_of_new = (size_G**2).sum() / size_G.sum()
    # Rounding must not make a whole rank of the weight just reached.
    needed = level * (size_G.sum() + weight_of_new) * (1 - 1e-12)
    chosen_Dx1 = np.minimum((weight_DxG < needed).sum(axis=1, keepdims=True), len(size_G) - 1)
    ascending_DxG = np.take_along_axis(drawn_DxG, rank_DxG, axis=1)
    return float(np.take_along_axis(ascending_DxG, chosen_Dx1, axis=1).mean())


def save(path: Path, calibration: Calibration, target_keys: Sequence[str]) -> None:
    """Writes a calibration as JSON that people can read."""
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
    """By level, None where there is no value: JSON knows no NaN."""
    return {
        str(level): None if np.isnan(value) else float(value)
        for level, value in zip(LEVELS, values, strict=True)
    }


def _number(value: float | None) -> float:
    if value is None:
        return np.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"a {type(value).__name__} instead of a number")
    return float(value)


def load(path: Path, target_keys: Sequence[str]) -> Calibration:
    """Reads a calibration.

    Raises:
      CalibrationError: the file is missing, damaged, or of other targets.
    """
    try:
        content = files.read_json(path)
        targets = [content["targets"][key] for key in target_keys]
        sigma = np.array([_number(one["sigma"]) for one in targets])
        stretch, correlation, level_error = (
            np.array([[_number(one[name][str(level)]) for one in targets] for level in LEVELS])
            for name in ("stretch", "correlation", "level_error")
        )
        if not np.isfinite(stretch).all():
            raise ValueError("a stretch that is no finite number")
        return Calibration(sigma, stretch, correlation, level_error, int(_number(content["num_simulation"])))
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise CalibrationError(
            f"{path} cannot be read ({type(error).__name__}: {error}): restore it, or train the run again"
        ) from error
