"""Signals, streams and errors of commands; kills are in test_killed."""

import os
import pty
import subprocess
import sys
from types import SimpleNamespace

import jax
import pytest

from starjax.commands import cli
from tests import killing
from tests.processes import command

INTERRUPTED = """
import os
import signal

from types import SimpleNamespace

from starjax.commands import cli

# Processes in the background may ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)


def main(_):
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        pass  # as a library may


cli.run(SimpleNamespace(parser=lambda: cli.Parser("test", ""), main=main), [])
"""


def test_ctrl_c_ends_a_command_with_one_line():
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr.endswith("\ninterrupted; the same command, given again, resumes\n")


STOPPED_WITHOUT_A_READER = """
import os
import signal

from types import SimpleNamespace

from starjax.commands import cli
from starjax.runtime import signals

# The reader of the output has ended.
reader, writer = os.pipe()
os.close(reader)
os.dup2(writer, 1)
os.dup2(writer, 2)


def main(_):
    with signals.deferred() as deferral:
        os.kill(os.getpid(), signal.SIGTERM)
    raise signals.StoppedError("all is kept", deferral.number)


cli.run(SimpleNamespace(parser=lambda: cli.Parser("test", ""), main=main), [])
"""


def test_a_run_is_saved_if_nobody_reads_its_output():
    done = subprocess.run([sys.executable, "-c", STOPPED_WITHOUT_A_READER], check=False)
    assert done.returncode == os.EX_TEMPFAIL
    at_once = STOPPED_WITHOUT_A_READER.replace("signals.deferred()", 'signals.stop_message("all")')
    assert subprocess.run([sys.executable, "-c", at_once], check=False).returncode == os.EX_TEMPFAIL


TERMINAL_IS_CLOSED = """
import fcntl
import signal
import sys
import termios
import time

fcntl.ioctl(0, termios.TIOCSCTTY, 0)
# It may be ignored where the tests run.
signal.signal(signal.SIGHUP, signal.SIG_IGN if IGNORED else signal.SIG_DFL)

from types import SimpleNamespace

from starjax.commands import cli
from starjax.runtime import log, signals


def main(_):
    with signals.deferred() as deferral:
        log.info("begun")
        while True:
            time.sleep(0.01)
            if deferral.number or IGNORED:
                break
        time.sleep(0.5 * IGNORED)
        log.info("nobody reads this")
        print("nor this", file=sys.stderr, flush=True)
    open(sys.argv[1], "w").write("kept")
    if deferral.number:
        raise signals.StoppedError("all is kept", deferral.number)


cli.run(SimpleNamespace(parser=lambda: cli.Parser("test", ""), main=main), [])
"""


@pytest.mark.parametrize(("ignored", "status"), [(False, os.EX_TEMPFAIL), (True, 0)])
def test_a_run_is_saved_if_its_terminal_is_closed(tmp_path, ignored, status):
    """With SIGHUP; under `nohup` and the like without it."""
    mine, its = pty.openpty()
    program = TERMINAL_IS_CLOSED.replace("IGNORED", str(ignored))

    process = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path / "found"],
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
    )
    os.close(its)
    read = b""
    while b"begun" not in read:
        read += os.read(mine, 1000)
    os.close(mine)
    assert process.wait(60) == status
    assert (tmp_path / "found").read_text() == "kept"


STREAMS = """
from types import SimpleNamespace

from starjax.commands import cli
from starjax.runtime import log


def main(_):
    log.info("2 ± 1 \u250f")


cli.run(SimpleNamespace(parser=lambda: cli.Parser("test", ""), main=main), [])
"""


@pytest.mark.parametrize(
    ("ending", "status", "printed", "said"),
    [
        (">&-", 0, "", ""),
        (">/dev/full", 1, "", "error: standard output: No space left on device"),
        ("", 0, "2 ? 1 ?", ""),
    ],
)
def test_output_that_is_closed_full_or_not_in_unicode(ending, status, printed, said):
    done = subprocess.run(
        ["sh", "-c", f'"$0" -c "$1" {ending}', sys.executable, STREAMS],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout[28:].strip()) == (status, printed)
    assert done.stderr.startswith(said)
    assert len(done.stderr.splitlines()) == bool(said)


