"""Runs of several processes: results, stop requests, and the loss of one process."""

import functools
import os
import re
import signal

import jax
import numpy as np
import pandas as pd
import pytest

import starjax
from starjax.configs import deep_sets
from starjax.training.run import train_and_test
from tests.processes import ended, many_of, wait_for

STREAMED = "data.placement=streamed"
# The command with an epoch in several chunks; it prints a line for each chunk that is read in training.
SMALL_CHUNKS = """
import runpy

from starjax.sampling import device_placement as placement

placement.BLOCK, placement.CHUNK_BYTES = 1, 4096
read = placement._Plan.read


def read_and_say(plan, shard, epoch, chunk, device):
    if plan.is_shuffled:
        print(f"share {device}, chunk {chunk} of {plan.num_chunk}")
    return read(plan, shard, epoch, chunk, device)


placement._Plan.read = read_and_say
runpy.run_module("starjax.main", run_name="__main__")
"""


PLAIN = ("train.max_epochs=12", "train.patience=12")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        (("train.max_epochs=2",), (2,)),
        # Each with two devices, so that the run goes on with others.
        pytest.param(PLAIN, (2, 1), marks=pytest.mark.weekly),
        pytest.param(PLAIN, (2, 4), marks=pytest.mark.weekly),
        pytest.param(PLAIN, (4, 1, 2), marks=pytest.mark.weekly),
        pytest.param(
            ("train.max_epochs=3", "ensemble.size=4", "ensemble.num_fold=2"), (4,), marks=pytest.mark.weekly
        ),
        # As many devices in all, since these decide which samples meet in a batch; the number of processes
        # does not. (Sharded stars are a single such chunk.)
        pytest.param((*PLAIN, STREAMED), (2, 1), marks=pytest.mark.weekly),
        pytest.param((*PLAIN, STREAMED), (4, 2), marks=pytest.mark.weekly),
    ],
)
def test_any_number_of_processes_resumes_a_run_to_the_same_result(small, tmp_path, options, numbers):
    short = [f"--config.{option}" for option in options]
    is_streamed = STREAMED in options
    program = ("-c", SMALL_CHUNKS) if is_streamed else ("-m", "starjax.main")
    with many_of(
        1, small, tmp_path / "one", *short, program=program, num_device=4 if is_streamed else 2
    ) as alone:
        printed, statuses = ended(alone)
    assert statuses == [0], printed
    for turn, number in enumerate(numbers):
        num_device = 4 // number if is_streamed else 2
        is_last = turn == len(numbers) - 1
        with many_of(
            number, small, tmp_path / "many", *short, program=program, num_device=num_device
        ) as processes:
            seen = ""
            if not is_last:
                seen = wait_for(processes[0], f"epoch  {3 * turn + 3:2d}/")
                processes[-1].send_signal(signal.SIGTERM)
            printed, statuses = ended(processes)
        printed[0] = seen + printed[0]
        assert statuses == [0 if is_last else 75] * number, printed
        assert is_last or all("asked to stop: " in text.splitlines()[-1] for text in printed)
        assert f" {number * num_device} device(s);" in printed[0]
        assert ("resuming after epoch" in printed[0]) == (turn > 0)
        assert not any("epoch  " in text for text in printed[1:])
        if is_streamed:  # each process reads its own part only
            shares = [sorted(set(re.findall(r"share (\d), chunk \d of [2-9]", text))) for text in printed]
            assert shares == np.arange(4).reshape(number, -1).astype(str).tolist()
    tables = [
        pd.read_parquet(tmp_path / base / "experiments/run/run-test.parquet") for base in ("one", "many")
    ]
    pd.testing.assert_frame_equal(*tables, rtol=1e-4, atol=1e-4)
    # Both predict alike.
    one, many = (starjax.load(tmp_path / base / "experiments/run") for base in ("one", "many"))
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
    jax.tree.map(close, one.params, many.params)
    close(one.calibrated.stretch, many.calibrated.stretch)


@pytest.fixture(scope="module")
def finished(small, tmp_path_factory):
    """Where a finished run is, and the options that it was trained with."""
    base = tmp_path_factory.mktemp("finished")
    fields = {"train.max_epochs": 1, "optim.warmup_epochs": 0}
    config = deep_sets.get_config()
    config.output_base, config.data.dataset, config.name = str(base), str(small), "run"
    config.train.batch_size = 32  # as in every command of `many_of`
    config.update_from_flattened_dict(fields)
    train_and_test(config)
    return base, [f"--config.{name}={value}" for name, value in fields.items()]


@pytest.mark.slow
def test_a_run_that_only_one_process_sees_is_refused_by_both(finished, small, tmp_path):
    base, options = finished
    with many_of(2, small, [base, tmp_path / "other"], *options) as pair:
        printed, statuses = ended(pair)
    assert statuses == [1, 1], printed
    for text in printed:
        assert text.splitlines()[-1].endswith("should be a folder that all of them share")
        assert "Traceback" not in text


# The command, with a replaced summary, which the main process prints at the end.
OTHER_SUMMARY = """
import runpy, time

from starjax.reports import console_summary


def print_summary(*_):
    print("summary", flush=True)
    {}


console_summary.print_summary = print_summary
runpy.run_module("starjax.main", run_name="__main__")
"""


@pytest.mark.weekly
def test_processes_asked_to_stop_while_the_main_one_prints_the_summary_end_with_it(finished, small):
    base, options = finished
    with many_of(2, small, base, *options, program=("-c", OTHER_SUMMARY.format("time.sleep(6)"))) as pair:
        wait_for(pair[0], "summary")
        for process in pair:
            process.send_signal(signal.SIGTERM)
        printed, statuses = ended(pair, seconds=100)  # jax waits 180 s for what nobody answers
    assert statuses == [0, 0], printed


@pytest.mark.weekly
def test_a_closed_pipe_of_the_summary_keeps_no_process_waiting(finished, small):
    base, options = finished
    with many_of(
        2, small, base, *options, program=("-c", OTHER_SUMMARY.format("raise BrokenPipeError"))
    ) as pair:
        printed, statuses = ended(pair, seconds=100)
    assert statuses == [128 + signal.SIGPIPE, os.EX_TEMPFAIL], printed


@pytest.mark.chaos
@pytest.mark.parametrize("lost", [0, 1])
def test_a_process_that_has_lost_another_ends_in_time_and_both_resume(small, tmp_path, lost):
    options = ("--config.train.max_epochs=300", "--config.train.patience=300")
    start = functools.partial(many_of, 2, small, tmp_path, *options)
    with start() as pair:
        wait_for(pair[0], "epoch  10/")
        pair[lost].kill()
        printed, statuses = ended(pair, seconds=150)
    assert statuses[lost] == -signal.SIGKILL
    assert statuses[1 - lost] not in (0, 1)
    assert "started again for all processes, resumes" in printed[1 - lost].splitlines()[-1]
    with start() as pair:
        printed, statuses = ended(pair)
    assert statuses == [0, 0]
    assert "resuming after epoch" in printed[0]
    found = pd.read_csv(tmp_path / "experiments/run/metrics.csv")
    assert list(found["epoch"]) == list(range(1, 301))
