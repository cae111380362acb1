"""Cross-validation: partitions the training and validation simulations into folds.

A data set has few validation simulations of its own, from which prediction errors are estimated only roughly.
In cross-validation (Stone 1974, J. R. Stat. Soc. B 36, 111) the simulations of both splits are partitioned at
random into folds of equal size. Each fold validates the models that were trained on all others, so that every
simulation is predicted once by models that were not trained on it.
"""

import dataclasses

import numpy as np

from starjax.datasets import shard
from starjax.datasets.dataset import Dataset, DatasetError

# Names of the two shards in errors.
_NAMES = ("the training split", "the validation split")


def one_fold(data: Dataset, number: int, num_fold: int, seed: int) -> Dataset:
    """Return the data set whose validation split is one fold, and whose training split is all others.

    Args:
      number: index of the fold, from 0.
      seed: chooses one of the possible partitions.

    Raises:
      DatasetError: there are fewer simulations than folds, or the simulation of a snapshot is unknown.
    """
    both = _join_splits(data)
    train, val = _partition(both, num_fold, seed)[number]
    return dataclasses.replace(data, shards=data.shards | {"train": both.take(train), "val": both.take(val)})


def all_folds(data: Dataset, num_fold: int, seed: int) -> Dataset:
    """Return the data set whose training and validation splits are both the concatenation of all folds.

    Raises:
      DatasetError: there are fewer simulations than folds, or the simulation of a snapshot is unknown.
    """
    both = _join_splits(data)
    folds = [val for _, val in _partition(both, num_fold, seed)]
    ordered = both.take(np.concatenate(folds))
    fold_N = np.repeat(np.arange(num_fold), [len(fold) for fold in folds])
    return dataclasses.replace(data, shards=data.shards | {"train": ordered, "val": ordered}, fold_N=fold_N)


def _join_splits(data: Dataset) -> shard.Shard:
    for split in ("train", "val"):
        if data.shards[split].run_id is None:
            raise DatasetError(
                f"the {split} shard does not name the simulation of each snapshot (run_id), and snapshots of "
                "one simulation must not both train and validate: build the data set with starjax build, or "
                "set config.ensemble.num_fold=0 (and config.data.fold=())"
            )
    return shard.join_shards(_NAMES, [data.shards["train"], data.shards["val"]])


def _partition(both: shard.Shard, num_fold: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the indices of the training and of the validation snapshots of each fold."""
    from sklearn.model_selection import GroupKFold  # slow to import, and most runs have no folds

    num_simulation = len(both.simulations)
    if num_simulation < num_fold:
        raise DatasetError(
            f"training and validation have {num_simulation} simulations, too few for {num_fold} folds: lower "
            "config.ensemble.num_fold (or the second number of config.data.fold)"
        )
    # Whole simulations: their snapshots are correlated, and would be predicted by models that know others.
    folds = GroupKFold(num_fold, shuffle=True, random_state=seed)
    return list(folds.split(both.target, groups=both.run_id))
