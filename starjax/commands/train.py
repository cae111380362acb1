"""The command `starjax train`: from a config to a finished run directory."""

import argparse

from starjax.commands import cli


def parser() -> cli.Parser:
    """Return the options of the command."""
    options = cli.Parser(
        "train",
        "Train and test a model, as a config describes it. The same command, given again, resumes.",
        usage="--config=NAME [--config.FIELD=VALUE ...]",
        epilog="starjax predict --run=DIR applies the finished run to observed clusters.",
        config="set_transformer",
    )
    options.add_argument(
        "--config",
        metavar="NAME",
        help="gaia, posterior, posterior_incomplete, deep_sets, set_transformer, summary_stats, or "
        "your own file",
    )
    options.add_argument(
        "--config.data.dataset",
        metavar="DIR",
        help="made by starjax build; or tfds:NAME; or packaged: clusters [sample]",
    )
    options.add_argument(
        "--config.data.target_keys", metavar="KEY", help="targets, e.g. time [total_mass_within_2x_r_tidal]"
    )
    options.add_argument(
        "--config.name", metavar="NAME", help="the run directory: OUTPUT_BASE/experiments/NAME"
    )
    options.add_argument("--config.FIELD", metavar="VALUE", help="any other field, e.g. train.max_epochs")
    add_process_options(options)
    return options


def add_process_options(options: cli.Parser) -> None:
    """Add the options with which the processes of a run find each other if jax cannot find them."""
    options.add_argument(
        "--coordinator_address", metavar="HOST:PORT", help="of process 0, for runs of many processes"
    )
    options.add_argument("--num_processes", metavar="N", type=int, help="number of processes")
    options.add_argument("--process_id", metavar="I", type=int, help="number of this process, from 0")


def main(arguments: argparse.Namespace) -> None:
    """Train and test, or do what remains to be done, and print a summary."""
    from starjax.runtime import devices, environment, processes
    from starjax.training.validate_config import check_config

    config = arguments.config
    check_config(config, num_device=1)  # before connecting to other processes
    environment.use_compilation_cache(config.output_base)
    is_one_of_many = processes.join_processes(
        arguments.coordinator_address, arguments.num_processes, arguments.process_id
    )
    if not is_one_of_many:
        devices.use_cores(config.train.batch_size)
    from starjax.training.run import train_and_test  # slow to import, and not needed to refuse a config

    train_and_test(config)
