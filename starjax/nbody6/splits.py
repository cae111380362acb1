"""Assignment of simulations to training, validation and test.

Snapshots of one simulation are correlated, so that all of them belong to the same split.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import scipy.stats

from starjax import quantities
from starjax.datasets.split_manifest import SPLITS, SplitError
from starjax.nbody6 import caches
from starjax.runtime import progress_bar


def assign_splits(
    run_ids: Sequence[str],
    ratios: Sequence[float],
    rng: np.random.Generator,
    categories: str = "",
) -> dict[str, list[str]]:
    """Return one random assignment of simulations to splits, stratified by category.

    The simulations are ordered by category, shuffled within each, and assigned one after another to the split
    that is furthest below its share so far. The size of each split therefore deviates from its share by at
    most about one simulation, in total and in each category. (A category of one or two simulations cannot be
    in every split.)

    Args:
      ratios: shares of train, val and test.
      categories: regular expression, whose groups form the category of an id.

    Raises:
      SplitError: an id does not match `categories`.
    """
    groups: dict[tuple, list[str]] = {}
    # Sorted, so that a seed gives the same assignment whatever the order of the ids.
    for run_id in sorted(run_ids):
        match = re.search(categories, run_id)
        if match is None:
            raise SplitError(f"simulation id {run_id} does not match --categories={categories}")
        groups.setdefault(match.groups(), []).append(run_id)
    shares = np.asarray(ratios, dtype=float) / np.sum(ratios)
    counts = np.zeros(len(SPLITS))
    assigned: dict[str, list[str]] = {split: [] for split in SPLITS}
    for group in rng.permutation(len(groups)):
        for run_id in rng.permutation(list(groups.values())[group]):
            # Shares of a total that includes this simulation: of nothing, every share would be 0.
            deficit = shares * (counts.sum() + 1) - counts
            split = int(deficit.argmax())
            counts[split] += 1
            assigned[SPLITS[split]].append(str(run_id))
    return {split: sorted(ids) for split, ids in assigned.items()}


def distances(
    assigned: Mapping[str, Sequence[str]], labels: Mapping[str, np.ndarray]
) -> dict[str, dict[str, float]]:
    """Return the 1-D Wasserstein distances of validation and test from training, for time and for log mass.

    Args:
      labels: (time [Myr], log10 mass [Msun]) of each simulation's snapshots (n_snapshot, 2), by id.

    Returns:
      {split: {label: distance}}, in units of the label's standard deviation over all simulations.
    """
    spread = np.concatenate(list(labels.values())).std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)  # a label that does not vary has distance 0 anyway
    stacked = {
        split: np.concatenate([labels[run_id] for run_id in run_ids]) / spread
        for split, run_ids in assigned.items()
    }
    return {
        split: {
            name: float(scipy.stats.wasserstein_distance(stacked["train"][:, i], stacked[split][:, i]))
            for i, name in enumerate(("time", "log10_mass"))
        }
        for split in SPLITS[1:]
    }


def make_manifest(labels, ratios, seed: int, categories: str = "", num_candidate: int = 500) -> dict:
    """Return the content of a manifest: the best of `num_candidate` random assignments.

    The best one has the smallest sum of distances (see `distances`).

    Raises:
      SplitError: a split would be empty, the ratios are invalid, or `categories` has no group.
    """
    if len(ratios) != len(SPLITS) or min(ratios) <= 0:
        raise SplitError(f"--ratios should be three positive shares (train, val, test), got {list(ratios)}")
    if categories and not re.compile(categories).groups:
        raise SplitError(
            f"--categories={categories} has no group: put the parts that define a category in parentheses"
        )
    best, best_distance = None, np.inf
    for candidate in range(num_candidate):
        # A stream for each, so that more candidates include all of fewer.
        rng = np.random.default_rng((seed, candidate))
        assigned = assign_splits(list(labels), ratios, rng, categories)
        if not all(assigned.values()):
            continue
        distance = sum(sum(d.values()) for d in distances(assigned, labels).values())
        if distance < best_distance:
            best, best_distance = assigned, distance
    if best is None:
        raise SplitError(
            f"{len(labels)} simulations are too few for ratios {list(ratios)}: a split would be empty"
        )
    return {
        **best,
        "ratios": list(ratios),
        "seed": seed,
        "categories": categories,
        "wasserstein_distance_from_train": distances(best, labels),
    }


def read_labels(
    root: Path, min_stars: int, n_jobs: int, *, skip_bad: bool
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Read the labels of all simulations below a folder, in parallel.

    Args:
      min_stars: snapshots of fewer stars are ignored.
      n_jobs: processes; -1: one per core.
      skip_bad: leave out unusable caches instead of raising an error.

    Returns:
      The labels of each simulation by id (see `distances`); why others were left out.

    Raises:
      caches.CacheError: a cache cannot be used.
      SplitError: no cache can be used.
    """
    read = _labels_or_reason if skip_bad else _labels
    jobs = {run_id: (read, path, run_id, min_stars) for run_id, path in caches.find_caches(root).items()}
    found = progress_bar.parallel(jobs, n_jobs, "reading simulations")
    labels = {run_id: rows for run_id, rows in found.items() if not isinstance(rows, str)}
    skipped = [reason for reason in found.values() if isinstance(reason, str)]
    if not labels:
        raise SplitError(f"no cache below {root} can be used; the first: {skipped[0]}")
    return labels, skipped


def _labels_or_reason(path: Path, run_id: str, min_stars: int) -> np.ndarray | str:
    """Return the labels, or why the cache cannot be used."""
    try:
        return _labels(path, run_id, min_stars)
    except caches.CacheError as error:
        return str(error)


def _labels(path: Path, run_id: str, min_stars: int) -> np.ndarray:
    """Return (time [Myr], log10 mass [Msun]) of the snapshots that enter a data set, (n_snapshot, 2)."""
    # Single bad snapshots hardly change the distribution of labels; the build reports them.
    simulation = caches.read_simulation(
        path,
        run_id,
        caches.Selection((), ("time", quantities.MASS), min_stars, True, lower_bounds={quantities.MASS: 0.0}),
    )
    target = simulation.shard.target
    time, mass = target.T
    return np.stack([time, np.log10(mass)], axis=1)
