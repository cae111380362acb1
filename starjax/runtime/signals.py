"""Being asked to go, by SIGTERM, Ctrl-C or a terminal that is closed: at once where nothing would be lost, else after the step under way.

A machine that is taken away says so some seconds before; what it was at is to stand then.
"""

import contextlib
import dataclasses
import errno
import os
import signal
import sys
from collections.abc import Iterator

# sysexits.h's EX_TEMPFAIL, which Python has on Unix only: the same command resumes.
TRY_AGAIN = 75
# Windows has no SIGHUP.
_HANGUP = getattr(signal, "SIGHUP", None)
SIGNALS = tuple(number for number in (signal.SIGINT, signal.SIGTERM, _HANGUP) if number is not None)
# What a shell has for Ctrl-C, and for the others sysexits.h's "try again later": the same command goes on.
STATUS = {signal.SIGINT: 128 + signal.SIGINT} | dict.fromkeys(SIGNALS[1:], TRY_AGAIN)
WORDS = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "asked to end",
    _HANGUP: "asked to end by a terminal that was closed",
}
GOES_ON = "the same command, given again, goes on"


class StoppedError(Exception):
    """A run that was asked to end and has kept what it had, with what to do; no error of the run.

    Attributes:
      status: what the process ends with.
    """

    def __init__(self, message: str, number: signal.Signals):
        super().__init__(f"{WORDS[number]}: {message}; {GOES_ON}")
        self.status = STATUS[number]


@dataclasses.dataclass(frozen=True)
class Ending:
    """A signal handler that ends the process at once and says what stands; what it was at survives that, as it survives a kill.

    A KeyboardInterrupt would be lost where it is raised in a callback of a library, and ending while XLA compiles may crash.
    """

    stands: str = ""

    def __call__(self, number: int, _) -> None:
        said = ": ".join(filter(None, [WORDS[signal.Signals(number)], self.stands]))
        # Not by print, in the midst of which this may have come. A progress bar hides the cursor.
        show_cursor = "\x1b[?25h" if os.isatty(2) else ""
        _say(f"{show_cursor}\n{said}; {GOES_ON}\n")
        os._exit(STATUS[signal.Signals(number)])


class Deferral:
    """A signal handler that notes the first signal, for work that is to be kept first; a second one ends the process at once.

    That a terminal is closed is often said twice, by the kernel and by the shell.
    """

    def __init__(self):
        self.number: signal.Signals | None = None

    def __call__(self, number: int, frame) -> None:
        if number == _HANGUP:
            detach_terminal()
            if self.number is not None:
                return
        if self.number is not None:
            Ending("what was saved before stands")(number, frame)
        self.number = signal.Signals(number)
        _say(f"\n{WORDS[self.number]}: saving after the step under way; Ctrl-C ends at once\n")


def _say(text: str) -> None:
    # Ctrl-C ends a `tee` that would have read it, too; what is to be kept is kept all the same.
    with contextlib.suppress(OSError):
        os.write(2, text.encode())


def detach_terminal() -> None:
    """What is printed from here on goes nowhere, where it went to a terminal that is gone."""
    for descriptor in (1, 2):
        try:
            os.write(descriptor, b"")
        except OSError as error:
            if error.errno == errno.EIO:
                os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def install_handlers() -> None:
    """From here on a signal ends the process and says what stands; for commands, not for what others import."""
    for number in SIGNALS:
        # A process started in the background may have been told to ignore Ctrl-C, one of `nohup` its terminal.
        if signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):
            signal.signal(number, Ending())


@contextlib.contextmanager
def surviving(what: str) -> Iterator[None]:
    """What stands if a signal ends the process within this block."""
    with _handled(Ending(what)):
        yield


@contextlib.contextmanager
def deferred() -> Iterator[Deferral]:
    """Within this block a signal is noted only, in the `number` of what is yielded."""
    handler = Deferral()
    with _handled(handler):
        yield handler


@contextlib.contextmanager
def _handled(handler) -> Iterator[None]:
    # A notebook keeps its own way of being interrupted. Of many processes, jax tells all that one was asked to go.
    jax = sys.modules.get("jax")
    numbers = () if jax is not None and jax.distributed.is_initialized() else SIGNALS
    replaced = {n: h for n in numbers if isinstance(h := signal.getsignal(n), Ending)}
    for number in replaced:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, before in replaced.items():
            signal.signal(number, before)
