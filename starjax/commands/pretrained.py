"""The command `starjax pretrained`: list the trained models that are part of starjax, or print a card."""

import argparse

from starjax.commands import cli


def parser() -> cli.Parser:
    """Return the options of the command."""
    options = cli.Parser(
        "pretrained",
        "List the trained models that starjax comes with, or print the card of one.",
        usage="[NAME] [option ...]",
        epilog="starjax predict --run=NAME uses one, starjax train --config.init_from=NAME starts from it.",
    )
    options.add_argument("name", metavar="NAME", nargs="?", help="print the card of this model")
    return options


def main(arguments: argparse.Namespace) -> None:
    """Print the list, or the card."""
    from starjax.inference import pretrained_models
    from starjax.runs import pretrained

    if arguments.name is not None:
        print(pretrained_models.read_card(pretrained.packaged_model(arguments.name)), end="")
        return
    models = map(pretrained.packaged_model, pretrained.model_names())
    texts = [pretrained_models.describe(pretrained_models.summarize(one)) for one in models]
    print("\n\n".join(texts) or "This version of starjax comes without a trained model.")
