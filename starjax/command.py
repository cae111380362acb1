"""What all commands share: flags, and errors in one line instead of a traceback."""

import atexit
import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence

from absl import app, flags, logging
from ml_collections import config_flags
from rich.console import Console

from starjax import errors


def define_config(example: str) -> flags.FlagHolder:
    """Defines --config, a Python file that has to be named, such as `example`."""
    # No default: a flag's default is read before what is wrong with it can be told.
    config = config_flags.DEFINE_config_file("config", None, f"The configuration, such as {example}.")
    flags.register_validator(
        "config", lambda value: value is not None, f"name one, such as --config={example}"
    )
    return config


def parse_flags(argv: Sequence[str]) -> Sequence[str]:
    """Parses absl flags.

    Raises:
      ConfigError: a flag, a config field or a config file is not there, or has a value that cannot be. What
        else goes wrong inside a config file is that file's bug, and keeps its traceback.
    """
    try:
        rest = flags.FLAGS(argv)
        flags.FLAGS["config"].value.keys()  # a file that cannot be read shows itself when it is used only
        return rest
    except OSError as error:
        reason = str(error.__cause__ or error).splitlines()[-1].strip()
        raise errors.ConfigError(f"--config cannot be loaded: {reason}; this is {os.getcwd()}") from error
    except ModuleNotFoundError as error:
        if error.name != "configs":
            raise
        raise errors.ConfigError(
            f"--config builds on files in configs/: run this from the root of a clone; this is {os.getcwd()}"
        ) from error
    except (AttributeError, KeyError) as error:
        if "ml_collections" not in traceback.extract_tb(error.__traceback__)[-1].filename:
            raise
        # ml_collections wraps its message, with a suggestion, in quotes.
        said = str(error).strip("\"'").replace("\\'", "'").replace("\\n", ". ")
        raise errors.ConfigError(f"the config has no field {said}") from error
    except flags.Error as error:
        # ml_collections and absl wrap what a config file raises.
        root = error
        while root.__context__ is not None:
            root = root.__context__
        raise errors.ConfigError(str(root if isinstance(root, errors.StarjaxError) else error)) from error


def run(main: Callable[..., None], flags_parser: Callable = parse_flags) -> None:
    """Runs `main` on what `flags_parser` makes of the command line.

    A StarjaxError ends the process with status 1 and its message, without a traceback; Ctrl-C, and a reader that
    closes the pipe, end it with the statuses that shells give them.
    """

    def quiet_main(arguments):
        # Libraries log every checkpoint as INFO; --verbosity=0 shows it.
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)
        main(arguments)

    # A process started in the background may have been told to ignore it.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stop)
    # An interpreter that ends searches all that it has imported for garbage: 0.3 s with scikit-learn.
    atexit.register(gc.freeze)
    try:
        app.run(quiet_main, flags_parser=flags_parser)
    except errors.StarjaxError as error:
        sys.exit(f"error: {error}")
    except BrokenPipeError:
        # Who reads what is printed has seen enough, as `head` does; what is left of it must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)


def _stop(*_) -> None:
    """Ends the process at once; what it was at survives that, as it survives a kill.

    A KeyboardInterrupt would be lost where it is raised in a callback of a library, and ending while XLA
    compiles may crash.
    """
    # A progress bar hides the cursor, and holds back what is printed to sys.stderr.
    Console(stderr=True).show_cursor()
    print("\ninterrupted: the same command, given again, goes on", file=sys.__stderr__, flush=True)
    os._exit(128 + signal.SIGINT)
