"""Two processes of one run: trained by both, asked to go, and one of them lost. With a full disk they are in test_full_disk."""

import functools
import os
import re
import signal
import subprocess

import jax
import numpy as np
import pandas as pd
import pytest

import starjax
from tests.processes import command, ended, pair_of, wait_for

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


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(
            ("train.max_epochs=3", "ensemble.size=4", "ensemble.num_fold=2"), marks=pytest.mark.weekly
        ),
        # Other samples meet in a batch there, but in no number of processes other ones than in another. (What is sharded
        # is a single such chunk.)
        ("train.max_epochs=12", "train.patience=12", STREAMED),
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
