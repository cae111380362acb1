"""The command in processes of its own: interrupted, two at once, and wrong. Killed it is in test_killed."""

import functools
import os
import re
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pandas as pd
import pytest

import starjax


def command(dataset_folder, base, *more, program=("-m", "starjax.main")):
    """A small run of its own process, named `run` below `base`."""
    return [
        sys.executable,
        *program,
        "--config=configs/deep_sets.py",
        f"--config.data.dataset={dataset_folder}",
        f"--config.output_base={base}",
        "--config.name=run",
        "--config.train.batch_size=32",
        *more,
    ]


INTERRUPTED = """
import os
import signal

from absl import flags

from starjax import command

# A process started in the background may ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)


def main(_):
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        pass  # as a library may


command.run(main, flags.FLAGS)
"""


def test_ctrl_c_ends_a_command_with_one_line():
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr.endswith("\ninterrupted; the same command, given again, goes on\n")


ASKED_WITH_NOBODY_TO_TELL = """
import os
import signal

from absl import flags

from starjax import command, signals

# Who read what is printed has ended.
reader, writer = os.pipe()
os.close(reader)
os.dup2(writer, 1)
os.dup2(writer, 2)


def main(_):
    with signals.deferred() as deferral:
        os.kill(os.getpid(), signal.SIGTERM)
    raise signals.StoppedError("all is kept", deferral.number)


command.run(main, flags.FLAGS)
"""


def test_what_is_to_be_kept_is_kept_where_nobody_reads_what_is_said_of_it():
    done = subprocess.run([sys.executable, "-c", ASKED_WITH_NOBODY_TO_TELL], check=False)
    assert done.returncode == os.EX_TEMPFAIL
    at_once = ASKED_WITH_NOBODY_TO_TELL.replace("signals.deferred()", 'signals.standing("all")')
    assert subprocess.run([sys.executable, "-c", at_once], check=False).returncode == os.EX_TEMPFAIL


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


STREAMED = "data.placement=streamed"
# The command with an epoch in several chunks, and a line for each that is read while training.
SMALL_CHUNKS = """
import runpy

from starjax.data import placement

placement.BLOCK, placement.CHUNK_BYTES = 1, 4096
read = placement._Plan.read


def read_and_say(plan, shard, epoch, chunk, device):
    if plan.is_shuffled:
        print(f"share {device}, chunk {chunk} of {plan.num_chunk}")
    return read(plan, shard, epoch, chunk, device)


placement._Plan.read = read_and_say
runpy.run_module("starjax.main", run_name="__main__")
"""


def pair_of(small, base, *more, program=("-m", "starjax.main")):
    """Two processes of one run, started, with two devices each."""
    port = free_port()
    return [
        subprocess.Popen(
            command(
                small,
                base,
                *more,
                f"--coordinator_address=127.0.0.1:{port}",
                "--num_processes=2",
                f"--process_id={i}",
                program=program,
            ),
            env=os.environ | {"JAX_NUM_CPU_DEVICES": "2"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(2)
    ]


def ended(pair, seconds=300):
    """What two processes print, and their statuses, once both have ended."""
    deadline = time.monotonic() + seconds
    printed = [process.communicate(timeout=deadline - time.monotonic())[0] for process in pair]
    return printed, [process.returncode for process in pair]


def wait_for(process, text):
    """What a process prints up to a line that holds a text."""
    printed = []
    for line in process.stdout:
        printed.append(line)
        if text in line:
            break
    return "".join(printed)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(
            ("train.max_epochs=3", "ensemble.size=4", "ensemble.num_fold=2"), marks=pytest.mark.weekly
        ),
        # Other samples meet in a batch there, but in no number of processes other ones than in another. (What is sharded
        # is a single such chunk.)
        ("train.max_epochs=60", "train.patience=60", STREAMED),
    ],
)
def test_two_processes_give_the_result_of_one(small, tmp_path, options):
    short = [f"--config.{option}" for option in options]
    program = ("-c", SMALL_CHUNKS) if STREAMED in options else ("-m", "starjax.main")
    alone = subprocess.run(
        command(small, tmp_path / "one", *short, program=program),
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"JAX_NUM_CPU_DEVICES": "4"},
    )
    assert alone.returncode == 0, alone.stderr
    start = functools.partial(pair_of, small, tmp_path / "two", *short, program=program)
    pair, seen = start(), ""
    if STREAMED in options:  # on the way, one is asked to go
        wait_for(pair[0], "epoch   3/")
        pair[1].send_signal(signal.SIGTERM)
        printed, statuses = ended(pair)
        assert statuses == [75, 75], printed
        assert all("asked to end: " in text.splitlines()[-1] for text in printed)
        pair = start()
        seen = wait_for(pair[0], "4 device(s)")
    printed, statuses = ended(pair)
    assert statuses == [0, 0], printed
    assert "4 device(s)" in seen + printed[0]
    assert ("going on after epoch" in printed[0]) == (STREAMED in options)
    assert "epoch" not in printed[1]
    tables = [
        pd.read_parquet(tmp_path / base / "experiments/run/run-test.parquet") for base in ("one", "two")
    ]
    pd.testing.assert_frame_equal(*tables, rtol=1e-4, atol=1e-4)
    # And both answer alike.
    one, two = (starjax.load(tmp_path / base / "experiments/run") for base in ("one", "two"))
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
    jax.tree.map(close, one.params, two.params)
    close(one.calibrated.stretch, two.calibrated.stretch)
    if STREAMED in options:
        shares = [set(re.findall(r"share (\d), chunk \d of [2-9]", text)) for text in printed]
        assert shares == [{"0", "1"}, {"2", "3"}]  # each process reads its own part only


