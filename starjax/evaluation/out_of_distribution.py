"""Out-of-distribution score: how unlike all training clusters a cluster is. Tables call it `novelty`.

A cluster is summarized as the model sees it: the logarithm of its number of stars, and quantiles of each
scaled feature, positions and velocities about their median. Its score is the mean distance to the nearest
training clusters in whitened summary space (with the shrunk covariance of Ledoit & Wolf 2004, J. Multivar.
Anal. 88, 365), divided by the 95th percentile of that distance over validation simulations. With
cross-validation, each simulation is compared with those of the other folds. Nearest neighbours assume no
shape of the training set, which need not be a single cloud.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from starjax import errors
from starjax.datasets.scalers.bundle import ScalerBundle
from starjax.datasets.shard import Shard
from starjax.evaluation import array_functions, calibration
from starjax.io import files, npz
from starjax.sampling import centering

QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
# More than one, so that a single odd training cluster does not make others like it familiar.
NUM_NEIGHBOUR = 5
# Fraction of clusters of held-out simulations whose score exceeds 1.
FALSE_ALARMS = 0.05
# Most training clusters that a run keeps for comparison. A prediction reads them all, and an exported program
# compares with each.
MAX_REFERENCE = 4096


class OutOfDistributionError(errors.StarjaxError):
    """A training reference that cannot be read."""


@dataclasses.dataclass(frozen=True)
class TrainingReference:
    """The training clusters of a run, in the summary space of `describe`.

    Attributes:
      center, whitening: (S,), (S, S); clusters are compared as (summary - center) @ whitening.
      known: (n, S) whitened summaries of training clusters.
      threshold: mean distance to the nearest of them at which the score is 1.
      num_star, target: (n,), (n, T) number of stars and true targets of these clusters, in physical units.
      range_keys, ranges: quantities whose range training covered, and (len(range_keys), 2) their minima and
        maxima.
    """

    center: np.ndarray
    whitening: np.ndarray
    known: np.ndarray
    threshold: float
    num_star: np.ndarray
    target: np.ndarray
    range_keys: tuple[str, ...]
    ranges: np.ndarray

    def novelty(self, summary_NxS: np.ndarray) -> np.ndarray:
        """Return the score (N,) of summaries; above 1 a cluster is unlike the training set."""
        whitened_NxS = (summary_NxS - self.center[None]) @ self.whitening
        return _distance(self.known, whitened_NxS) / self.threshold

    def range_of(self, key: str) -> tuple[float, float]:
        """Return minimum and maximum of `key` in training; infinite ones if training did not record it."""
        if key not in self.range_keys:
            return -np.inf, np.inf
        low, high = self.ranges[self.range_keys.index(key)].tolist()
        return low, high


def describe(
    stars_NxF: np.ndarray,
    feature_keys: Sequence[str],
    feature_clip: float,
    mask_N: np.ndarray | None = None,
) -> np.ndarray:
    """Return the summary of one cluster: log number of stars, and QUANTILES of each feature about its centre.

    Args:
      stars_NxF: scaled features, of a numpy or a jax array.
      feature_keys: their names, by which features are centred.
      feature_clip: the model clips scaled features beyond this magnitude.
      mask_N: True for stars, False for padded positions; None if all are stars.

    Returns:
      (1 + 7 F,).
    """
    xp = stars_NxF.__array_namespace__()
    num = len(stars_NxF) if mask_N is None else mask_N.sum()
    # Padded positions sort behind all stars.
    stars_NxF = stars_NxF if mask_N is None else xp.where(mask_N[:, None], stars_NxF, xp.inf)
    ascending_NxF = xp.sort(stars_NxF, axis=0)
    is_centred_F = np.isin(np.arange(len(feature_keys)), centering.centred_columns(feature_keys))
    shift_F = xp.where(is_centred_F, _median(ascending_NxF, num), 0)
    # Clipping keeps the order, so that the quantiles are those of what the model sees.
    clipped_NxF = xp.clip(ascending_NxF - shift_F[None], -feature_clip, feature_clip)
    return xp.concatenate([xp.atleast_1d(xp.log(num)), _quantiles(clipped_NxF, num).ravel()])


def _median(ascending_NxF, num):
    """Return the median (F,) of the first `num` rows."""
    xp = ascending_NxF.__array_namespace__()
    return (xp.take(ascending_NxF, (num - 1) // 2, axis=0) + xp.take(ascending_NxF, num // 2, axis=0)) / 2


def _quantiles(ascending_NxF, num):
    """Return QUANTILES (Q, F) of the first `num` rows, interpolated and rounded as by `np.quantile`."""
    xp = ascending_NxF.__array_namespace__()
    rank_Q = np.array(QUANTILES) * (num - 1)
    low_Q = xp.floor(rank_Q).astype(xp.int32)
    low_QxF = xp.take(ascending_NxF, low_Q, axis=0)
    high_QxF = xp.take(ascending_NxF, xp.minimum(low_Q + 1, num - 1), axis=0)
    fraction_Qx1 = (rank_Q - low_Q)[:, None]
    step_QxF = high_QxF - low_QxF
    # From the nearer end, so that a fraction of 1 gives the upper value exactly.
    return xp.where(
        fraction_Qx1 < 0.5, low_QxF + step_QxF * fraction_Qx1, high_QxF - step_QxF * (1 - fraction_Qx1)
    )


def describe_all(
    shard: Shard, feature_keys: Sequence[str], feature_clip: float, snapshots: np.ndarray | None = None
) -> np.ndarray:
    """Return the summaries (n, S) of snapshots of a scaled shard, of all or of those numbered."""
    snapshots = np.arange(shard.num_snapshot) if snapshots is None else snapshots
    rows = [slice(shard.ptr[i], shard.ptr[i + 1]) for i in snapshots]
    columns = [shard.feature_keys.index(key) for key in feature_keys]
    stars = (shard.feature[one][:, columns].astype(np.float64) for one in rows)
    return np.stack([describe(stars_NxF, feature_keys, feature_clip) for stars_NxF in stars])


def reference_snapshots(num_snapshot: int) -> np.ndarray:
    """Return the numbers of MAX_REFERENCE evenly spaced snapshots, or of all if they are fewer."""
    return np.unique(np.linspace(0, num_snapshot - 1, MAX_REFERENCE).astype(int))


def fit_reference(
    train: Shard,
    val: Shard,
    target_scalers: ScalerBundle,
    feature_keys: Sequence[str],
    feature_clip: float,
    whole: Shard | None = None,
    fold_N: np.ndarray | None = None,
) -> TrainingReference:
    """Fit the summary space on training clusters, and the threshold on validation simulations.

    Args:
      train, val: scaled shards.
      feature_keys, feature_clip: the features that the model sees, and how it clips them.
      whole: the whole training set, if `train` is a part of it: the ranges are those of the whole.
      fold_N: the fold of each snapshot of `val`, if `val` is the training set itself: each snapshot is then
        compared with those of the other folds.
    """
    from sklearn.covariance import ledoit_wolf  # slow to import, and needed after training only

    whole = train if whole is None else whole
    chosen, chosen_val = reference_snapshots(train.num_snapshot), reference_snapshots(val.num_snapshot)
    train_NxS = describe_all(train, feature_keys, feature_clip, chosen)
    val_NxS = describe_all(val, feature_keys, feature_clip, chosen_val)
    center = train_NxS.mean(axis=0)
    covariance, _ = ledoit_wolf(train_NxS)
    values, vectors = np.linalg.eigh(covariance)
    # A direction without variance must not make all distances infinite.
    whitening = vectors / np.sqrt(np.maximum(values, 1e-12 * values.max()))
    known = (train_NxS - center) @ whitening
    held_out = (val_NxS - center) @ whitening
    distance = (
        _distance(known, held_out)
        if fold_N is None
        else _distance_to_other_folds(known, held_out, fold_N[chosen_val])
    )
    # By simulation, since the snapshots of one are alike (see `calibration`).
    threshold = calibration.quantile_of_groups(distance, val.group[chosen_val], 1 - FALSE_ALARMS)
    target, target_of_all = (
        target_scalers.inverse(one.target.astype(np.float64), one.target_keys) for one in (train, whole)
    )
    limited = dict(zip(whole.target_keys, target_of_all.T, strict=True)) | {"num_star": np.diff(whole.ptr)}
    if whole.distance_pc is not None:
        limited["distance_pc"] = whole.distance_pc
    return TrainingReference(
        center,
        whitening,
        known,
        threshold,
        np.diff(train.ptr)[chosen],
        target[chosen],
        tuple(limited),
        np.array([[values.min(), values.max()] for values in limited.values()], np.float64),
    )


def _distance_to_other_folds(known: np.ndarray, whitened: np.ndarray, fold_N: np.ndarray) -> np.ndarray:
    """Return the mean distance (N,) to the nearest rows of other folds; both arrays have the same rows."""
    distance = np.empty(len(whitened))
    for fold in np.unique(fold_N):
        is_inside = fold_N == fold
        distance[is_inside] = _distance(known[~is_inside], whitened[is_inside])
    return distance


def _distance(known: np.ndarray, whitened: np.ndarray) -> np.ndarray:
    """Return the mean distance (N,) of each row of `whitened` (N, S) to its nearest rows of `known`."""
    num_neighbour = min(NUM_NEIGHBOUR, len(known))
    if array_functions.is_jax(whitened):
        # scikit-learn's search trees need fewer comparisons, but cannot be traced.
        xp = whitened.__array_namespace__()
        all_pairs = xp.linalg.norm(known[None] - whitened[:, None], axis=-1)
        return xp.sort(all_pairs, axis=1)[:, :num_neighbour].mean(axis=1)
    from sklearn.neighbors import NearestNeighbors  # slow to import

    distance, _ = NearestNeighbors(n_neighbors=num_neighbour).fit(known).kneighbors(whitened)
    return distance.mean(axis=1)


def save(path: Path, reference: TrainingReference) -> None:
    """Write a reference as `.npz`."""
    arrays = dataclasses.asdict(reference)
    with files.atomic_write(path) as temporary:
        np.savez(temporary, **arrays)


def load(path: Path) -> TrainingReference:
    """Read a reference.

    Raises:
      OutOfDistributionError: the file is missing or damaged.
    """
    try:
        arrays = npz.read_npz(path, [field.name for field in dataclasses.fields(TrainingReference)])
        plain: dict[str, Any] = {
            "threshold": float(arrays["threshold"]),
            "range_keys": tuple(map(str, arrays["range_keys"])),
            # Those of packaged models are stored in half of the bytes.
            "known": arrays["known"].astype(np.float64),
        }
        reference = TrainingReference(**arrays | plain)
        _check(reference)
        return reference
    except npz.DAMAGE as error:
        raise OutOfDistributionError(
            f"{path} cannot be read ({type(error).__name__}: {error}): restore it, or train the run again"
        ) from error


def _check(reference: TrainingReference) -> None:
    """Raise ValueError if arrays are not numeric or their shapes do not fit each other."""
    num_known, num_target = len(reference.known), reference.target.shape[-1:]
    num_summary = reference.center.shape[:1]
    shapes = {
        "center": num_summary,
        "whitening": num_summary * 2,
        "known": (num_known, *num_summary),
        "num_star": (num_known,),
        "target": (num_known, *num_target),
        "ranges": (len(reference.range_keys), 2),
    }
    for name, shape in shapes.items():
        array = getattr(reference, name)
        if array.shape != shape or array.dtype.kind not in "iuf" or not (array.size or name == "ranges"):
            raise ValueError(
                f"{name} should be numbers of shape {shape}, is {array.dtype} of shape {array.shape}"
            )
