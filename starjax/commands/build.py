"""The command `starjax build`: from NBODY6 caches to a data set."""

import argparse
from pathlib import Path

from starjax.commands import cli


def parser() -> cli.Parser:
    """Return the options of the command."""
    options = cli.Parser(
        "build",
        "Build a data set from NBODY6 caches: raw shards, scalers and scaled shards. A directory that "
        "already has raw shards, from any source, is scaled without caches. The same command, given again, "
        "resumes.",
        usage="--config=dataset [--config.FIELD=VALUE ...]",
        config="dataset",
    )
    options.add_argument("--config", metavar="NAME", help="dataset, dataset:observer, or your own file")
    options.add_argument("--config.caches", metavar="DIR", help="folder of NBODY6 caches [$JOBLIB_ROOT]")
    options.add_argument(
        "--config.split_manifest", metavar="FILE", help="made by starjax splits [$SPLIT_MFT_JSON]"
    )
    options.add_argument("--config.out", metavar="DIR", help="directory to write [OUTPUT_BASE/dataset]")
    options.add_argument(
        "--config.on_bad", metavar="skip", help="leave out unusable simulations and snapshots [error]"
    )
    options.add_argument("--config.n_jobs", metavar="N", help="number of processes [-1: one per core]")
    return options


def main(arguments: argparse.Namespace) -> None:
    """Build the data set and print what it contains."""
    from starjax.nbody6 import build

    print_counts(build.build_dataset(arguments.config))


def print_counts(out: Path) -> None:
    """Print what a finished data set contains and what was left out."""
    from starjax.datasets.dataset import CONFIG_FILE
    from starjax.io import files

    counts = files.read_json(out / CONFIG_FILE)["counts"]
    print_split_counts(counts["splits"])
    if counts["num_snapshot_with_too_few_stars"]:
        print(f"left out for too few stars: {counts['num_snapshot_with_too_few_stars']} snapshots")
    if counts["skipped"]:
        print(f"left out as unusable: {len(counts['skipped'])}")
        for reason in counts["skipped"]:
            print(f"  {reason}")
    print(f"data set {out}")


def print_split_counts(splits: dict[str, dict]) -> None:
    """Print the numbers of simulations, snapshots and stars of each split."""
    for split, count in splits.items():
        # Shards from another source may not name the simulations of their snapshots.
        simulations = "?" if count["simulations"] is None else count["simulations"]
        snapshots, stars = count["snapshots"], count["stars"]
        print(f"{split:<6}{simulations:>5} simulations {snapshots:>8} snapshots {stars:>10} stars")