@pytest.mark.chaos
@pytest.mark.parametrize("lost", [0, 1])
def test_a_process_that_has_lost_another_ends_within_a_bound_and_both_go_on(small, tmp_path, lost):
    options = ("--config.train.max_epochs=300", "--config.train.patience=300")
    start = functools.partial(pair_of, small, tmp_path, *options, program=("-m", "starjax.main"))
    pair = start()
    wait_for(pair[0], "epoch  10/")
    pair[lost].kill()
    printed, statuses = ended(pair, seconds=150)
    assert statuses[lost] == -signal.SIGKILL
    assert statuses[1 - lost] not in (0, 1)
    assert "given again to all of them, goes on" in printed[1 - lost].splitlines()[-1]
    printed, statuses = ended(start())
    assert statuses == [0, 0]
    assert "going on after epoch" in printed[0]
    found = pd.read_csv(tmp_path / "experiments/run/metrics.csv")
    assert list(found["epoch"]) == list(range(1, 301))


def test_a_diverging_run_ends_non_zero_with_one_line(small, tmp_path):
    diverging = command(small, tmp_path, "--config.optim.learning_rate=1e30")
    done = subprocess.run(diverging, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the loss is not finite in epoch 1" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_config_that_needs_others_says_where_to_run(request, tmp_path):
    config = request.config.rootpath / "configs" / "deep_sets.py"
    elsewhere = [sys.executable, "-m", "starjax.main", f"--config={config}"]
    done = subprocess.run(elsewhere, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert "run this from the root of a clone" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--config=configs/deep_sets.py", "--config.optim.learning_rat=1"], 'Did you mean "learning_rate"'),
        (["--config=configs/deep_sets.py", "--config.train.patience=0"], "config.train.patience=0"),
        (
            ["--config=configs/deep_sets.py", "--config.data.dataset=/nowhere"],
            "data.dataset='/nowhere' lacks",
        ),
        (["--config=configs/set_transformer.py", "--config.model.num_heads=4"], "model.num_heads=4"),
        (["--config=configs/deep_sets.py", "--config.output_base=README.md"], "README.md is no folder"),
        (["--config=configs/deep_sets.py", "--config.data.target_keys=a,b"], """'("a", "b")'"""),
        (["--config=configs/deep_set.py"], "No such file or directory: 'configs/deep_set.py'"),
        (["--config=configs/deep_sets.py", "--config.nonsense.field=1"], "the config has no field nonsense"),
        (
            ["--config=configs/dataset.py"],
            "the config has no seed, data, model, head, mixture, optim, ensemble, sweep, train",
        ),
        (["--config=configs/common.py:perceptron"], "choose one of summary_stats, deep_sets"),
        (["--config=configs/deep_sets.py", "--config.seed=one"], "--config.seed=one"),
        (["--confg=configs/deep_sets.py"], "Did you mean: config"),
        ([], "name one, such as --config=configs/set_transformer.py"),
        (["--config=deep_sets.py", "--config.seed=1"], "No such file or directory: 'deep_sets.py'"),
        (["--config=configs/deep_sets.py", "--config.data.target_keys=('age',)"], "no age; it has time"),
    ],
)
def test_what_the_command_cannot_do_it_says_in_one_line(arguments, said, tmp_path):
    wrong = [sys.executable, "-m", "starjax.main", *arguments]
    done = subprocess.run(
        wrong, capture_output=True, text=True, check=False, env=os.environ | {"OUTPUT_BASE": str(tmp_path)}
    )
    assert done.returncode == 1
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert "compiling" not in done.stdout
    assert not list(tmp_path.iterdir())


def test_a_reader_that_has_seen_enough_ends_a_command_without_a_traceback():
    program = (
        "from absl import flags\nfrom starjax import command\n"
        "def main(arguments):\n"
        "    for _ in range(100):\n"
        "        print('x' * 10_000)\n"
        "command.run(main, flags_parser=flags.FLAGS)"
    )
    command_line = [sys.executable, "-c", program]
    with subprocess.Popen(command_line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        said = process.stderr.read()
    assert said == ""
    assert process.returncode == 141
