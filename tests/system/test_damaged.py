"""Every file of a data set and of a run directory, damaged in every way: named in an error, or harmless."""

import functools
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from starjax import errors
from starjax.configs import dataset
from starjax.datasets.dataset import BUNDLES, CONFIG_FILE
from starjax.datasets.load import load_dataset
from starjax.inference.loading import load_predictor
from starjax.io import files
from starjax.nbody6 import build
from starjax.reports import html_report, run_tables
from starjax.runs.directory import RunDirectory
from starjax.training.run import train_and_test

# ---- what is done to a file


def truncated(path: Path, _) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path, _) -> None:
    path.write_bytes(b"")


def bit_flipped(path: Path, _) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def replaced(path: Path, other: Path) -> None:
    shutil.copyfile(other, path)


def removed(path: Path, _) -> None:
    path.unlink()


def unreadable(path: Path, _) -> None:
    if os.geteuid():
        path.chmod(0)
    else:  # root may read every file, but no one can read a folder as a file
        path.unlink()
        path.mkdir()


DAMAGES = (truncated, emptied, bit_flipped, replaced, removed, unreadable)
every_damage = pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)


def outcome(function, *names: str):
    """Return the result of a function, or None if an error for users names the file."""
    try:
        return function()
    except errors.StarjaxError as error:
        said, is_told = str(error), True
    except OSError as error:  # reported in one line by `cli.run`
        said, is_told = str(error.filename2 or error.filename), error.errno in files.REMEDIES
    assert is_told
    assert any(name in said for name in names), said
    return None


# ---- a data set


@pytest.fixture(scope="module")
def built(small, tmp_path_factory):
    """A data set as starjax build leaves it, and its fingerprint."""
    folder = tmp_path_factory.mktemp("built") / "data"
    folder.mkdir()
    for path in small.glob("raw-*.npz"):
        shutil.copy(path, folder)
    config = dataset.get_config()
    config.caches, config.out = "", str(folder)
    build.build_dataset(config)
    return folder, config


KEYS = (("x", "y", "z", "vx", "vy", "vz"), ("time",))
DATA_FILES = (
    *(f"{kind}-{split}-shard.npz" for kind in ("raw", "scaled") for split in ("train", "val", "test")),
    *BUNDLES.values(),
    CONFIG_FILE,
)


@every_damage
@pytest.mark.parametrize("name", DATA_FILES)
@pytest.mark.parametrize("is_mapped", [False, True])
def test_damage_to_a_data_set_is_named_or_harmless(built, tmp_path, name, damage, is_mapped):
    folder, _ = built
    expected = load_dataset(str(folder), *KEYS)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)  # with the times of its files, by which they are known
    damage(copy / name, copy / next(other for other in DATA_FILES if other != name))
    found = outcome(lambda: load_dataset(str(copy), *KEYS, mapped=is_mapped), name)
    # Raw shards are not read if scaled ones exist, and of the record only the digests; without it nothing is
    # checked.
    can_do_without = name.startswith("raw") or (name == CONFIG_FILE and damage is removed)
    # Raw shards are scaled if scaled ones are missing.
    can_do_without = can_do_without or (name.startswith("scaled") and damage is removed)
    # A bit of the record may belong to a digest, or to something that no reader uses.
    assert (found is not None) == can_do_without or (name == CONFIG_FILE and damage is bit_flipped)
    if found is not None:
        for split, one in found.shards.items():
            np.testing.assert_array_equal(one.feature[:], expected.shards[split].feature)
            np.testing.assert_array_equal(one.target, expected.shards[split].target)


@every_damage
@pytest.mark.parametrize("name", DATA_FILES)
def test_a_damaged_data_set_is_rebuilt_or_named(built, tmp_path, name, damage):
    folder, config = built
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    damage(copy / name, copy / next(other for other in DATA_FILES if other != name))
    again = config.copy_and_resolve_references()
    again.out = str(copy)
    if outcome(lambda: build.build_dataset(again), name, "which no unfinished build wrote") is None:
        # Raw shards and the record cannot be rebuilt, and the build does not remove files that it did not
        # make.
        assert name.startswith("raw") or name == CONFIG_FILE or damage is unreadable
    else:
        assert load_dataset(str(copy), *KEYS).fingerprint == load_dataset(str(folder), *KEYS).fingerprint


# ---- a run directory


