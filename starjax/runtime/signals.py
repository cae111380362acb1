"""Stop on SIGTERM, Ctrl-C or a closed terminal: at once, or after the current step if work would be lost.

A preempted machine gives some seconds of notice. What the run has done by then must be on disk before they
end.
"""

import contextlib
import dataclasses
import errno
import os
import signal
import sys
from collections.abc import Iterator

# EX_TEMPFAIL of sysexits.h, which the module os has on Unix only: try again, the same command resumes.
TRY_AGAIN = 75
# Windows has no SIGHUP.
_HANGUP = getattr(signal, "SIGHUP", None)
SIGNALS = tuple(number for number in (signal.SIGINT, signal.SIGTERM, _HANGUP) if number is not None)
# Ctrl-C ends with the status that a shell gives it.
STATUS = {signal.SIGINT: 128 + signal.SIGINT} | dict.fromkeys(SIGNALS[1:], TRY_AGAIN)
REASONS = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "asked to stop",
    _HANGUP: "asked to stop, since the terminal was closed",
}
RESUMES = "the same command, given again, resumes"


class StoppedError(Exception):
    """A run that was asked to stop and has saved its state; the run itself is without error.

    Attributes:
      status: exit status of the process.
    """

    def __init__(self, message: str, number: signal.Signals):
        super().__init__(f"{REASONS[number]}: {message}; {RESUMES}")
        self.status = STATUS[number]


@dataclasses.dataclass(frozen=True)
class ImmediateStop:
    """A signal handler that ends the process at once and prints what is kept; files are as after a kill.

    It does not raise: a KeyboardInterrupt is lost if it is raised in a callback of a library, and unwinding
    the stack while XLA compiles may crash.

    Attributes:
      kept: what is kept, in words; may be empty.
    """

    kept: str = ""

    def __call__(self, number: int, _) -> None:
        reason = ": ".join(filter(None, [REASONS[signal.Signals(number)], self.kept]))
        # Progress bars hide the cursor.
        show_cursor = "\x1b[?25h" if os.isatty(2) else ""
        _write(f"{show_cursor}\n{reason}; {RESUMES}\n")
        # No clean-up: it may wait for threads or other processes, and the time before the kill is short.
        os._exit(STATUS[signal.Signals(number)])


class DeferredStop:
    """A signal handler that notes the first signal, so that work can be saved; a second one ends the process.

    A closed terminal counts once: often both the kernel and the shell send SIGHUP.

    Attributes:
      number: the first signal, or None.
    """

    def __init__(self):
        self.number: signal.Signals | None = None

    def __call__(self, number: int, frame) -> None:
        if number == _HANGUP:
            detach_terminal()
            if self.number is not None:
                return
        if self.number is not None:
            ImmediateStop("what was saved before is kept")(number, frame)
        self.number = signal.Signals(number)
        _write(f"\n{REASONS[self.number]}: saving after the current step; Ctrl-C ends at once\n")


def _write(text: str) -> None:
    """Write to standard error, if it can be written to."""
    # Not by print: the signal may have arrived within a print. Ctrl-C also ends a `tee` that reads this
    # stream; the run must be saved all the same.
    with contextlib.suppress(OSError):
        os.write(2, text.encode())


def detach_terminal() -> None:
    """Send standard output and error to the null device if their terminal is gone."""
    # A write of no bytes fails on a terminal that is gone, and does nothing to a file or a pipe.
    for descriptor in (1, 2):
        try:
            os.write(descriptor, b"")
        except OSError as error:
            if error.errno == errno.EIO:
                os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def install_handlers() -> None:
    """Let signals end this process with a message; for commands, not for programs that import starjax."""
    for number in SIGNALS:
        # Other handlers stay: background processes may ignore Ctrl-C, and processes under `nohup` SIGHUP.
        if signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL):
            signal.signal(number, ImmediateStop())


@contextlib.contextmanager
def stop_message(kept: str) -> Iterator[None]:
    """Print what is kept if a signal ends the process within this block."""
    with _handled(ImmediateStop(kept)):
        yield


def is_one_of_many() -> bool:
    """Return whether this process is one of several of a run, without importing jax for it."""
    jax = sys.modules.get("jax")  # a command that has not imported jax is one process
    return jax is not None and jax.distributed.is_initialized()


@contextlib.contextmanager
def deferred() -> Iterator[DeferredStop]:
    """Defer signals within this block: the `number` of what it yields is that of the first one."""
    handler = DeferredStop()
    with _handled(handler):
        yield handler


@contextlib.contextmanager
def _handled(handler) -> Iterator[None]:
    """Replace the handlers of `install_handlers`, if they are installed, within this block."""
    # In a notebook none are installed, and its own stay. With many processes jax handles SIGTERM: it tells
    # all of them that one was asked to stop, so that they save at the same step.
    numbers = () if is_one_of_many() else SIGNALS
    replaced = {n: h for n in numbers if isinstance(h := signal.getsignal(n), ImmediateStop)}
    for number in replaced:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, before in replaced.items():
            signal.signal(number, before)
