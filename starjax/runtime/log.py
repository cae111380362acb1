"""What a run says as it goes on: a line an event, on standard output.

A terminal shows the text alone. A file gets the time and the level before it, since people read it days later: `INFO`, what goes
as it should; `WARNING`, what went otherwise than asked and how it was mended. What ends a command is its last line, on standard error.
"""

import errno
import logging
import sys

from starjax.runtime import signals

_LOGGER = logging.getLogger("starjax")


class _Printer(logging.Handler):
    """Prints, so that a line goes where standard output is at that moment, as in a notebook."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), flush=True)
        except OSError as error:
            if error.errno == errno.EIO:
                signals.detach_terminal()
                sys.stdout.flush()  # a disk that fails still does
            else:
                error.filename = error.filename or "standard output"
                raise

    def format(self, record: logging.LogRecord) -> str:
        text = " ".join(record.getMessage().splitlines())
        # Of many processes one speaks, unless something is amiss.
        jax = sys.modules.get("jax")  # a command that has not imported it is one process
        if record.levelno > logging.INFO and jax is not None and jax.distributed.is_initialized():
            text = f"process {jax.process_index()}: {text}"
        if sys.stdout.isatty():
            return text if record.levelno == logging.INFO else f"{record.levelname.lower()}: {text}"
        return f"{logging.Formatter('%(asctime)s').format(record):.19} {record.levelname:<7} {text}"


def set_level(level: int) -> None:
    """Lines below a level of the module `logging` do not appear."""
    _LOGGER.setLevel(level)


def silence_libraries() -> None:
    """Leaves out what libraries print of their insides, by name.

    - absl: INFO; orbax and jax log each step of each checkpoint.
    - orbax, errors with a traceback: each of its threads logs what it raises, and what it raises ends the command with a line.
    - orbax, "not finalized": the part of a checkpoint that a killed process left is removed, as it should be.
    - asyncio, "never retrieved": of one of orbax's parts that could not be written, where another one told it.
    - tensorstore, "Event loop is closed": what it had under way of a checkpoint as orbax raised that another part cannot be written.
    """
    import absl.logging

    absl.logging.set_verbosity(absl.logging.WARNING)
    absl.logging.get_absl_logger().addFilter(_says_more_than_the_run)
    logging.getLogger("asyncio").addFilter(lambda record: "never retrieved" not in record.getMessage())
    show = sys.unraisablehook
    sys.unraisablehook = lambda raised: (
        None if "Event loop is closed" in str(raised.exc_value) else show(raised)
    )


def console(width: int):
    """What prints tables on standard output, with names as they are: rich would read `[b]` and `:star:` in them."""
    from rich.console import Console  # slow to import, and needed at the end of a command only

    return Console(width=width, markup=False, emoji=False)


def info(text: str) -> None:
    _LOGGER.info("%s", text)


def warning(text: str) -> None:
    _LOGGER.warning("%s", text)


def _says_more_than_the_run(record: logging.LogRecord) -> bool:
    is_told = record.exc_info is not None or "not finalized" in record.getMessage()
    return not (is_told and "/orbax/checkpoint/" in record.pathname)


_LOGGER.addHandler(_Printer())
_LOGGER.setLevel(logging.INFO)
_LOGGER.propagate = False  # to absl's, which prints what libraries say
