"""Shared by all commands: a parser whose errors help, and the way a command ends.

A command is a module with the functions `parser()` and `main(arguments)`. It imports within `main` what is
slow to import, so that `--help` is quick.
"""

import argparse
import atexit
import contextlib
import difflib
import functools
import gc
import os
import re
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import NoReturn

from starjax import errors
from starjax.io import files
from starjax.runtime import log, paths, signals

# Exit status of a command whose options are wrong, as argparse has it.
WRONG_USAGE = 2
# What a shell reports of a process that SIGPIPE, signal 13, has ended: 128 + 13.
_BROKEN_PIPE = 141
_OUT_OF_MEMORY = (
    "not enough memory: use a machine with more of it. Training takes less with a lower "
    "config.data.num_star_per_sample or config.train.micro_batch_size and, for a large data set, with "
    "config.data.placement=streamed"
)


class Parser(argparse.ArgumentParser):
    """The options of `starjax NAME`, written `--option=value` with underscores.

    Attributes:
      config: an example value of `--config`; None if the command takes no config.
    """

    def __init__(
        self,
        name: str,
        description: str,
        usage: str | None = None,
        epilog: str | None = None,
        config: str | None = None,
    ):
        super().__init__(
            allow_abbrev=False,
            prog=f"starjax {name}",
            usage=usage and f"%(prog)s {usage}",
            description=description,
            epilog=epilog,
            formatter_class=functools.partial(argparse.HelpFormatter, max_help_position=31, width=80),
        )
        self.add_argument(
            "--log_level",
            metavar="LEVEL",
            choices=log.LEVELS,
            default="info",
            help="lowest level to log: %(choices)s [%(default)s]",
        )
        self.config = config

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse the arguments of the command line; if the command takes a config, it is their `config`.

        Raises:
          ConfigError: the config or one of its fields does not exist, or cannot have the value.
          SystemExit: an option is unknown or wrong (status 2), or help was asked for (0).
        """
        if self.config is None:
            return self._parse_options(argv)
        config_options, others = _split_config_options(argv)
        arguments = self._parse_options(others)
        # Imports ml_collections and absl, which --help does not need.
        from starjax.commands import config_flag

        arguments.config = config_flag.load(config_options, self.config)
        return arguments

    def _parse_options(self, argv: Sequence[str]) -> argparse.Namespace:
        # argparse would report an unknown option only after missing ones, and suggests no other.
        known = [name for name in self._option_string_actions if name.startswith("--")]
        given = [argument.split("=")[0] for argument in argv if argument.startswith("--")]
        for name in given:
            if name not in known:
                self.error(f"unknown option {name}{did_you_mean(name, known)}")
            if given.count(name) > 1:
                self.error(f"{name} is given twice")
        return self.parse_args(argv)

    def print_help(self, file=None) -> None:
        """Print the help; raise OSError if it cannot be written, which argparse would not."""
        print(self.format_help(), end="", file=file, flush=True)

    def error(self, message: str) -> NoReturn:
        """End the process with a line that says what is wrong and where the options are listed."""
        end = "" if message.endswith((".", "?")) else "."
        print_last(f"error: {message}{end} All options: {self.prog} --help")
        sys.exit(WRONG_USAGE)


def path(text: str) -> str:
    """Return the path that an option states (see `paths.expand`): the `type` of such options."""
    try:
        return paths.expand(text)
    except paths.PathError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _split_config_options(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate `--config`, `--config.FIELD` and `--noconfig.FIELD`, with their values, from other options."""
    config_options, others, rest = [], [], list(argv)
    while rest:
        argument = rest.pop(0)
        if not re.match(r"--?(no)?config(=|[.\[]|$)", argument):
            others.append(argument)
            continue
        config_options.append(argument)
        # The value may be the next argument.
        if "=" not in argument and rest and not rest[0].startswith("--"):
            config_options.append(rest.pop(0))
    return config_options, others


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """Return the end of a sentence: `, did you mean …?` with the most similar known name, or a full stop."""
    similar = difflib.get_close_matches(name, known, n=1)
    return f", did you mean {similar[0]}?" if similar else "."


