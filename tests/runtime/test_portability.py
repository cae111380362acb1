"""starjax works without what only Unix has: modules, signals and exit codes that Windows lacks."""

import subprocess
import sys

import pytest

# Windows has none of these modules, signals and exit codes. Only imports by starjax fail, since what other
# packages import differs between the systems.
AS_ON_WINDOWS = """
import builtins
import os
import signal
import sys

UNIX = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty"}
real_import = builtins.__import__


def import_as_on_windows(name, globals=None, *arguments):
    if name in UNIX and str((globals or {}).get("__name__")).startswith("starjax"):
        raise ImportError(f"no module named {name}")
    return real_import(name, globals, *arguments)


builtins.__import__ = import_as_on_windows
for name in ("SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGUSR1", "SIGALRM"):
    delattr(signal, name)
for name in [name for name in dir(os) if name.startswith("EX_")]:
    delattr(os, name)
"""


def run_as_on_windows(program):
    command = [sys.executable, "-c", AS_ON_WINDOWS + program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_help_of_a_command():
    program = """
import starjax
import starjax.__main__

sys.argv = ["starjax", "predict", "--help"]
starjax.__main__.main()
"""
    assert run_as_on_windows(program).startswith("usage: starjax predict")


@pytest.mark.slow
def test_all_modules_can_be_imported_and_the_free_memory_is_known():
    program = """
import importlib
import pkgutil

import jax

import starjax

for module in pkgutil.walk_packages(starjax.__path__, "starjax."):
    importlib.import_module(module.name)

from starjax.runtime import memory

print(memory.free_bytes(jax.devices()[0]) > 0)
"""
    assert run_as_on_windows(program) == "True\n"


def test_a_signal_ends_a_command_with_its_status():
    program = """
from types import SimpleNamespace

from starjax.commands import cli


def main(_):
    os.kill(os.getpid(), signal.SIGTERM)


try:
    cli.run(SimpleNamespace(parser=lambda: cli.Parser("test", ""), main=main), [])
finally:
    print("still alive")
"""
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run_as_on_windows(program)
    assert failed.value.returncode == 75
    assert "asked to stop; the same command, given again, resumes" in failed.value.stderr
    assert failed.value.stdout == ""
