"""Whole simulations are assigned to splits, evenly and reproducibly."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from starjax.commands import splits as splits_command
from starjax.datasets import split_manifest
from starjax.nbody6 import caches, splits
from tests.processes import run_in_process

PATTERN = r"Rad(?P<radius>\d+)-zmet(?P<metallicity>\d+)-M(?P<mass_level>\d)"


@pytest.fixture(scope="module")
def labels():
    """Return 180 simulations in 9 categories; masses depend on the category, ages on the simulation."""
    rng = np.random.default_rng(0)
    found = {}
    for radius in ("04", "08", "12"):
        for level in "678":
            for number in range(20):
                time = np.arange(0, rng.uniform(30, 400), 10.0)
                log_mass = rng.normal(3.2 - 0.3 * int(level), 0.1) - 0.001 * time
                found[f"Rad{radius}-zmet0014-M{level}-{number:04d}"] = np.stack([time, log_mass], axis=1)
    return found


def test_splits_have_the_given_shares_in_total_and_in_each_category(labels):
    made = splits.make_manifest(labels, (0.7, 0.2, 0.1), 0, PATTERN, num_candidate=20)
    assigned = [run_id for split in split_manifest.SPLITS for run_id in made[split]]
    assert sorted(assigned) == sorted(labels)
    assert [len(made[split]) for split in split_manifest.SPLITS] == [126, 36, 18]
    for radius in ("04", "08", "12"):
        for level in "678":
            of_category = [
                sum(r.startswith(f"Rad{radius}") and f"-M{level}-" in r for r in made[s])
                for s in split_manifest.SPLITS
            ]
            np.testing.assert_allclose(of_category, [14, 4, 2], atol=1)


def test_the_seed_determines_the_assignment(labels):
    first, again, other = (
        splits.make_manifest(labels, (0.7, 0.2, 0.1), seed, PATTERN, 5) for seed in (0, 0, 1)
    )
    assert first == again
    assert first["test"] != other["test"]


def test_trying_more_candidates_brings_the_distributions_closer(labels):
    def total(num_candidate):
        made = splits.make_manifest(labels, (0.7, 0.2, 0.1), 0, PATTERN, num_candidate)
        return sum(sum(d.values()) for d in made["wasserstein_distance_from_train"].values())

    assert total(300) < 0.6 * total(1)
    assert total(300) < 0.4  # four distances, in standard deviations


def test_distances_are_in_units_of_the_standard_deviation():
    times = np.array([[0.0, 1.0], [2.0, 3.0]])
    found = splits.distances(
        {"train": ["a"], "val": ["a"], "test": ["b"]}, {"a": times, "b": times + np.array([1.0, 0.0])}
    )
    assert found["val"] == {"time": 0, "log10_mass": 0}
    assert found["test"]["time"] == pytest.approx(1 / np.std([0, 2, 1, 3]))
    assert found["test"]["log10_mass"] == 0


@pytest.mark.parametrize(
    ("ratios", "pattern", "num_simulation", "said"),
    [
        ((0.7, 0.3), "", 100, "three positive shares"),
        ((0.7, 0.3, 0.0), "", 100, "three positive shares"),
        ((0.7, 0.2, 0.1), "(Sun)", 100, "does not match"),
        ((0.7, 0.2, 0.1), r"Rad\d+", 100, "no group"),
        ((0.7, 0.2, 0.1), "", 2, "too few"),
    ],
)
def test_invalid_arguments_are_refused(labels, ratios, pattern, num_simulation, said):
    with pytest.raises(split_manifest.SplitError, match=said):
        splits.make_manifest(dict(list(labels.items())[:num_simulation]), ratios, 0, pattern, 3)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "does not exist: create it with starjax splits"),
        ("{", "cannot be read"),
        ("[1]", "should contain an object"),
        ('{"train": ["a"], "val": ["b"]}', "'test' should be a list"),
        ('{"train": ["a"], "val": ["b"], "test": []}', "'test' should be a list"),
        ('{"train": ["a"], "val": ["b"], "test": [3]}', "'test' should be a list"),
        ('{"train": ["a"], "val": ["b"], "test": ["a"]}', "simulation a is in train and in test"),
        ('{"train": ["a", "a"], "val": ["b"], "test": ["c"]}', "simulation a is in train and in train"),
    ],
)
def test_invalid_manifests_are_refused_by_name(tmp_path, content, said):
    path = tmp_path / "split.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(split_manifest.SplitError, match=said) as caught:
        split_manifest.load_manifest(path)
    assert "split.json" in str(caught.value)


@pytest.mark.slow
def test_the_command_splits_real_caches(tmp_path, caches_folder):
    out = tmp_path / "split.json"
    command = [
        sys.executable,
        "-m",
        "starjax",
        "splits",
        f"--caches={caches_folder}",
        f"--out={out}",
        "--ratios=0.6,0.2,0.2",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Wasserstein" in done.stdout
    loaded = split_manifest.load_manifest(out)
    assert sorted(map(len, loaded.values())) == [1, 1, 4]
    assert json.loads(out.read_text())["seed"] == 0
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert "exists already" in again.stderr


def test_a_damaged_cache_stops_the_split_or_is_left_out_and_named(tmp_path, caches_folder, capsys):
    copy, out = tmp_path / "caches", tmp_path / "split.json"
    shutil.copytree(caches_folder, copy)
    damaged = sorted(copy.rglob("*-obs.joblib"))[0]
    damaged.write_bytes(damaged.read_bytes()[:1000])
    arguments = [f"--caches={copy}", f"--out={out}", "--ratios=0.6,0.2,0.2", "--n_jobs=1"]
    with pytest.raises(caches.CacheError, match=damaged.name):
        run_in_process(splits_command, *arguments)
    assert not out.exists()
    run_in_process(splits_command, *arguments, "--on_bad=skip")
    assert "left out as unusable: 1" in capsys.readouterr().out
    run_ids = [run_id for ids in split_manifest.load_manifest(out).values() for run_id in ids]
    assert len(run_ids) == 5
    assert damaged.name.removesuffix("-obs.joblib") not in run_ids


@pytest.mark.parametrize("option", ["--num_candidate=0", "--n_jobs=0", "--seed=-1"])
def test_invalid_numbers_are_refused(option, tmp_path, caches_folder):
    arguments = [f"--caches={caches_folder}", f"--out={tmp_path / 'split.json'}", option]
    with pytest.raises(split_manifest.SplitError, match=option):
        run_in_process(splits_command, *arguments)
