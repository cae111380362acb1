"""How unlike a cluster is to all that a run was trained on.

A cluster is described by what its stars look like to the model: the logarithm of their number, and quantiles of each
scaled feature, places and velocities about their median. Its novelty is the mean distance to the nearest training clusters, where directions in which these
vary together count as one (whitened by the shrunk covariance of Ledoit & Wolf 2004), in units of the distance that
few clusters of the validation runs exceed (of all runs, from those of other folds, where folds are left out), to which
training is as new as a like simulation can be. Nearest neighbours
need no shape of the training set, such as one cloud: simulations of unlike kinds are several.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.covariance import ledoit_wolf
from sklearn.neighbors import NearestNeighbors

from starjax import errors
from starjax.datasets.scalers.bundle import ScalerBundle
from starjax.datasets.shard import Shard
from starjax.evaluation import calibration
from starjax.io import files, npz
from starjax.sampling import centering

QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
NUM_NEIGHBOUR = 5
# Of clusters like those trained on, the share that is called new.
FALSE_ALARMS = 0.05
# Training clusters that are remembered, at most.
MAX_REFERENCE = 4096


class OutOfDistributionError(errors.StarjaxError):
    """A record of training clusters that cannot be read."""


@dataclasses.dataclass(frozen=True)
class TrainingReference:
    """The training clusters of a run, as `describe` sees them.

    Attributes:
      center, whitening: (S,), (S, S); clusters are compared as (description - center) @ whitening.
      known: (n, S), training clusters so whitened.
      threshold: the mean distance to the nearest of them at which a cluster has novelty 1.
      num_star, target: (n,), (n, T), their stars and what is true of them, in physical units.
      range_keys, ranges: names of what training was limited to, and (len(range_keys), 2) least and most of each.
    """

    center: np.ndarray
    whitening: np.ndarray
    known: np.ndarray
    threshold: float
    num_star: np.ndarray
    target: np.ndarray
    range_keys: tuple[str, ...]
    ranges: np.ndarray

    def novelty(self, description_NxS: np.ndarray) -> np.ndarray:
        """(N,); above 1 a cluster is unlike anything seen."""
        return _distance(self.known, (description_NxS - self.center) @ self.whitening) / self.threshold

    def range_of(self, key: str) -> tuple[float, float]:
        """Least and most of `key` in training; all numbers, where training did not know it."""
        if key not in self.range_keys:
            return -np.inf, np.inf
        low, high = self.ranges[self.range_keys.index(key)].tolist()
        return low, high


def describe(feature_NxF: np.ndarray, feature_keys: Sequence[str], feature_clip: float) -> np.ndarray:
    """Log number of stars, and QUANTILES of each scaled feature about the centre, of one cluster: (1 + 7 F,)."""
    stars = np.array(feature_NxF, np.float64)
    centred = list(centering.centred_columns(feature_keys))
    stars[:, centred] -= np.median(stars[:, centred], axis=0)
    clipped = np.clip(stars, -feature_clip, feature_clip)
    return np.concatenate([[np.log(len(clipped))], np.quantile(clipped, QUANTILES, axis=0).ravel()])


def describe_all(
    shard: Shard, feature_keys: Sequence[str], feature_clip: float, snapshots: np.ndarray | None = None
) -> np.ndarray:
    """Descriptions of snapshots of a scaled shard, of all or of those named: (n, S)."""
    snapshots = np.arange(shard.num_snapshot) if snapshots is None else snapshots
    rows = [slice(shard.ptr[i], shard.ptr[i + 1]) for i in snapshots]
    columns = [shard.feature_keys.index(key) for key in feature_keys]
    return np.stack([describe(shard.feature[one][:, columns], feature_keys, feature_clip) for one in rows])


def reference_snapshots(num_snapshot: int) -> np.ndarray:
    """The numbers of MAX_REFERENCE snapshots, evenly spread, or of all where they are fewer."""
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
    """Learns from scaled shards what is usual in training, and what is rare among validation runs.

    Args:
      feature_keys, feature_clip: what of the features the model sees.
      whole: all that was trained on, if `train` is some of it: the ranges are of that.
      fold_N: the fold of each snapshot of `val`, where `val` is what was trained on: it is held against other folds.
    """
    whole = train if whole is None else whole
    chosen, chosen_val = reference_snapshots(train.num_snapshot), reference_snapshots(val.num_snapshot)
    train_NxS = describe_all(train, feature_keys, feature_clip, chosen)
    val_NxS = describe_all(val, feature_keys, feature_clip, chosen_val)
    center = train_NxS.mean(axis=0)
    covariance, _ = ledoit_wolf(train_NxS)
    values, vectors = np.linalg.eigh(covariance)
    whitening = vectors / np.sqrt(np.maximum(values, 1e-12 * values.max()))
    known = (train_NxS - center) @ whitening
    new = (val_NxS - center) @ whitening
    distance = (
        _distance(known, new) if fold_N is None else _distance_to_other_folds(known, new, fold_N[chosen_val])
    )
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


def _distance_to_other_folds(known: np.ndarray, new: np.ndarray, fold_N: np.ndarray) -> np.ndarray:
    """That of each of `new`, whose row in `known` is of the same fold, to those of all other folds."""
    distance = np.empty(len(new))
    for fold in np.unique(fold_N):
        is_inside = fold_N == fold
        distance[is_inside] = _distance(known[~is_inside], new[is_inside])
    return distance


def _distance(known: np.ndarray, whitened: np.ndarray) -> np.ndarray:
    """Mean distance to the nearest of what is known."""
    nearest = NearestNeighbors(n_neighbors=min(NUM_NEIGHBOUR, len(known))).fit(known)
    distance, _ = nearest.kneighbors(whitened)
    return distance.mean(axis=1)


def save(path: Path, reference: TrainingReference) -> None:
    """Writes a reference as `.npz`."""
    arrays = dataclasses.asdict(reference)
    with files.atomic_write(path) as temporary:
        np.savez(temporary, **arrays)


def load(path: Path) -> TrainingReference:
    """Reads a reference.

    Raises:
      NoveltyError: the file is missing or damaged.
    """
    try:
        found = npz.read_npz(path, [field.name for field in dataclasses.fields(TrainingReference)])
        plain = {"threshold": float(found["threshold"]), "range_keys": tuple(map(str, found["range_keys"]))}
        reference = TrainingReference(**found | plain)
        _check(reference)
        return reference
    except npz.DAMAGE as error:
        raise OutOfDistributionError(
            f"{path} cannot be read ({type(error).__name__}: {error}): restore it, or train the run again"
        ) from error


def _check(reference: TrainingReference) -> None:
    num_known, num_target = len(reference.known), reference.target.shape[-1:]
    num_description = reference.center.shape[:1]
    shapes = {
        "center": num_description,
        "whitening": num_description * 2,
        "known": (num_known, *num_description),
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
