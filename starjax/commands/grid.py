"""`starjax grid`: train, test and rank a grid of runs."""

import argparse
import re

from starjax.commands import cli
from starjax.errors import ConfigError


def parser() -> cli.Parser:
    """Return the options of the command."""
    options = cli.Parser(
        "grid",
        "Trains, tests and ranks a grid of runs: architectures, features and targets. Finished runs are skipped: the "
        "same command, given again, resumes.",
        usage="--config=grid [--config.FIELD=VALUE ...]",
        config="grid",
    )
    options.add_argument("--config", metavar="NAME", help="grid (136 runs), or a file of your own")
    options.add_argument(
        "--config.models", metavar="MODELS", help="e.g. deep_sets; their sizes are config.sizes.MODEL"
    )
    options.add_argument("--config.feature_sets", metavar="SETS", help="sets of features")
    options.add_argument("--config.target_sets", metavar="SETS", help="sets of targets, e.g. time")
    options.add_argument("--config.base.FIELD", metavar="VALUE", help="a field that all runs share")
    options.add_argument(
        "--shard", metavar="I/N", default="1/1", help="only the I-th of N parts, for job arrays [%(default)s]"
    )
    return options


def parse_job_share(text: str) -> tuple[int, int]:
    """Return (i, n) of 'i/n', the i-th of n parts, from 1."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    number, count = map(int, match.groups()) if match else (0, 0)
    if not 1 <= number <= count:
        raise ConfigError(f"--shard={text} should be i/n with i from 1 to n, such as 1/8")
    return number, count


def main(arguments: argparse.Namespace) -> None:
    from starjax.runtime import devices, environment, processes
    from starjax.training import grid

    share, config = parse_job_share(arguments.shard), arguments.config
    grid.check_grid(grid.grid_configs(config), num_device=1)  # what is wrong whatever the devices
    environment.use_compilation_cache(config.base.output_base)
    if not processes.join_processes(None, None, None):
        devices.use_cores(config.base.train.batch_size)
    grid.run_grid(config, share)