def run(command: ModuleType, argv: Sequence[str]) -> None:
    """Run a command, and end the process if it fails (see `exit_on_errors`)."""
    signals.install_handlers()
    # At exit the interpreter would search everything imported for garbage: 0.3 s with scikit-learn.
    atexit.register(gc.freeze)
    with exit_on_errors():
        arguments = command.parser().parse(argv)
        log.set_level(arguments.log_level)
        command.main(arguments)
        _wait_for_processes()


@contextlib.contextmanager
def exit_on_errors() -> Iterator[None]:
    """End the process if this block fails.

    The last line says why the command ended, without a traceback. The exit status is 1 for errors that the
    user can correct (a StarjaxError, a full disk), 2 for wrong options, 75 (EX_TEMPFAIL) if the same command
    resumes (after SIGTERM, or the loss of another process of the run), 130 for Ctrl-C, and 141 if the reader
    of the output has closed it. A bug keeps its traceback.
    """
    _open_streams()
    try:
        yield
        sys.stdout.flush()  # at exit, the interpreter would report a failure in its own words
    except errors.StarjaxError as error:
        _end(f"error: {error}", 1)
    except signals.StoppedError as stopped:
        print_last(str(stopped))
        sys.exit(stopped.status)  # a normal exit, together with the other processes, which stop as well
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough. What is left in the buffer must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _leave(_BROKEN_PIPE)
    except (AssertionError, MemoryError, OSError, RuntimeError, ValueError) as error:
        # jax raises RuntimeErrors (JaxRuntimeError), if a collective operation loses a process ValueErrors,
        # and if there is no device of JAX_PLATFORMS AssertionErrors.
        _end_on(error)


def _wait_for_processes() -> None:
    """Wait for the other processes of a run, if there are any, before this one ends."""
    if signals.is_one_of_many():
        from starjax.runtime import devices

        # jax stops handling SIGTERM before it waits for all processes to end: a process that is still at work
        # would wait for minutes for the others to answer the signal.
        devices.sync_processes("end")


def _end_on(error: Exception) -> None:
    """End the process with a line for an error that the user can correct or resume from; raise any other."""
    # jax has no class of its own for a lack of memory.
    if isinstance(error, MemoryError) or str(error).startswith("RESOURCE_EXHAUSTED"):
        _end(f"error: {_OUT_OF_MEMORY} ({error!s:.200})", 1)
    if isinstance(error, OSError) and error.errno in files.REMEDIES:
        path = error.filename2 or error.filename  # of a rename, the new name
        where = f"{path}: " if path else ""
        remedy = f"{files.REMEDIES[error.errno]}, and run the command again"
        _end(f"error: {where}{error.strerror}; everything finished before is kept: {remedy}", 1)
    from starjax.runtime import devices, processes

    if isinstance(error, AssertionError) or "initialize backend" in str(error):
        if platforms := devices.missing_platforms():
            remedy = "unset it, or set it to cpu"
            _end(f"error: JAX_PLATFORMS={platforms} names no device of this machine: {remedy}", 1)
        raise error
    if not processes.is_loss_of_a_process(error):
        raise error
    reason = str(error).splitlines()[0]
    _end(
        f"another process of this run ended, or cannot be reached ({reason:.200}): read its last line. "
        "The same command, started again for all processes, resumes from the last checkpoint",
        signals.TRY_AGAIN,
    )


def _open_streams() -> None:
    """Open standard output and error if they are closed; let them print `?` for what they cannot encode."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, for as long as the process lives
        else:
            with contextlib.suppress(OSError):  # a stream that a test or notebook has replaced
                getattr(sys, name).reconfigure(errors="replace")


def print_last(message: str) -> None:
    """Print the last line, on standard error.

    A stream that cannot be written to (its reader has ended, the disk is full) is sent to the null device.
    Otherwise it would fail again at interpreter shutdown, with exit status 120.
    """
    for stream, text in ((sys.stdout, ""), (sys.stderr, f"{message}\n")):
        try:
            stream.write(text)
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _end(message: str, status: int) -> NoReturn:
    print_last(message)
    _leave(status)


def _leave(status: int) -> NoReturn:
    """End the process; one of many at once, since a normal exit may wait for others that wait for it."""
    if signals.is_one_of_many():
        from starjax.runtime import processes

        processes.leave(status)
    sys.exit(status)
