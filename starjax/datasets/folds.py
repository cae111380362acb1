"""Training and validation runs parted anew, so that each of them is once among those that a model does not learn from.

A data set's own validation runs are few. What models say of them tells only roughly how far they err, and no model learns
from them. In cross-validation (Stone 1974, J. R. Stat. Soc. B 36, 111) the runs of both splits are parted at random
into folds of as many runs; the runs of one fold validate, all others train.
"""

import dataclasses

import numpy as np
from sklearn.model_selection import GroupKFold

from starjax.datasets import shard
from starjax.datasets.dataset import Dataset, DatasetError

_NAMES = ("the training split", "the validation split")


def one_fold(data: Dataset, number: int, num_fold: int, seed: int) -> Dataset:
    """The data set whose validation split is one fold, and whose training split is all others.

    Args:
      number: of the fold, from 0.
      seed: names one of the ways to part the runs.

    Raises:
      DatasetError: there are fewer runs than folds, or it is not known of which run a snapshot is.
    """
    both = _both(data)
    train, val = _splits(both, num_fold, seed)[number]
    return dataclasses.replace(data, shards=data.shards | {"train": both.take(train), "val": both.take(val)})


def all_folds(data: Dataset, num_fold: int, seed: int) -> Dataset:
    """The data set whose training and validation splits are all folds, one after another.

    Raises:
      DatasetError: there are fewer runs than folds, or it is not known of which run a snapshot is.
    """
    both = _both(data)
    folds = [val for _, val in _splits(both, num_fold, seed)]
    ordered = both.take(np.concatenate(folds))
    fold_N = np.repeat(np.arange(num_fold), [len(fold) for fold in folds])
    return dataclasses.replace(data, shards=data.shards | {"train": ordered, "val": ordered}, fold_N=fold_N)


def _both(data: Dataset) -> shard.Shard:
    for split in ("train", "val"):
        if data.shards[split].run_id is None:
            raise DatasetError(
                f"the {split} shard does not say of which run each snapshot is (run_id), and snapshots of one run must not "
                "both train and validate: build the data set with starjax build, or set config.ensemble.num_fold=0 "
                "(and config.data.fold=())"
            )
    return shard.join_shards(_NAMES, [data.shards["train"], data.shards["val"]])


def _splits(both: shard.Shard, num_fold: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each fold, the snapshots that train and those that validate."""
    num_simulation = len(both.simulations)
    if num_simulation < num_fold:
        raise DatasetError(
            f"training and validation have {num_simulation} runs, too few for {num_fold} folds: lower config.ensemble.num_fold "
            "(or the second number of config.data.fold)"
        )
    folds = GroupKFold(num_fold, shuffle=True, random_state=seed)
    return list(folds.split(both.target, groups=both.run_id))
