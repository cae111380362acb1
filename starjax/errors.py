"""Errors that people can act on: what is wrong, where, and what to do."""

import sys
from collections.abc import Callable

from absl import app, flags, logging


class StarjaxError(ValueError):
    """Base of every error whose message alone is enough for the user."""


def run(main: Callable[..., None], **options) -> None:
    """Runs a command `main(argv)` by `absl.app.run`, to which `options` go; a StarjaxError ends it with status 1 and its message, without a traceback."""

    def quiet_main(arguments):
        # Libraries log every checkpoint as INFO; --verbosity=0 shows it.
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)
        main(arguments)

    try:
        app.run(quiet_main, **options)
    except StarjaxError as error:
        sys.exit(f"error: {error}")
