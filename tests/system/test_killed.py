"""Commands that are killed at any moment, again and again, end with the same result as uninterrupted ones.

The long version, `pytest -m chaos`, kills each model 18 times and asks it to stop 9 times, the build and the
grid 6 and 3 times; it chooses other moments every time, and prints them.
"""

import json
import os
import random
import signal
import time
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest

from starjax.io import files
from starjax.runs.checkpoints import Checkpoints
from starjax.runs.config_record import config_from_record
from starjax.runs.directory import RunDirectory, read_record
from starjax.runs.state import RunStatus, inspect
from starjax.runtime import devices
from starjax.training.trainer import abstract_arrays
from tests import killing

MODELS = ("summary_stats", "deep_sets", "set_transformer")
NUM_EPOCH = 6
# Killed; asked to stop before and after the command could react; finished before the signal.
ENDS = (-signal.SIGKILL, -signal.SIGTERM, os.EX_TEMPFAIL, 0)


@pytest.fixture(scope="module", autouse=True)
def environment(tmp_path_factory):
    """A cache of compiled programs of its own: a process may be killed while it writes one there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.mktemp("compiled")))
        patch.setenv("JAX_NUM_CPU_DEVICES", "2")
        yield


def training(small, base, model):
    return [
        f"--config={model}",
        f"--config.data.dataset={small}",
        f"--config.output_base={base}",
        "--config.name=run",
        "--config.train.batch_size=8",
        "--config.data.num_sample_per_snapshot=4",
        f"--config.train.max_epochs={NUM_EPOCH}",
    ]


def killed_until_done(
    command, arguments, folder: Path, num_kill: int, seconds: float, num_touch: int, seed
) -> None:
    """Kill a command several times, at random files and after random times, then let it end.

    Every fourth time it is asked to stop instead.
    """
    log, moments, statuses = folder.parent / f"{folder.name}.log", random.Random(seed), []
    for number in range(num_kill):
        later = {"after_seconds": moments.uniform(0, seconds)}
        touch = {"at_touch": moments.randint(1, num_touch)}
        moment = (touch, later, touch, later | {"number": signal.SIGTERM})[number % 4]
        if number < 2:  # two moments certainly before the end
            moment = {"at_touch": num_touch // (3 + 3 * number)} | (
                {"number": signal.SIGTERM} if number else {}
            )
        print(f"kill {number + 1} of seed {seed}: {moment}")
        statuses.append(killing.run(command, arguments, log, folder, **moment))
        assert statuses[-1] in ENDS, log.read_text()
    assert {-signal.SIGKILL, os.EX_TEMPFAIL} <= set(statuses)
    assert killing.run(command, arguments, log, folder) == 0, log.read_text()
    assert "Traceback" not in log.read_text()


@pytest.fixture(scope="module")
def uninterrupted(small, tmp_path_factory):
    """`model -> (folder, seconds, touched files)` of an uninterrupted run."""
    done = {}

    def of(model):
        if model not in done:
            folder = tmp_path_factory.mktemp(model)
            log = folder / "log"
            for base in (
                folder / "compiling",
                folder / "base",
            ):  # the second in the time that those take that are killed
                arguments = training(small, base, model)
                assert killing.run("train", arguments, log, base) == 0, log.read_text()
            lasted = json.loads(log.with_suffix(".touched").read_text())
            done[model] = base / "experiments/run", lasted["seconds"], lasted["touched"]
        return done[model]

    return of


def saved(run_dir):
    """The last checkpoint of a run: arrays and content."""
    config = config_from_record(read_record(run_dir)["config"])
    mesh = devices.make_mesh(devices=jax.local_devices()[:1])
    with Checkpoints(run_dir.checkpoints, is_read_only=True) as checkpoints:
        return checkpoints.restore(abstract_arrays(config, mesh))


def assert_same_run(found: Path, expected: Path) -> None:
    """Compare parameters, logs and tables to the bit, and the names of all files."""
    for name in (
        "metrics.csv",
        "run-test.parquet",
        "run-test-snapshots.parquet",
        "test_metrics.json",
        "coverage.csv",
    ):
        assert (found / name).read_bytes() == (expected / name).read_bytes()
    assert list(pd.read_csv(found / "metrics.csv")["epoch"]) == list(range(1, NUM_EPOCH + 1))
    assert list(pd.read_csv(found / "timing.csv")["epoch"]) == list(range(1, NUM_EPOCH + 1))
    run_dirs = [RunDirectory(folder) for folder in (found, expected)]
    mine, theirs = map(saved, run_dirs)
    assert (mine.epoch, mine.content) == (theirs.epoch, theirs.content)
    jax.tree.map(np.testing.assert_array_equal, mine.arrays, theirs.arrays)
    there, wanted = ({path.name for path in folder.iterdir()} for folder in (found, expected))
    assert there == wanted
    assert {path.name for path in (found / "checkpoints").iterdir()} == {str(NUM_EPOCH - 1), str(NUM_EPOCH)}
    assert all((folder / files.SUMS).exists() for folder in (found / "checkpoints").iterdir())
    assert not [path for path in found.rglob("*") if path.name.startswith(".") or "tmp" in path.name]
    assert all(inspect(run_dir).status is RunStatus.FINISHED for run_dir in run_dirs)


def check_training(small, tmp_path, uninterrupted, model, num_kill, seed):
    expected, seconds, num_touch = uninterrupted(model)
    base = tmp_path / "killed"
    killed_until_done("train", training(small, base, model), base, num_kill, seconds, num_touch, seed)
    assert_same_run(base / "experiments/run", expected)


@pytest.mark.weekly
def test_killed_training_ends_with_the_same_result(small, tmp_path, uninterrupted):
    check_training(small, tmp_path, uninterrupted, "deep_sets", 6, seed=0)


@pytest.mark.chaos
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("part", range(3))
def test_training_killed_at_many_moments(small, tmp_path, uninterrupted, model, part):
    check_training(small, tmp_path, uninterrupted, model, 9, seed=random.SystemRandom().randrange(2**32))


def build_arguments(caches_folder, split, out, n_jobs):
    return [
        "--config=dataset",
        f"--config.caches={caches_folder}",
        f"--config.split_manifest={split}",
        f"--config.out={out}",
        f"--config.n_jobs={n_jobs}",
        "--config.max_part_bytes=100000",
    ]


@pytest.mark.chaos
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_killed_build_ends_with_the_same_result(caches_folder, golden_folder, tmp_path, n_jobs):
    expected, log = tmp_path / "expected", tmp_path / "log"
    arguments = build_arguments(caches_folder, golden_folder / "split.json", expected, n_jobs)
    assert killing.run("build", arguments, log, expected) == 0, log.read_text()
    lasted = json.loads(log.with_suffix(".touched").read_text())
    out = tmp_path / "killed"
    seed = random.SystemRandom().randrange(2**32)
    arguments = build_arguments(caches_folder, golden_folder / "split.json", out, n_jobs)
    moments = (9, lasted["seconds"], lasted["touched"], seed)
    killed_until_done("build", arguments, out, *moments)
    if n_jobs > 1:
        # Workers outlive a killed build, and may end after the last one; the next build tidies up after them.
        time.sleep(5)
        assert killing.run("build", arguments, log, out) == 0, log.read_text()
    names = sorted(path.name for path in expected.rglob("*"))
    assert sorted(path.name for path in out.rglob("*")) == names
    for name in names:
        if name != "dataset_config.json":  # which has the times of the files
            assert (out / name).read_bytes() == (expected / name).read_bytes()


@pytest.mark.chaos
def test_a_killed_grid_ends_with_the_same_result(small, tmp_path):
    def arguments(base):
        return [
            "--config=grid",
            f"--config.base.data.dataset={small}",
            f"--config.base.output_base={base}",
            "--config.base.train.batch_size=8",
            f"--config.base.train.max_epochs={NUM_EPOCH}",
            "--config.models=('summary_stats',)",
            "--config.sizes.summary_stats=((4,), (8,))",
            "--config.feature_sets=('sky',)",
            "--config.target_sets=('time',)",
        ]

    expected, log = tmp_path / "expected", tmp_path / "log"
    assert killing.run("grid", arguments(expected), log, expected) == 0, log.read_text()
    lasted = json.loads(log.with_suffix(".touched").read_text())
    base = tmp_path / "killed"
    seed = random.SystemRandom().randrange(2**32)
    killed_until_done("grid", arguments(base), base, 9, lasted["seconds"], lasted["touched"], seed)
    for name in ("runs.csv", "ranking.csv"):
        assert (base / "grid-summary" / name).read_bytes() == (expected / "grid-summary" / name).read_bytes()
