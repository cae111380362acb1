"""What is distributed: wheel and sdist have all that they should, and the wheel works where there is no clone."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

import starjax
from starjax.datasets.load import load_dataset

CONFIGS = Path(starjax.__file__).parent / "configs"


@pytest.fixture(scope="module")
def root(request):
    """The root of a clone; tests of a wheel or an sdist have none."""
    root = request.config.rootpath
    if not (root / ".git").exists():
        pytest.skip("there is no clone")
    return root


@pytest.fixture(scope="module")
def tracked(root):
    """The files of the clone that git knows, by name."""
    done = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True, cwd=root)
    return set(done.stdout.split("\n")) - {""}


@pytest.fixture(scope="module")
def built(root, tracked, tmp_path_factory):
    """The sdist, and the wheel that is built from it, of these files: without what earlier builds left."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in tracked:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, source / name, follow_symlinks=False)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    [sdist], [wheel] = out.glob("*.tar.gz"), out.glob("*.whl")
    return sdist, wheel


@pytest.mark.slow
def test_the_wheel_has_the_package_and_nothing_else(built, tracked):
    _, wheel = built
    assert wheel.name == f"starjax-{starjax.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    own = {name for name in tracked if name.startswith("starjax/")} - {"starjax/configs"}
    assert found == own | {f"starjax/{name}" for name in tracked if name.startswith("configs/")}
    assert {
        "starjax/configs/common.py",
        "starjax/data/sample/raw-train-shard.npz",
        "starjax/report.html",
    } <= found


@pytest.mark.slow
def test_the_sdist_has_what_it_takes_to_test_and_to_build(built, tracked):
    sdist, _ = built
    with tarfile.open(sdist) as archive:
        assert not [member.name for member in archive if member.issym()]
        found = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert not tracked - found - {".gitignore", ".dockerignore"}


@pytest.mark.slow
def test_the_wheel_works_where_there_is_no_clone(built, tmp_path):
    _, wheel = built
    target, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = os.environ | {"PYTHONPATH": str(target)}
    environment.pop("OUTPUT_BASE", None)

    options = {"env": environment, "cwd": elsewhere, "capture_output": True, "text": True, "timeout": 300}

    def run(*command):
        return subprocess.run([sys.executable, *command], **options, check=True).stdout

    run("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target), str(wheel))
    assert run("-c", "import starjax; print(starjax.__file__)").startswith(str(target))
    made = run(
        "-c", "from starjax.data import dataset; print(dataset.load('sample', ('x',), ('time',)).fingerprint)"
    )
    assert made.strip() == load_dataset("sample", ("x",), ("time",)).fingerprint
    # As far as it goes without training.
    refused = ("-m", "starjax.main", "--config=deep_sets", "--config.data.target_keys=age")
    done = subprocess.run([sys.executable, *refused], **options, check=False)
    assert "the data set has no age; it has time" in done.stderr
    assert "starjax/configs" in run("-m", "starjax.main", "--help")


def test_the_version_is_one(root):
    citation = yaml.safe_load((root / "CITATION.cff").read_text())
    assert citation["version"] == starjax.__version__
    [newest, *_] = [
        line for line in (root / "CHANGELOG.md").read_text().splitlines() if line.startswith("## ")
    ]
    assert newest == f"## {starjax.__version__} – {citation['date-released']}"


def test_configs_of_a_clone_are_those_of_the_package(root):
    assert (root / "configs").samefile(CONFIGS)
