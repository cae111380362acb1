"""Run commands that are killed: after some time, or as they are about to write to their n-th file.

A server that has imported starjax forks a process for each command, so that 50 of them do not import it 50
times.
"""

import atexit
import importlib
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import jax

from starjax.commands import cli

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["tests.killing_preload"])
_TOUCHING = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate")


def run(
    command: str,
    arguments: Sequence[str],
    log: Path,
    folder: Path,
    *,
    after_seconds: float | None = None,
    at_touch: int | None = None,
    number: signal.Signals = signal.SIGKILL,
) -> int:
    """Run `starjax COMMAND` to its end, or until it sends itself a signal; return its exit status.

    It has the current environment of this process.

    Args:
      log: file to which its output is appended.
      folder: only files below it are counted. After a run to the end, their number and its seconds are in
        `log` with the suffix `.touched`.
    """
    options = (command, list(arguments), log, folder, after_seconds, at_touch, number, dict(os.environ))
    process = _SERVER.Process(target=_command, args=options)
    process.start()
    process.join()
    return process.exitcode


def _enter(environment: dict[str, str]) -> None:
    """Take over an environment, including the values that jax read from that of the server."""
    for name, value in environment.items():
        if name.startswith("JAX_") and os.environ.get(name) != value:
            jax.config.update(name.lower(), int(value) if value.isdecimal() else value)
    os.environ.clear()
    os.environ.update(environment)


def _command(command, arguments, log, folder, after_seconds, at_touch, number, environment) -> None:
    _enter(environment)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    sys.stdout.reconfigure(line_buffering=True)
    touched = 0

    def count(event, arguments_of_event):
        nonlocal touched
        path = arguments_of_event[0] if arguments_of_event else None
        if event not in _TOUCHING or not isinstance(path, str | os.PathLike):
            return
        if event == "open" and not (arguments_of_event[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        if event in ("os.remove", "os.rmdir") and arguments_of_event[1] >= 0:  # of shutil.rmtree
            path = Path(os.readlink(f"/proc/self/fd/{arguments_of_event[1]}"), path)
        if Path(path).is_relative_to(folder):
            touched += 1
            if touched == at_touch:
                os.kill(os.getpid(), number)

    sys.addaudithook(count)
    # A process of the server ends without `atexit`.
    start = time.perf_counter()

    def write_down():
        lasted = {"touched": touched, "seconds": time.perf_counter() - start}
        log.with_suffix(".touched").write_text(json.dumps(lasted))

    atexit.register(write_down)
    if after_seconds is not None:
        timer = threading.Timer(after_seconds, os.kill, (os.getpid(), number))
        timer.daemon = True
        timer.start()
    try:
        cli.run(importlib.import_module(f"starjax.commands.{command}"), arguments)
    finally:
        # As an interpreter ends. The first call lets joblib release its workers, for which the second would
        # wait.
        threading._shutdown()
        atexit._run_exitfuncs()
