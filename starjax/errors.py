"""Errors that people can act on: what is wrong, where, and what to do."""

import atexit
import gc
import os
import sys
from collections.abc import Callable, Sequence

from absl import app, flags, logging


class StarjaxError(ValueError):
    """Base of every error whose message alone is enough for the user."""


class ConfigError(StarjaxError):
    """A config value that is not allowed, or that contradicts another."""


def parse_flags(argv: Sequence[str]) -> Sequence[str]:
    """Parses absl flags; a config field or a config file that does not exist is a ConfigError."""
    try:
        rest = app.parse_flags_with_usage(argv)
        flags.FLAGS["config"].value.keys()  # a file that cannot be read shows itself when it is used only
        return rest
    except OSError as error:
        reason = str(error.__cause__ or error).splitlines()[-1].strip()
        raise ConfigError(f"--config cannot be loaded: {reason}; this is {os.getcwd()}") from error
    except AttributeError as error:
        # ml_collections wraps its message, with a suggestion, in quotes.
        said = str(error).strip("'").replace("\\'", "'").replace("\\n", ". ")
        raise ConfigError(f"the config has no field {said}") from error


def run(main: Callable[..., None], flags_parser: Callable = parse_flags) -> None:
    """Runs `main` on what `flags_parser` makes of the command line.

    A StarjaxError ends the process with status 1 and its message, without a traceback.
    """

    def quiet_main(arguments):
        # Libraries log every checkpoint as INFO; --verbosity=0 shows it.
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)
        main(arguments)

    # An interpreter that ends searches all that it has imported for garbage: 0.3 s with scikit-learn.
    atexit.register(gc.freeze)
    try:
        app.run(quiet_main, flags_parser=flags_parser)
    except StarjaxError as error:
        sys.exit(f"error: {error}")
