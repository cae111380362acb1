"""Log the events of a run, one line each, on standard output.

A terminal shows the text alone. In a file each line starts with the time and the level, because it is read
later: INFO for what goes as planned, WARNING for what does not and how it was handled. The error that ends a
command is its last line, on standard error.
"""

import errno
import logging
import sys

from starjax.runtime import signals

LEVELS = ("warning", "info", "debug")
_LOGGER = logging.getLogger("starjax")


class _Printer(logging.Handler):
    """Prints to `sys.stdout` as it is at that moment, which a notebook replaces for each cell."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), flush=True)
        except OSError as error:
            # EIO: the terminal was closed, and the run goes on without it; or a file is on a failing disk.
            if error.errno == errno.EIO:
                signals.detach_terminal()
                sys.stdout.flush()  # raises again where the cause is a failing disk
            else:
                error.filename = error.filename or "standard output"
                raise

    def format(self, record: logging.LogRecord) -> str:
        # One line each: messages of libraries, which errors quote, may have several.
        text = " ".join(record.getMessage().splitlines())
        # Only the main process logs events, but any process may log a warning.
        if record.levelno > logging.INFO and signals.is_one_of_many():
            text = f"process {sys.modules['jax'].process_index()}: {text}"
        if sys.stdout.isatty():
            return text if record.levelno == logging.INFO else f"{record.levelname.lower()}: {text}"
        return f"{logging.Formatter('%(asctime)s').format(record):.19} {record.levelname:<7} {text}"


def set_level(level: str) -> None:
    """Set which lines are logged, for the whole process.

    Args:
      level: one of LEVELS: 'warning'; 'info' for events as well; 'debug' also for the messages of libraries.
    """
    import absl.logging

    _LOGGER.setLevel(level.upper())
    if level == "debug":
        logging.basicConfig(format="%(name)s: %(message)s")
        # absl has a level of its own, which hides the messages of orbax whatever that of `logging` is.
        absl.logging.set_verbosity(absl.logging.INFO)
    else:
        _silence_libraries()


def _silence_libraries() -> None:
    """Suppress messages of libraries that tell users nothing.

    - absl, INFO: orbax and jax log each step of each checkpoint.
    - orbax, errors with a traceback: its threads log what they raise, which also ends the command with a
      line.
    - orbax, "not finalized": it removes the unfinished checkpoint of a killed process, as it should.
    - asyncio, "never retrieved": an item of a checkpoint could not be written, but another one has already
      raised.
    - tensorstore, "Event loop is closed": it was still writing one item when another one raised.
    """
    import absl.logging

    absl.logging.set_verbosity(absl.logging.WARNING)
    absl.logging.get_absl_logger().addFilter(_is_news)
    logging.getLogger("asyncio").addFilter(lambda record: "never retrieved" not in record.getMessage())
    show = sys.unraisablehook
    sys.unraisablehook = lambda raised: (
        None if "Event loop is closed" in str(raised.exc_value) else show(raised)
    )


def _is_news(record: logging.LogRecord) -> bool:
    is_known = record.exc_info is not None or "not finalized" in record.getMessage()
    return not (is_known and "/orbax/checkpoint/" in record.pathname)


def console(width: int):
    """Return a rich console on standard output that prints `[b]` and `:star:` in names as they are."""
    from rich.console import Console  # slow to import, and used at the end of a command only

    return Console(width=width, markup=False, emoji=False)


def info(text: str) -> None:
    """Log an event."""
    _LOGGER.info("%s", text)


def warning(text: str) -> None:
    """Log a warning."""
    _LOGGER.warning("%s", text)


_LOGGER.addHandler(_Printer())
_LOGGER.setLevel(logging.INFO)
_LOGGER.propagate = False  # the root logger may have handlers of the application or of absl
