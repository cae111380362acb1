"""Tests of the Dockerfile without building the image: choice of extras, command, and copied files."""

import configparser
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.launch.conftest import ROOT

pytestmark = pytest.mark.skipif(not (ROOT / "setup.cfg").exists(), reason="needs the source tree")
LINES = re.sub(r"\\\n", "", (ROOT / "launch/Dockerfile").read_text()).splitlines()
INSTALL = next(line.removeprefix("RUN ") for line in LINES if "pip install" in line)


def value_of(instruction):
    return next(line.removeprefix(f"{instruction} ") for line in LINES if line.startswith(f"{instruction} "))


def installed(accelerator, tmp_path):
    """Run the install command of the image with a stub of pip that prints its arguments."""
    pip = tmp_path / "pip"
    pip.write_text('#!/bin/sh\necho "$*"\n')
    pip.chmod(0o755)
    variables = {"ACCELERATOR": accelerator, "PATH": f"{tmp_path}:/usr/bin:/bin"}
    return subprocess.run(
        ["sh", "-c", INSTALL], env=variables, capture_output=True, text=True, check=False, timeout=20
    )


@pytest.mark.parametrize(("accelerator", "extra"), [("cpu", ""), ("cuda", "[cuda]"), ("tpu", "[tpu]")])
def test_each_accelerator_has_its_extra(accelerator, extra, tmp_path):
    made = installed(accelerator, tmp_path)
    assert made.stdout == f"install --no-cache-dir /source{extra}\n", made.stderr
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert not extra or extra.strip("[]") in setup["options.extras_require"]


def test_an_unknown_accelerator_is_refused(tmp_path):
    made = installed("gpu", tmp_path)
    assert made.returncode == 1
    assert "ACCELERATOR=gpu should be cpu, cuda or tpu" in made.stderr
    assert made.stdout == ""


def test_the_command_runs_without_a_shell():
    python, *words = json.loads(value_of("ENTRYPOINT"))  # a list: a string would be run by a shell
    assert python == "python"
    made = subprocess.run(
        [sys.executable, *words, "--help"], capture_output=True, text=True, check=False, timeout=60
    )
    assert made.returncode == 0
    assert "--config" in made.stdout
    [config] = json.loads(value_of("CMD"))
    assert (ROOT / "configs" / f"{config.removeprefix('--config=')}.py").exists()


def test_the_user_is_that_of_the_manifest():
    manifest = re.sub(r"\$\{\w+\}", "1", (ROOT / "launch/jobset-gpu.yaml").read_text())
    job = yaml.safe_load(manifest)["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert f"--uid {job['template']['spec']['securityContext']['runAsUser']} " in "\n".join(LINES)


def test_the_copied_files_exist():
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert kept
    assert all(Path(ROOT, name).exists() for name in kept)
