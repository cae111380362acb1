"""Which simulation belongs to training, validation or test.

Snapshots of one simulation are correlated, so that a run belongs to one split whole.

    python -m starjax.data.splits --caches=DIR --out=split.json \\
        --categories='Rad(?P<radius>\\d+)-zmet(?P<metallicity>\\d+)-M(?P<mass_level>\\d)'
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import scipy.stats

from starjax import command, environment, files, progress
from starjax.data import caches
from starjax.data.manifest import SPLITS, SplitError

MASS_KEY = "total_mass_within_2x_r_tidal"


def assign(
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


def make(labels, ratios, seed: int, categories: str = "", num_candidate: int = 500) -> dict:
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
        assigned = assign(list(labels), ratios, rng, categories)
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


def _labels(path: Path, run_id: str, min_stars: int) -> np.ndarray:
    """(time [Myr], log10 mass [Msun]) of the snapshots that would enter a data set, (n_snapshot, 2)."""
    run = caches.read_run(path, run_id, caches.Selection((), ("time", MASS_KEY), min_stars, skip_bad=True))
    time, mass = run.shard.target[run.shard.target[:, 1] > 0].T
    if not len(time):
        raise caches.CacheError(f"{path}: no snapshot has a positive {MASS_KEY}")
    return np.stack([time, np.log10(mass)], axis=1)


def _labels_or_reason(path: Path, run_id: str, min_stars: int) -> np.ndarray | str:
    """The labels, or why there are none."""
    try:
        return _labels(path, run_id, min_stars)
    except caches.CacheError as error:
        return str(error)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options of the command."""
    parser = command.parser(
        "data.splits",
        "Assigns the runs of a folder of NBODY6 caches to train, val and test.",
        usage="--caches=DIR --out=FILE [option ...]",
    )
    parser.add_argument("--caches", help="folder of caches [default: $JOBLIB_ROOT]")
    parser.add_argument("--out", help="the manifest to write [default: $SPLIT_MFT_JSON, or split.json]")
    parser.add_argument("--ratios", default="0.7,0.2,0.1", help="shares of train, val and test [%(default)s]")
    parser.add_argument(
        "--categories",
        default="",
        help="regular expression whose groups pick the category out of a run id; each category is split by the same "
        "shares. For Rad12-zmet0014-M7-0002: 'Rad(?P<radius>\\d+)-zmet(?P<metallicity>\\d+)-M(?P<mass_level>\\d)'",
    )
    parser.add_argument("--seed", type=int, default=0, help="names one of the possible splits [%(default)s]")
    parser.add_argument(
        "--num_candidate",
        metavar="N",
        type=int,
        default=500,
        help="random splits tried, the most even is kept [%(default)s]",
    )
    parser.add_argument(
        "--min_stars", type=int, default=10, help="smaller snapshots do not count [%(default)s]"
    )
    parser.add_argument(
        "--on_bad",
        choices=("error", "skip"),
        default="error",
        help="a cache that cannot be used stops all, or is left out and named [%(default)s]",
    )
    parser.add_argument("--n_jobs", type=int, default=-1, help="processes that read caches; -1: one a core")
    return parser.parse_args(argv[1:])


def main(arguments: argparse.Namespace) -> None:
    root = arguments.caches or environment.default("JOBLIB_ROOT", "")
    out = Path(arguments.out or environment.default("SPLIT_MFT_JSON", "split.json"))
    if not root:
        raise SplitError("no caches named: give --caches=DIR or set JOBLIB_ROOT")
    if arguments.num_candidate < 1:
        raise SplitError(f"--num_candidate={arguments.num_candidate} should be at least 1")
    if arguments.n_jobs == 0:
        raise SplitError("--n_jobs=0 should be a number of processes, or -1 for one a core")
    if out.exists():
        raise SplitError(f"{out} exists already: remove it or name another --out")
    try:
        ratios = [float(ratio) for ratio in arguments.ratios.split(",")]
        re.compile(arguments.categories)
    except (ValueError, re.error) as error:
        raise SplitError(
            f"--ratios={arguments.ratios} or --categories={arguments.categories}: {error}"
        ) from error
    found = caches.find(Path(root))
    read = _labels_or_reason if arguments.on_bad == "skip" else _labels
    jobs = {run_id: (read, path, run_id, arguments.min_stars) for run_id, path in found.items()}
    made = progress.parallel(jobs, arguments.n_jobs, "reading runs")
    bad = [reason for reason in made.values() if isinstance(reason, str)]
    labels = {run_id: rows for run_id, rows in made.items() if not isinstance(rows, str)}
    if not labels:
        raise SplitError(f"no cache below {root} can be used; the first: {bad[0]}")
    manifest = make(labels, ratios, arguments.seed, arguments.categories, arguments.num_candidate)
    files.write_json(out, manifest)
    for split in SPLITS:
        num_snapshot = sum(len(labels[run_id]) for run_id in manifest[split])
        print(f"{split:<6}{len(manifest[split]):>5} runs {num_snapshot:>8} snapshots")
    print("Wasserstein distance from train, in standard deviations (0: the same distribution):")
    for split, by_label in manifest["wasserstein_distance_from_train"].items():
        print(f"{split:<6}" + "".join(f"{name} {value:.3f}   " for name, value in by_label.items()))
    if bad:
        print(f"left out as bad: {len(bad)}")
        for reason in bad:
            print(f"  {reason}")
    print(f"wrote {out}")


if __name__ == "__main__":
    command.run(main, flags_parser=parse)
