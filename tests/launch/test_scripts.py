"""Tests of what all scripts have in common."""

import os
import shutil
import subprocess

import pytest

from tests.launch.conftest import ROOT, variables_of

ENTRY_POINTS = [ROOT / "launch" / name for name in ("slurm.sh", "tpu_pod.sh", "kubernetes.sh")]
SCRIPTS = [
    *sorted((ROOT / "launch").glob("*.sh")),
    *sorted((ROOT / ".ci").iterdir()),
    *sorted((ROOT / "tests/launch/stubs/worker").iterdir()),
]


@pytest.mark.skipif(
    shutil.which("shellcheck") is None and "CI" not in os.environ, reason="shellcheck is not installed"
)
def test_shellcheck_finds_nothing():
    command = ["shellcheck", "--external-sources", *SCRIPTS]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", ENTRY_POINTS, ids=lambda path: path.name)
def test_help_fits_a_screen_and_lists_all_variables(script):
    done = subprocess.run([script, "--help"], capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert len(lines) <= 24
    assert all(len(line) <= 110 for line in lines[:-1])
    variables = variables_of(script)
    assert len(variables) >= 10
    assert all(f" {name}=" in lines[-1] for name in variables)
