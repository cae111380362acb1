"""The command `starjax summary`: rank the runs of a folder."""

import argparse
from pathlib import Path

from starjax.commands import cli


def parser() -> cli.Parser:
    """Return the options of the command."""
    options = cli.Parser("summary", "Rank the architectures of a folder of run directories.")
    options.add_argument(
        "--runs", metavar="DIR", type=cli.path, help="folder of run directories [OUTPUT_BASE/experiments]"
    )
    options.add_argument(
        "--out", metavar="DIR", type=cli.path, help="folder to write to [summary beside that folder]"
    )
    options.add_argument("--metrics", metavar="NAMES", help="columns of runs.csv to rank by, with commas")
    return options


def main(arguments: argparse.Namespace) -> None:
    """Write the tables and figures, and print the ranking."""
    from starjax.reports import ranking
    from starjax.runtime import environment

    folder = Path(arguments.runs or f"{environment.default('OUTPUT_BASE', 'output')}/experiments")
    if not folder.is_dir():
        raise ranking.SummaryError(f"--runs={folder} is not a folder")
    if (folder / "config.json").exists():
        raise ranking.SummaryError(
            f"--runs={folder} is a run: name the folder that contains it, {folder.parent}"
        )
    # Folders without a run are among them, and are reported as left out.
    directories = sorted(path for path in folder.iterdir() if path.is_dir())
    out = Path(arguments.out) if arguments.out else folder.resolve().parent / "summary"
    metrics = ranking.METRICS if arguments.metrics is None else tuple(arguments.metrics.split(","))
    ranking.summarize(directories, out, metrics)
