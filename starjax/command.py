"""What all commands share: flags, and errors in one line instead of a traceback."""

import argparse
import atexit
import contextlib
import functools
import gc
import os
import signal
import sys
import textwrap
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
from absl import app, flags, logging
from absl.flags import argparse_flags
from ml_collections import config_flags

from starjax import distributed, errors, files, log, processes, signals

_OWN_CONFIGS = Path(__file__).parent / "configs"
_TOO_LARGE = (
    "not enough memory: use a machine with more of it. Training takes less with a lower config.data.num_star_per_sample or "
    "config.train.micro_batch_size and, where the data set is large, with config.data.placement=streamed"
)


def define_config(example: str) -> flags.FlagHolder:
    """Defines --config, one of starjax's own by name, such as `example`, or a Python file; it has to be given."""
    # No default: a flag's default is read before what is wrong with it can be told.
    config = config_flags.DEFINE_config_file("config", None, f"The configuration, such as {example}.")
    flags.register_validator(
        "config", lambda value: value is not None, f"name one, such as --config={example}"
    )
    return config


def parse_flags(argv: Sequence[str]) -> Sequence[str]:
    """Parses absl flags; with --help, says what the main module's docstring does, and ends the process.

    Raises:
      ConfigError: a flag, a config field or a config file is not there, or has a value that cannot be. What
        else goes wrong inside a config file is that file's bug, and keeps its traceback.
    """
    if any(argument in ("--help", "-help", "-h", "-?") for argument in argv):
        print(_help())
        sys.exit(0)
    try:
        rest = flags.FLAGS(_with_own_configs(argv))
        flags.FLAGS["config"].value.keys()  # a file that cannot be read shows itself when it is used only
        return rest
    except OSError as error:
        reason = str(error.__cause__ or error).splitlines()[-1].strip()
        raise errors.ConfigError(
            f"--config cannot be loaded: {reason}; this is {os.getcwd()}. By name, without a path, there are "
            f"{', '.join(own_configs())}"
        ) from error
    except (AttributeError, KeyError) as error:
        if "ml_collections" not in traceback.extract_tb(error.__traceback__)[-1].filename:
            raise
        # ml_collections wraps its message, with a suggestion, in quotes.
        said = str(error).strip("\"'").replace("\\'", "'").replace("\\n", ". ")
        if "get_config" in said:
            raise errors.ConfigError("--config names a file that defines no get_config()") from error
        raise errors.ConfigError(f"the config has no field {said}") from error
    except flags.Error as error:
        # ml_collections and absl wrap what a config file raises.
        chain: list[BaseException] = [error]
        while chain[-1].__context__ is not None:
            chain.append(chain[-1].__context__)
        if isinstance(chain[-1], TypeError) and str(chain[-1]).startswith("get_config()"):
            raise errors.ConfigError(
                f"--config takes no such thing after a colon ({chain[-1]}): leave it out, or name a config that does, such as "
                "common:deep_sets"
            ) from error
        told = next((one for one in reversed(chain) if isinstance(one, errors.StarjaxError)), error)
        raise errors.ConfigError(str(told)) from error


def parser(name: str, description: str, usage: str | None = None, epilog: str | None = None):
    """What reads the options of the command `starjax.<name>`, beside absl's flags; `usage` is what is said of them in short."""
    return argparse_flags.ArgumentParser(
        allow_abbrev=False,
        prog=f"python -m starjax.{name}",
        usage=usage and f"%(prog)s {usage}",
        description=description,
        epilog=epilog,
        formatter_class=functools.partial(argparse.HelpFormatter, max_help_position=32, width=98),
    )


def own_configs() -> list[str]:
    """The configs that are part of starjax, by name."""
    return sorted(path.stem for path in _OWN_CONFIGS.glob("[a-z]*.py"))


