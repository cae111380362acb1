"""The command `starjax splits`: assign simulations to training, validation and test."""

import argparse
import re
from pathlib import Path

from starjax.commands import cli


def parser() -> cli.Parser:
    """Return the options of the command."""
    options = cli.Parser(
        "splits",
        "Assign the simulations of a folder of NBODY6 caches to training, validation and test.",
        usage="--caches=DIR --out=FILE [option ...]",
    )
    add = options.add_argument
    add("--caches", metavar="DIR", type=cli.path, help="folder of caches [$JOBLIB_ROOT]")
    add("--out", metavar="FILE", type=cli.path, help="manifest to write [$SPLIT_MFT_JSON, or split.json]")
    add("--ratios", metavar="R,R,R", default="0.7,0.2,0.1", help="fractions of the splits [%(default)s]")
    add(
        "--categories",
        metavar="REGEX",
        default="",
        help="its groups take a category from the name of a simulation; each category is split with the same "
        "ratios. For Rad12-zmet0014-M7-0002: "
        "'Rad(?P<radius>\\d+)-zmet(?P<metallicity>\\d+)-M(?P<mass_level>\\d)'",
    )
    add("--seed", metavar="N", type=int, default=0, help="seed of the random splits [%(default)s]")
    add(
        "--num_candidate",
        metavar="N",
        type=int,
        default=500,
        help="random splits to try; the most even is kept [%(default)s]",
    )
    add("--min_stars", metavar="N", type=int, default=10, help="ignore smaller snapshots [%(default)s]")
    add(
        "--on_bad",
        choices=("error", "skip"),
        default="error",
        help="stop at an unusable cache, or leave it out [%(default)s]",
    )
    add("--n_jobs", metavar="N", type=int, default=-1, help="number of processes [-1: one per core]")
    return options


def main(arguments: argparse.Namespace) -> None:
    """Write the manifest and print how even its splits are."""
    from starjax.datasets.split_manifest import SplitError
    from starjax.io import files
    from starjax.nbody6 import splits
    from starjax.runtime import environment

    root = arguments.caches or environment.default("JOBLIB_ROOT", "")
    out = Path(arguments.out or environment.default("SPLIT_MFT_JSON", "split.json"))
    # Checked first, since reading all caches takes minutes.
    if not root:
        raise SplitError("no folder of caches: give --caches=DIR, or set JOBLIB_ROOT")
    if arguments.num_candidate < 1:
        raise SplitError(f"--num_candidate={arguments.num_candidate} should be at least 1")
    if arguments.seed < 0:
        raise SplitError(f"--seed={arguments.seed} should be 0 or positive")
    if arguments.n_jobs == 0:
        raise SplitError("--n_jobs=0 should be a number of processes, or -1 for one per core")
    if out.exists():
        raise SplitError(f"{out} exists already: remove it, or name another --out")
    try:
        ratios = [float(ratio) for ratio in arguments.ratios.split(",")]
    except ValueError as error:
        raise SplitError(f"--ratios={arguments.ratios} should be numbers, such as 0.7,0.2,0.1") from error
    try:
        re.compile(arguments.categories)
    except re.error as error:
        raise SplitError(
            f"--categories={arguments.categories} is not a regular expression: {error}"
        ) from error
    labels, skipped = splits.read_labels(
        Path(root), arguments.min_stars, arguments.n_jobs, skip_bad=arguments.on_bad == "skip"
    )
    manifest = splits.make_manifest(
        labels, ratios, arguments.seed, arguments.categories, arguments.num_candidate
    )
    files.write_json(out, manifest)
    _print(manifest, labels)
    if skipped:
        print(f"left out as unusable: {len(skipped)}")
        for reason in skipped:
            print(f"  {reason}")
    print(f"wrote {out}")


def _print(manifest: dict, labels: dict) -> None:
    """Print the size of each split, and how far its distributions are from those of training."""
    from starjax.datasets.split_manifest import SPLITS

    for split in SPLITS:
        num_snapshot = sum(len(labels[run_id]) for run_id in manifest[split])
        print(f"{split:<6}{len(manifest[split]):>5} simulations {num_snapshot:>8} snapshots")
    print("Wasserstein distance from train, in standard deviations (0: the same distribution):")
    for split, by_label in manifest["wasserstein_distance_from_train"].items():
        print(f"{split:<6}" + "".join(f"{name} {value:.3f}   " for name, value in by_label.items()))
