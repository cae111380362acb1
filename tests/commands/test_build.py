"""`starjax build` on the command line."""

import subprocess
import sys

import pytest

from starjax.configs import common
from starjax.nbody6 import build, caches


def command(config, *arguments):
    return [
        sys.executable,
        "-m",
        "starjax",
        "build",
        "--config=dataset",
        f"--config.caches={config.caches}",
        f"--config.split_manifest={config.split_manifest}",
        f"--config.out={config.out}",
        *arguments,
    ]


def check_fails(command, said):
    failed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].startswith("error: ")
    assert said in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.slow
def test_the_command_prints_counts_and_a_failure_has_status_1(build_config):
    done = subprocess.run(command(build_config), capture_output=True, text=True, check=True)
    assert "train     4 simulations       48 snapshots       9591 stars" in done.stdout
    check_fails(command(build_config, "--config.min_stars=20"), "min_stars")


@pytest.mark.slow
def test_a_failure_of_a_worker_is_reported_in_one_line(build_config):
    for path in caches.find_caches(build_config.caches).values():
        path.write_bytes(path.read_bytes()[:100])
    check_fails(command(build_config, "--config.n_jobs=2"), "-obs.joblib cannot be read")


def test_a_config_for_training_is_refused():
    with pytest.raises(build.BuildError, match=r"no caches, split_manifest, out.*--config=dataset"):
        build.build_dataset(common.get_config())
