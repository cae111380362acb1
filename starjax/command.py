"""What all commands share: flags, and errors in one line instead of a traceback."""

import argparse
import atexit
import contextlib
import functools
import gc
import os
import signal
import sys
from collections.abc import Callable

import jax
from absl import app, flags, logging
from absl.flags import argparse_flags

from starjax import config_flag, distributed, errors, files, log, processes, signals

_TOO_LARGE = (
    "not enough memory: use a machine with more of it. Training takes less with a lower config.data.num_star_per_sample or "
    "config.train.micro_batch_size and, where the data set is large, with config.data.placement=streamed"
)


def parser(name: str, description: str, usage: str | None = None, epilog: str | None = None):
    """What reads the options of the command `starjax.<name>`, beside absl's flags; `usage` is what is said of them in short."""
    return argparse_flags.ArgumentParser(
        allow_abbrev=False,
        prog=f"python -m starjax.{name}",
        usage=usage and f"%(prog)s {usage}",
        description=description,
        epilog=epilog,
        formatter_class=functools.partial(argparse.HelpFormatter, max_help_position=27, width=80),
    )


def run(main: Callable[..., None], flags_parser: Callable = config_flag.parse) -> None:
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
        _leave(128 + signal.SIGPIPE)
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
    """Ends the process with a last line."""
    _say_last(message)
    _leave(status)


def _leave(status: int) -> None:
    """Ends the process; one of many at once, lest it wait for the others while they wait for it."""
    if jax.distributed.is_initialized():
        processes.leave(status)
    sys.exit(status)
