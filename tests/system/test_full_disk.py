"""A disk that is full, one that cannot be written to, and a directory that another process is at work in."""

import contextlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import time

import jax
import pytest

from starjax.io import directory_lock, files
from starjax.runs.checkpoints import CheckpointError, Checkpoints
from starjax.runs.metrics_log import EventWriter
from tests import killing
from tests.processes import ended, many_of


@pytest.fixture
def small_disk(tmp_path):
    """A mounted file system of few bytes; `(option, …)` mounts it again."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(*options):
        subprocess.run(["mount", *options, folder], check=True, capture_output=True)

    try:
        mount("-t", "tmpfs", "-o", "size=100k", "tmpfs")
    except (subprocess.CalledProcessError, OSError) as error:
        pytest.skip(f"needs the right to mount a file system: {error}")
    yield folder, lambda option: mount("-o", f"remount,{option}")
    subprocess.run(["umount", folder], check=True)


def training(small, base, name="run"):
    return [
        "--config=deep_sets",
        f"--config.data.dataset={small}",
        f"--config.output_base={base}",
        f"--config.name={name}",
        "--config.train.batch_size=32",
        "--config.train.max_epochs=3",
        "--config.data.num_sample_per_snapshot=4",
    ]


def save_and_check_for_stop_requests(folder, arrays):
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(1, arrays, {})
        for step in range(1000):
            checkpoints.stop_requested(step)
            time.sleep(0.01)


def write_for_a_hundred_epochs(events, scalars):
    for epoch in range(100):
        events.write(epoch, scalars)


def ended_with(log) -> str:
    return log.read_text().splitlines()[-1]


@pytest.mark.weekly
def test_a_run_on_a_full_disk_ends_with_a_message_and_resumes_when_there_is_room(small, tmp_path, small_disk):
    disk, remount = small_disk
    log, place = tmp_path / "log", disk / "experiments/run"
    assert killing.run("train", training(small, tmp_path / "other"), log, disk) == 0, log.read_text()
    # It fills up in a checkpoint, in another, in the tests.
    for size in ("64k", "200k", "400k"):
        remount(f"size={size}")
        assert killing.run("train", training(small, disk), log, disk) == 1
        assert ended_with(log).startswith("error: ")
        assert str(disk) in ended_with(log)
        assert "make room" in ended_with(log)
        assert "Traceback" not in log.read_text()
    remount("size=64m")
    assert killing.run("train", training(small, disk), log, disk) == 0, log.read_text()
    for name in ("metrics.csv", "run-test.parquet", "test_metrics.json"):
        assert (place / name).read_bytes() == (tmp_path / "other/experiments/run" / name).read_bytes()
    assert not [path for path in place.rglob("*") if path.name.startswith(".") or "tmp" in path.name]
    # What is finished can be looked at where nothing can be written.
    remount("ro")
    assert killing.run("train", training(small, disk), log, disk) == 0, log.read_text()
    assert "nothing to do" in log.read_text()
    assert killing.run("train", training(small, disk, "other"), log, disk) == 1
    assert f"{disk}/experiments is not a folder that can be written to" in ended_with(log)


def test_nothing_is_left_of_a_checkpoint_that_could_not_be_written(small_disk):
    disk, remount = small_disk
    arrays = {"weights": jax.random.normal(jax.random.key(0), (65536,))}  # more bytes than that disk has
    with pytest.raises(CheckpointError, match="make room"):
        save_and_check_for_stop_requests(disk / "checkpoints", arrays)
    assert not list(disk.rglob(files.SUMS))
    remount("size=2m")
    with Checkpoints(disk / "checkpoints") as checkpoints:
        assert checkpoints.restore(arrays) is None
        checkpoints.save(1, arrays, {})
    assert (disk / "checkpoints/1" / files.SUMS).read_text()


@pytest.mark.chaos
def test_two_processes_end_on_a_full_disk_and_at_least_one_reports_it(small, small_disk):
    """Orbax would have them wait for one another for twenty minutes."""
    disk, remount = small_disk
    remount("size=300k")
    with many_of(2, small, disk, "--config.train.max_epochs=2000", "--config.train.patience=2000") as pair:
        printed, statuses = ended(pair, seconds=150)
    last = [text.splitlines()[-1] for text in printed]
    told = [number for number, line in enumerate(last) if line.startswith("error: a checkpoint cannot be")]
    assert told
    assert all("make room" in last[number] and statuses[number] == 1 for number in told)
    for number in {0, 1} - set(told):  # which has lost the other
        assert statuses[number] in (os.EX_TEMPFAIL, -signal.SIGABRT)
        assert last[number].startswith(("another process of this run ended", f"process {number} was killed"))
    assert "Traceback" not in "".join(printed)


def test_events_that_cannot_be_written_are_reported_and_do_not_hang(small_disk):
    """As many as of 60 members, which the thread of a writer would not have room for either."""
    disk, _ = small_disk
    scalars = {f"loss/member-{i}": float(i) for i in range(400)}
    written = EventWriter(disk / "tensorboard", 1)
    with pytest.raises(OSError, match="No space left") as raised:
        write_for_a_hundred_epochs(written, scalars)
    assert raised.value.filename.startswith(str(disk / "tensorboard"))
    with contextlib.suppress(OSError):
        written.close()


@pytest.mark.weekly
def test_a_build_on_a_full_disk_ends_with_a_message_and_resumes_when_there_is_room(
    caches_folder, golden_folder, tmp_path, small_disk
):
    disk, remount = small_disk
    arguments = [
        "--config=dataset",
        f"--config.caches={caches_folder}",
        f"--config.split_manifest={golden_folder / 'split.json'}",
        f"--config.out={disk / 'data'}",
        "--config.n_jobs=1",
    ]
    log = tmp_path / "log"
    for size in ("100k", "1m"):
        remount(f"size={size}")
        assert killing.run("build", arguments, log, disk) == 1
        assert ended_with(log).startswith(f"error: {disk}")
        assert "make room" in ended_with(log)
    remount("size=64m")
    assert killing.run("build", arguments, log, disk) == 0, log.read_text()
    assert not list((disk / "data").glob(".*"))


def _hold(folder, is_held, is_over):
    with directory_lock.locked(folder):
        is_held.set()
        is_over.wait()


@pytest.fixture
def holder(tmp_path):
    """`(folder) -> process`, another one that holds the lock of it until `.kill()`."""
    context = multiprocessing.get_context("forkserver")
    started = []

    def hold(folder):
        is_held, is_over = context.Event(), context.Event()
        process = context.Process(target=_hold, args=(folder, is_held, is_over))
        process.start()
        started.append(process)
        assert is_held.wait(300)
        return process

    yield hold
    for process in started:
        process.kill()
        process.join()


@pytest.mark.weekly
def test_a_run_in_use_by_another_process_is_refused(small, tmp_path, holder):
    folder = tmp_path / "experiments/run"
    process = holder(folder)
    log = tmp_path / "log"
    assert killing.run("train", training(small, tmp_path), log, tmp_path) == 1
    assert f"error: {folder} is in use by process {process.pid}" in ended_with(log)
    process.kill()
    process.join()
    assert sorted(os.listdir(folder)) == [directory_lock.LOCK, directory_lock.OWNER]
    shutil.rmtree(folder)