@pytest.fixture(scope="module")
def finished_run(answering_config, tmp_path_factory):
    """A finished run and its config."""
    config = answering_config(tmp_path_factory.mktemp("damaged"), name="run")
    return train_and_test(config), config


CHECKPOINT_FILES = (
    "checkpoints/2/_CHECKPOINT_METADATA",
    "checkpoints/2/SHA256SUMS",
    "checkpoints/2/arrays/_METADATA",
    "checkpoints/2/arrays/manifest.ocdbt",
    "checkpoints/2/arrays/d/*",
    "checkpoints/2/arrays/ocdbt.process_0/d/*",
    "checkpoints/2/progress/metadata",
)
RUN_FILES = (
    "config.json",
    "metrics.csv",
    "timing.csv",
    "test_metrics.json",
    "calibration.json",
    "coverage.csv",
    "training_set.npz",
    "SHA256SUMS",
    "run-test.parquet",
    "run-test-snapshots.parquet",
    "figures/errors.png",
    *BUNDLES.values(),
    *CHECKPOINT_FILES,
)
RESULTS = ("metrics.csv", "run-test.parquet", "test_metrics.json", "calibration.json", "coverage.csv")


@pytest.fixture
def harmed(finished_run, tmp_path):
    """`(name, damage) -> run_dir`, a copy with a damaged file."""

    def harm(name, damage):
        run_dir = RunDirectory(tmp_path / "experiments" / "run")
        shutil.copytree(finished_run[0].path, run_dir.path)
        path = next(iter(sorted(run_dir.path.glob(name))))
        others = [other for other in run_dir.path.rglob("*") if other.is_file() and other.name != path.name]
        damage(path, min(others))
        return run_dir

    return harm


@pytest.mark.slow
def test_all_files_of_a_run_are_damaged_here(finished_run):
    run_dir, _ = finished_run
    listed = {path for name in RUN_FILES for path in run_dir.path.glob(name)}
    apart = ("tensorboard", "figures", "checkpoints")
    there = {
        path
        for path in run_dir.path.rglob("*")
        if path.is_file() and path.relative_to(run_dir.path).parts[0] not in apart
    }
    assert there <= listed
    assert {path for path in listed if path.is_relative_to(run_dir.checkpoints)}


@pytest.mark.slow
@every_damage
@pytest.mark.parametrize("name", RUN_FILES)
def test_damage_to_a_run_is_named_or_harmless(finished_run, harmed, name, damage):
    run_dir = harmed(name, damage)
    names = [Path(name).parts[0]]
    names += {"test_metrics.json": ["not finished"], "config.json": ["holds no run"]}.get(name, [])
    for function in (
        load_predictor,
        run_tables.read_run,
        lambda folder: html_report.html_page(RunDirectory(folder)),
    ):
        found = outcome(functools.partial(function, run_dir.path), *names)
        # The digests of a run check its checkpoints too, and timings are no result.
        if name not in ("checkpoints/2/SHA256SUMS", "timing.csv"):
            assert found is None


# One kind of damage to some of the files; the long version tries all, and each is a training.
REBUILT = [
    pytest.param(
        name,
        damage,
        id=f"{name}-{damage.__name__}",
        marks=pytest.mark.slow if i % 9 == 0 and (i // 9 + j) % len(DAMAGES) == 0 else pytest.mark.chaos,
    )
    for i, name in enumerate(RUN_FILES)
    for j, damage in enumerate(DAMAGES)
]


@pytest.mark.parametrize(("name", "damage"), REBUILT)
def test_the_training_command_rebuilds_a_damaged_run_or_names_the_file(
    finished_run, harmed, capsys, name, damage
):
    expected, config = finished_run
    run_dir = harmed(name, damage)
    again = config.copy_and_resolve_references()
    again.output_base = str(run_dir.path.parents[1])
    if outcome(lambda: train_and_test(again), Path(name.rstrip("/*")).name) is None:
        assert name in ("config.json", "metrics.csv") or damage is unreadable
        if name in ("config.json", "metrics.csv"):
            assert run_dir.test_metrics.exists()  # nothing was lost by trying
        return
    assert name not in ("config.json", "metrics.csv")
    for result in RESULTS:
        assert (run_dir.path / result).read_bytes() == (expected.path / result).read_bytes()
    if name.startswith("checkpoints") and not name.endswith("SUMS"):
        assert "the previous checkpoint is used" in capsys.readouterr().out