def _with_own_configs(argv: Sequence[str]) -> list[str]:
    """The same arguments; where `--config` is a name, possibly with `:ARGUMENT` after it, the file of starjax's own that has it."""

    def file_of(value):
        name, *argument = value.split(":", 1)
        if not name.isidentifier():
            return value
        if name not in own_configs():
            raise errors.ConfigError(
                f"--config={name}: starjax has no config of that name, choose one of {', '.join(own_configs())}; or give the "
                "path of a file of your own, such as ./mine.py"
            )
        return ":".join([str(_OWN_CONFIGS / f"{name}.py"), *argument])

    found = list(argv)
    for place, argument in enumerate(argv):
        flag, equals, value = argument.partition("=")
        if flag in ("--config", "-config") and equals:
            found[place] = f"{flag}={file_of(value)}"
        elif flag in ("--config", "-config") and place + 1 < len(argv):
            found[place + 1] = file_of(argv[place + 1])
    return found


def _help() -> str:
    """What --help says: the docstring of the command, and where the rest stands."""
    rest = (
        f"Configs by name: {', '.join(own_configs())}. They lie, with every field, its meaning and default, in {_OWN_CONFIGS}; "
        "a file of your own starts from one of them. All other flags: --helpfull."
    )
    return f"{sys.modules['__main__'].__doc__.strip()}\n\n{textwrap.fill(rest, 95)}"


def run(main: Callable[..., None], flags_parser: Callable = parse_flags) -> None:
    """Runs `main` on what `flags_parser` makes of the command line, and ends the process.

    Its last line says why it ended, without a traceback, and its status how: 1 for what the user can mend (a StarjaxError, a full
    disk), 75 (EX_TEMPFAIL) for what the same command goes on from (SIGTERM, another process of the run that is gone), those that
    shells give for Ctrl-C and for a reader that closes the pipe. A bug keeps its traceback.
    """

    def quiet_main(arguments):
        # --verbosity=0 shows all that libraries say.
        if flags.FLAGS["verbosity"].present:
            log.set_level(logging.converter.absl_to_standard(logging.get_verbosity()))
        else:
            log.silence_libraries()
        main(arguments)
        if jax.distributed.is_initialized():
            # Of processes that end one by one, those that are still at work wait for minutes for the others' word on a SIGTERM: jax
            # stops listening for one before it waits for all of them.
            distributed.wait_for_all("end")

    _have_streams()
    signals.end_at_once()
    # An interpreter that ends searches all that it has imported for garbage: 0.3 s with scikit-learn.
    atexit.register(gc.freeze)
    try:
        app.run(quiet_main, flags_parser=flags_parser)
    except errors.StarjaxError as error:
        _end(f"error: {error}", 1)
    except signals.StoppedError as stopped:
        _say_last(stopped)
        sys.exit(stopped.status)  # together with the other processes, which were asked too
    except BrokenPipeError:
        # Who reads what is printed has seen enough, as `head` does; what is left of it must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except (MemoryError, OSError, jax.errors.JaxRuntimeError, ValueError) as error:
        # A ValueError is how some of jax's collectives tell the loss of a process.
        if isinstance(error, MemoryError) or str(error).startswith("RESOURCE_EXHAUSTED"):
            _end(f"error: {_TOO_LARGE} ({error!s:.200})", 1)
        if isinstance(error, OSError) and error.errno in files.MENDS:
            path = error.filename2 or error.filename
            where = f"{path}: " if path else ""
            mend = files.MENDS[error.errno]
            _end(
                f"error: {where}{error.strerror}; what was finished before stands: {mend}, and give the command again",
                1,
            )
        if not processes.is_loss_of_a_process(error):
            raise
        reason = str(error).splitlines()[0]
        _end(
            f"another process of this run ended, or cannot be reached ({reason:.200}): see what it says last. The same command, "
            "given again to all of them, goes on from the last checkpoint",
            os.EX_TEMPFAIL,
        )


def _have_streams() -> None:
    """Standard output and error, where they were closed, and such as show what their encoding has no letters for as `?`."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, for as long as the process lives
        else:
            with contextlib.suppress(OSError):  # of one that was put in another's place
                getattr(sys, name).reconfigure(errors="replace")


def _say_last(message) -> None:
    """What a stream does not take, since who read it has ended or a disk is full, must not fail again as the interpreter ends (status 120)."""
    for stream, text in ((sys.stdout, ""), (sys.stderr, f"{message}\n")):
        try:
            stream.write(text)
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _end(message: str, status: int) -> None:
    """Ends the process with a last line; one of many at once, lest it wait for the others while they wait for it."""
    _say_last(message)
    if jax.distributed.is_initialized():
        processes.leave(status)
    sys.exit(status)