@pytest.mark.slow
@pytest.mark.parametrize(
    "what", ["np.zeros(2**50)", "jax.jit(lambda: jax.numpy.zeros(2**46), keep_unused=True)()"]
)
def test_too_little_memory_is_reported_in_one_line(what):
    program = (
        "import jax, numpy as np\nfrom types import SimpleNamespace\nfrom starjax.commands import cli\n"
        f"cli.run(SimpleNamespace(parser=lambda: cli.Parser('test', ''), main=lambda _: {what}), [])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: not enough memory: use a machine with more of it.")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("num_process", "raised", "status"),
    [(2, ValueError, 75), (2, jax.errors.JaxRuntimeError, 75), (1, ValueError, None)],
)
def test_the_loss_of_a_process_is_recognized_whatever_jax_raises(
    num_process, raised, status, monkeypatch, capsys
):
    error = raised("UNKNOWN: Gloo AllGather failed: Connection closed by peer")

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(cli.signals, "install_handlers", lambda: None)
    monkeypatch.setattr(cli.log, "set_level", lambda level: None)
    monkeypatch.setattr(cli, "_open_streams", lambda: None)
    monkeypatch.setattr(jax, "process_count", lambda: num_process)
    with pytest.raises(SystemExit if status else raised) as ended:
        cli.run(SimpleNamespace(parser=lambda: cli.Parser("test", ""), main=fail), [])
    if status:
        assert ended.value.code == status
        assert "another process of this run ended" in capsys.readouterr().err


@pytest.mark.weekly
def test_a_diverging_run_ends_non_zero_with_one_line(small, tmp_path):
    diverging = command(small, tmp_path, "--config.optim.learning_rate=1e30")
    done = subprocess.run(diverging, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the loss is not finite in epoch 1" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--config=deep_sets", "--config.optim.learning_rat=1"],
            "config.optim.learning_rat=1: the config has no field learning_rat, did you mean learning_rate?",
        ),
        (["--config=deep_sets", "--config.train.patience=0"], "config.train.patience=0"),
        (
            ["--config=deep_sets", "--config.data.dataset=/nowhere"],
            "data.dataset='/nowhere': there is no folder /nowhere",
        ),
        (["--config=set_transformer", "--config.model.num_heads=4"], "model.num_heads=4"),
        (["--config=deep_sets", "--config.output_base=README.md"], "README.md is not a folder"),
        (["--config=deep_sets", "--config.data.target_keys=a,b"], """'("a", "b")'"""),
        (["--config=/dev/null"], "--config=/dev/null: the file defines no get_config()"),
        (
            ["--config=deep_set"],
            "starjax has no config of that name, did you mean deep_sets? There are common, dataset,",
        ),
        (["--config=deep_sets:8"], "takes no argument after a colon"),
        (
            ["--config=configs/deep_set.py"],
            "--config=configs/deep_set.py cannot be loaded: No such file or directory",
        ),
        (["--config=deep_sets", "--config.nonsense.field=1"], "the config has no field nonsense"),
        (
            ["--config=dataset"],
            "the config has no seed, data, observer, model, head, mixture, optim, ensemble, sweep, train",
        ),
        (["--config=common:perceptron"], "choose one of summary_stats, deep_sets"),
        (["--config=deep_sets", "--config.seed=one"], "--config.seed=one"),
        (["--confg=configs/deep_sets.py"], "unknown option --confg, did you mean --config?"),
        ([], "name a config, such as --config=set_transformer"),
        (
            ["--config=deep_sets.py", "--config.seed=1"],
            "--config=deep_sets.py cannot be loaded: No such file or directory",
        ),
        (["--config=deep_sets", "--config.data.target_keys=('age',)"], "no age; it has time"),
    ],
)
def test_errors_of_the_command_are_one_line(arguments, said, tmp_path, monkeypatch):
    out, log = tmp_path / "out", tmp_path / "log"
    monkeypatch.setenv("OUTPUT_BASE", str(out))
    assert killing.run("train", arguments, log, out) == (2 if "unknown option" in said else 1)
    printed = log.read_text()
    assert said in printed.splitlines()[-1]
    assert "Traceback" not in printed
    assert "compiling" not in printed
    assert not out.exists()


@pytest.mark.parametrize("argument", [["--help"], ["--version"], ["train", "--help"]])
def test_help_that_nobody_reads_ends_without_a_traceback(argument):
    command_line = [sys.executable, "-m", "starjax", *argument]
    with subprocess.Popen(command_line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_a_closed_pipe_ends_a_command_without_a_traceback():
    program = (
        "from types import SimpleNamespace\nfrom starjax.commands import cli\n"
        "def main(arguments):\n"
        "    for _ in range(100):\n"
        "        print('x' * 10_000)\n"
        "cli.run(SimpleNamespace(parser=lambda: cli.Parser('test', ''), main=main), [])"
    )
    command_line = [sys.executable, "-c", program]
    with subprocess.Popen(command_line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        said = process.stderr.read()
    assert said == ""
    assert process.returncode == 141
