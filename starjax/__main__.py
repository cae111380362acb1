"""The command `starjax`, also as `python -m starjax`."""

import importlib
import sys

import starjax
from starjax.commands import cli

COMMANDS = {
    "train": "train and test a model or an ensemble, as a config describes it",
    "predict": "predict age and mass of observed clusters from member catalogues",
    "pretrained": "list the trained models that starjax comes with",
    "build": "build a data set from the caches of NBODY6 simulations",
    "splits": "assign simulations to training, validation and test",
    "grid": "train and rank a grid of models, features and targets",
    "summary": "rank the runs of a folder",
    "report": "make an HTML page of a run",
    "export": "write a run as a program that needs nothing but jax",
    "publish": "publish a data set in the format of TensorFlow Datasets",
}
_USAGE = "usage: starjax COMMAND [option ...]"


def main() -> None:
    """Run the command that the first argument names."""
    name, *argv = sys.argv[1:] or ["--help"]
    if name in COMMANDS:
        cli.run(importlib.import_module(f"starjax.commands.{name}"), argv)
    elif name in ("-h", "--help"):
        lines = [_USAGE, "", "Infer the age and mass of star clusters from sets of member stars.", ""]
        lines += [f"  {command:<12}{description}" for command, description in COMMANDS.items()]
        lines += ["", "starjax COMMAND --help lists the options of a command."]
        _print("\n".join(lines))
    elif name == "--version":
        _print(f"starjax {starjax.__version__}")
    else:
        suggestion = cli.did_you_mean(name, list(COMMANDS))
        cli.print_last(f"error: starjax has no command {name}{suggestion} All commands: starjax --help")
        sys.exit(cli.WRONG_USAGE)


def _print(text: str) -> None:
    with cli.exit_on_errors():
        print(text)


if __name__ == "__main__":
    main()
