"""What the commands share: a parser whose errors help, and how a command ends.

A command is a module with `parser()` and `main(arguments)`. It imports what it needs within `main`, so that `--help` is quick.
"""

import argparse
import atexit
import contextlib
import difflib
import functools
import gc
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

from starjax import errors
from starjax.io import files
from starjax.runtime import log, signals

# Exit status of a command whose options are wrong, as argparse has it.
WRONG_USAGE = 2
# What a shell reports of a process that SIGPIPE ended: 128 + 13.
_BROKEN_PIPE = 141
_OUT_OF_MEMORY = (
    "not enough memory: use a machine with more of it. Training takes less with a lower config.data.num_star_per_sample or "
    "config.train.micro_batch_size and, where the data set is large, with config.data.placement=streamed"
)


class Parser(argparse.ArgumentParser):
    """The options of `starjax NAME`; all of them are written `--option=value`, with underscores.

    Attributes:
      config: an example of what `--config` takes, if the command takes a config; else None.
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
            formatter_class=functools.partial(argparse.HelpFormatter, max_help_position=27, width=80),
        )
        self.add_argument(
            "--log_level",
            metavar="LEVEL",
            choices=log.LEVELS,
            default="info",
            help="%(choices)s [%(default)s]",
        )
        self.config = config

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse the arguments of the command line; the config, if the command takes one, is their `config`.

        Raises:
          ConfigError: the config does not exist, or a field of it has no such value.
          SystemExit: an option is unknown or wrong (status 2), or help was asked for (0).
        """
        if self.config is None:
            return self._parse_options(argv)
        # Neither ml_collections nor absl are needed by the other commands.
        from starjax.commands import config_flag

        of_config, others = config_flag.split(argv)
        arguments = self._parse_options(others)
        arguments.config = config_flag.load(of_config, self.config)
        return arguments

    def _parse_options(self, argv: Sequence[str]) -> argparse.Namespace:
        known = [name for name in self._option_string_actions if name.startswith("--")]
        for name in (argument.split("=")[0] for argument in argv if argument.startswith("--")):
            if name not in known:
                self.error(f"unknown option {name}{nearest(name, known)}")
        return self.parse_args(argv)

    def error(self, message: str) -> NoReturn:
        """End the process with a line that says what is wrong and where to look."""
        print_last(f"error: {message}. All options: {self.prog} --help")
        sys.exit(WRONG_USAGE)


def nearest(name: str, known: Sequence[str]) -> str:
    """Return `, did you mean …?` with the most similar of the known names, or nothing."""
    found = difflib.get_close_matches(name, known, n=1)
    return f", did you mean {found[0]}?" if found else ""


def run(command: ModuleType, argv: Sequence[str]) -> None:
    """Run a command and end the process where it fails.

    The last line says why the command ended, without a traceback, and the status says how: 1 for what the user can
    mend (a StarjaxError, a full disk), 2 for wrong options, 75 (EX_TEMPFAIL) where the same command resumes (SIGTERM,
    or the loss of another process of the run), 130 for Ctrl-C, 141 for a reader that closes the pipe. A bug keeps its
    traceback.
    """
    _open_streams()
    signals.install_handlers()
    # An interpreter that ends searches everything it has imported for garbage: 0.3 s with scikit-learn.
    atexit.register(gc.freeze)
    try:
        arguments = command.parser().parse(argv)
        log.set_level(arguments.log_level)
        command.main(arguments)
        _wait_for_processes()
    except errors.StarjaxError as error:
        _end(f"error: {error}", 1)
    except signals.StoppedError as stopped:
        print_last(str(stopped))
        sys.exit(stopped.status)  # together with the other processes, which were asked too
    except BrokenPipeError:
        # The reader has seen enough, as `head` does; what is left in the buffer must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _leave(_BROKEN_PIPE)
    except (MemoryError, OSError, RuntimeError, ValueError) as error:
        # jax raises RuntimeErrors (JaxRuntimeError) and, where a collective loses a process, ValueErrors.
        _end_on(error)


def _wait_for_processes() -> None:
    """Wait for the other processes of a run, if there are any, before this one ends."""
    jax = sys.modules.get("jax")
    if jax is not None and jax.distributed.is_initialized():
        from starjax.runtime import devices

        # Processes that end one by one keep those still at work waiting for minutes for an answer to a SIGTERM: jax
        # stops listening for the signal before it waits for all processes.
        devices.sync_processes("end")


def _end_on(error: Exception) -> None:
    """End the process with a line for an error that the user can mend or resume from; raise any other."""
    if isinstance(error, MemoryError) or str(error).startswith("RESOURCE_EXHAUSTED"):
        _end(f"error: {_OUT_OF_MEMORY} ({error!s:.200})", 1)
    if isinstance(error, OSError) and error.errno in files.REMEDIES:
        path = error.filename2 or error.filename
        where = f"{path}: " if path else ""
        _end(
            f"error: {where}{error.strerror}; everything finished before is kept: {files.REMEDIES[error.errno]}, and run "
            "the command again",
            1,
        )
    from starjax.runtime import processes

    if not processes.is_loss_of_a_process(error):
        raise error
    reason = str(error).splitlines()[0]
    _end(
        f"another process of this run ended, or cannot be reached ({reason:.200}): read its last line. The same command, "
        "started again for all processes, resumes from the last checkpoint",
        signals.TRY_AGAIN,
    )


def _open_streams() -> None:
    """Open standard output and error where they were closed; let them print characters they cannot encode as `?`."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, for as long as the process lives
        else:
            with contextlib.suppress(OSError):  # a stream that was put in another's place
                getattr(sys, name).reconfigure(errors="replace")


def print_last(message: str) -> None:
    """Print the last line, on standard error.

    A stream that cannot be written to (its reader has ended, the disk is full) is replaced, so that it does not fail
    again as the interpreter ends, which would then exit with status 120.
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
    """End the process; one of many at once, since it would wait for the others while they wait for it."""
    jax = sys.modules.get("jax")
    if jax is not None and jax.distributed.is_initialized():
        from starjax.runtime import processes

        processes.leave(status)
    sys.exit(status)
