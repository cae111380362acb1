"""Which simulation belongs to training, validation or test.

Snapshots of one simulation are correlated, so that a run belongs to one split whole.

    starjax splits --caches=DIR --out=split.json \\
        --categories='Rad(?P<radius>\\d+)-zmet(?P<metallicity>\\d+)-M(?P<mass_level>\\d)'
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
    """One random assignment of runs to splits, even over all and within each category.

    The runs are laid out category by category, shuffled within, and each goes to the split that is
    furthest behind its share so far. So no split is off its share by more than about one run, over
    all or in a category; a category of one or two runs cannot be in every split.

    Raises:
      SplitError: a run id does not match `categories`.
    """
    groups: dict[tuple, list[str]] = {}
    for run_id in sorted(run_ids):
        match = re.search(categories, run_id)
        if match is None:
            raise SplitError(f"run id {run_id} does not match --categories={categories}")
        groups.setdefault(match.groups(), []).append(run_id)
    shares = np.asarray(ratios, dtype=float) / np.sum(ratios)
    counts = np.zeros(len(SPLITS))
    assigned: dict[str, list[str]] = {split: [] for split in SPLITS}
    for group in rng.permutation(len(groups)):
        for run_id in rng.permutation(list(groups.values())[group]):
            behind = shares * (counts.sum() + 1) - counts
            split = int(behind.argmax())
            counts[split] += 1
            assigned[SPLITS[split]].append(str(run_id))
    return {split: sorted(ids) for split, ids in assigned.items()}


def distances(
    assigned: Mapping[str, Sequence[str]], labels: Mapping[str, np.ndarray]
) -> dict[str, dict[str, float]]:
    """1-D Wasserstein distances of validation and test from training, for time and for log mass.

    Args:
      labels: for each run id its snapshots' (time [Myr], log10 mass [Msun]), (n_snapshot, 2).

    Returns:
      {split: {label: distance}}, each in units of the label's standard deviation over all runs.
    """
    spread = np.concatenate(list(labels.values())).std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    stacked = {s: np.concatenate([labels[r] for r in ids]) / spread for s, ids in assigned.items()}
    return {
        split: {
            name: float(scipy.stats.wasserstein_distance(stacked["train"][:, i], stacked[split][:, i]))
            for i, name in enumerate(("time", "log10_mass"))
        }
        for split in SPLITS[1:]
    }


def make_manifest(labels, ratios, seed: int, categories: str = "", num_candidate: int = 500) -> dict:
    """The most even of `num_candidate` random assignments, as the content of a manifest.

    Raises:
      SplitError: there are too few runs for every split to have one, or no group is in `categories`.
    """
    if len(ratios) != len(SPLITS) or min(ratios) <= 0:
        raise SplitError(f"--ratios should be three positive shares (train, val, test), got {list(ratios)}")
    if categories and not re.compile(categories).groups:
        raise SplitError(
            f"--categories={categories} has no group: put what tells categories apart in parentheses"
        )
    best, best_distance = None, np.inf
    for candidate in range(num_candidate):
        rng = np.random.default_rng((seed, candidate))
        assigned = assign_splits(list(labels), ratios, rng, categories)
        if not all(assigned.values()):
            continue
        distance = sum(sum(d.values()) for d in distances(assigned, labels).values())
        if distance < best_distance:
            best, best_distance = assigned, distance
    if best is None:
        raise SplitError(f"{len(labels)} runs are too few for ratios {list(ratios)}: a split would be empty")
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
      n_jobs: processes; -1: one a core.
      skip_bad: leave out caches that cannot be used, instead of raising.

    Returns:
      (time [Myr], log10 mass [Msun]) of each simulation's snapshots (n_snapshot, 2) by id; why others were left out.

    Raises:
      caches.CacheError: a cache cannot be used.
      SplitError: none can.
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
    """Return the labels, or why there are none."""
    try:
        return _labels(path, run_id, min_stars)
    except caches.CacheError as error:
        return str(error)


def _labels(path: Path, run_id: str, min_stars: int) -> np.ndarray:
    """(time [Myr], log10 mass [Msun]) of the snapshots that would enter a data set, (n_snapshot, 2)."""
    run = caches.read_simulation(
        path, run_id, caches.Selection((), ("time", quantities.MASS), min_stars, skip_bad=True)
    )
    time, mass = run.shard.target[run.shard.target[:, 1] > 0].T
    if not len(time):
        raise caches.CacheError(f"{path}: no snapshot has a positive {quantities.MASS}")
    return np.stack([time, np.log10(mass)], axis=1)
