"""The command `starjax grid`: train, test and rank a grid of runs."""

import argparse
import re

from starjax.commands import cli
from starjax.errors import ConfigError


def parser() -> cli.Parser:
    """Return the options of the command."""
    options = cli.Parser(
        "grid",
        "Train, test and rank a grid of runs: architectures, features and targets. Finished runs are "
        "skipped: the same command, given again, resumes.",
        usage="--config=grid [--config.FIELD=VALUE ...]",
        config="grid",
    )
    options.add_argument("--config", metavar="NAME", help="grid (136 runs), or your own file")
    options.add_argument(
        "--config.models", metavar="NAMES", help="models, e.g. deep_sets; their sizes: config.sizes.MODEL"
    )
    options.add_argument("--config.feature_sets", metavar="NAMES", help="sets of features")
    options.add_argument("--config.target_sets", metavar="NAMES", help="sets of targets, e.g. time")
    options.add_argument("--config.base.FIELD", metavar="VALUE", help="a field that all runs share")
    options.add_argument(
        "--part", metavar="I/N", default="1/1", help="run the I-th of N parts, for job arrays [%(default)s]"
    )
    return options


def parse_part(text: str) -> tuple[int, int]:
    """Return (i, n) from 'i/n', the i-th of n parts, counted from 1."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    number, count = map(int, match.groups()) if match else (0, 0)
    if not 1 <= number <= count:
        raise ConfigError(f"--part={text} should be I/N with I from 1 to N, such as 1/8")
    return number, count


def main(arguments: argparse.Namespace) -> None:
    """Train and test the runs, and rank them."""
    from starjax.runtime import devices, environment, processes
    from starjax.training import grid

    part, config = parse_part(arguments.part), arguments.config
    grid.check_grid(grid.grid_configs(config), num_device=1)  # before connecting to other processes
    environment.use_compilation_cache(config.base.output_base)
    # No options name the processes: a grid is divided among independent jobs by --part.
    if not processes.join_processes(None, None, None):
        devices.use_cores(config.base.train.batch_size)
    grid.run_grid(config, part)
