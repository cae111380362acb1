"""Tests of the distribution: wheel, sdist and clone, and metadata that several files repeat."""

import configparser
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest
import yaml

import starjax
from starjax import configs
from starjax.datasets.load import load_dataset

# Packages that conda-forge has under another name than PyPI.
CONDA_NAMES = {
    "flatbuffers": "python-flatbuffers",
    "matplotlib": "matplotlib-base",
    "ml_collections": "ml-collections",
    "tensorboardX": "tensorboardx",
}


@pytest.fixture(scope="module")
def root(request):
    """The root of a git clone. The tests of a wheel or an sdist have none."""
    root = request.config.rootpath
    if not (root / ".git").exists():
        pytest.skip("needs a git clone")
    return root


@pytest.fixture(scope="module")
def tracked(root):
    """The names of the files in git."""
    done = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True, cwd=root)
    return set(done.stdout.split("\n")) - {""}


@pytest.fixture(scope="module")
def source(root, tracked, tmp_path_factory):
    """A copy of the files in git, without what earlier builds left in the clone."""
    source = tmp_path_factory.mktemp("source")
    for name in tracked:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, source / name, follow_symlinks=False)
    return source


@pytest.fixture(scope="module")
def built(source, tmp_path_factory):
    """The sdist, and the wheel that is built from it."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    [sdist], [wheel] = out.glob("*.tar.gz"), out.glob("*.whl")
    return sdist, wheel


def run(*command, cwd, path, status=0):
    """Run a command with one more folder to import from, and return what it prints."""
    environment = os.environ | {"PYTHONPATH": str(path)}
    environment.pop("OUTPUT_BASE", None)
    options = {"env": environment, "cwd": cwd, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run(command, **options, text=True, check=False, timeout=300)
    assert done.returncode == status, done.stdout
    return done.stdout


@pytest.mark.slow
def test_the_wheel_has_the_package_and_nothing_else(built, tracked):
    _, wheel = built
    assert wheel.name == f"starjax-{starjax.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
        entry_points = archive.read(f"starjax-{starjax.__version__}.dist-info/entry_points.txt").decode()
        # Of the two files of this name the wheel has the empty one; the other would look for a clone.
        assert archive.read("starjax/configs/__init__.py") == b""
    package = {name for name in tracked if name.startswith("starjax/")}
    assert found == package | {f"starjax/{name}" for name in tracked if name.startswith("configs/")}
    assert {
        "starjax/py.typed",
        "starjax/configs/common.py",
        "starjax/datasets/sample/raw-train-shard.npz",
        "starjax/datasets/clusters/raw-train-shard.npz",
        "starjax/catalogs/example/members.ecsv",
        "starjax/reports/report.html",
    } <= found
    assert "starjax = starjax.__main__:main" in entry_points


@pytest.mark.slow
def test_the_sdist_has_all_files_but_those_of_git_and_github(built, tracked):
    sdist, _ = built
    with tarfile.open(sdist) as archive:
        assert not [member.name for member in archive if member.issym()]
        found = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {name for name in tracked - found if not name.startswith(".github/")} == {".gitignore"}


@pytest.mark.slow
def test_the_wheel_works_where_there_is_no_clone(built, tmp_path):
    _, wheel = built
    target, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    where = {"cwd": elsewhere, "path": target}
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index")
    run(*pip, "--target", str(target), str(wheel), **where)

    python = (sys.executable, "-c")
    assert run(*python, "import starjax; print(starjax.__file__)", **where).startswith(str(target))
    code = "from starjax.datasets.load import load_dataset as load\n"
    code += "print(load('sample', ('x',), ('time',)).fingerprint)"
    assert run(*python, code, **where).strip() == load_dataset("sample", ("x",), ("time",)).fingerprint
    # As far as it goes without training.
    train = (sys.executable, "-m", "starjax.main", "--config=deep_sets", "--config.data.target_keys=age")
    assert "the data set has no age" in run(*train, **where, status=1)
    assert "starjax COMMAND" in run(str(target / "bin/starjax"), "--help", **where)


@pytest.mark.slow
def test_a_clone_works_without_an_installation(source):
    where = {"cwd": source, "path": source}
    code = "from starjax.configs import common; print(common.__file__)"
    assert run(sys.executable, "-c", code, **where).strip() == str(source / "configs/common.py")
    train = (sys.executable, "-m", "starjax.main", "--config=configs/set_transformer.py")
    assert "the data set has no age" in run(*train, "--config.data.target_keys=age", **where, status=1)


def test_configs_of_a_clone_are_those_of_the_package(root):
    [folder] = configs.__path__
    assert (root / "configs").samefile(folder)


def test_the_version_is_the_same_everywhere(root):
    citation = yaml.safe_load((root / "CITATION.cff").read_text())
    assert citation["version"] == starjax.__version__
    recipe = yaml.safe_load((root / "tools/conda/recipe/recipe.yaml").read_text())
    assert recipe["context"]["version"] == starjax.__version__
    [newest, *_] = [
        line for line in (root / "CHANGELOG.md").read_text().splitlines() if line.startswith("## ")
    ]
    assert newest == f"## {starjax.__version__} – {citation['date-released']}"


def test_conda_and_pip_install_the_same_dependencies(root):
    setup = configparser.ConfigParser()
    setup.read(root / "setup.cfg")
    python = setup["options"]["python_requires"]
    expected = {f"python {python}"}
    for requirement in setup["options"]["install_requires"].split():
        name, bound = re.fullmatch(r"([\w-]+)(>=[\w.]+)", requirement).groups()
        expected.add(f"{CONDA_NAMES.get(name, name)} {bound}")
    recipe = yaml.safe_load((root / "tools/conda/recipe/recipe.yaml").read_text())
    found = {
        word.replace("${{ python_min }}", recipe["context"]["python_min"])
        for word in recipe["requirements"]["run"]
    }
    assert found == expected


def test_the_lock_has_all_dependencies(root):
    setup = configparser.ConfigParser()
    setup.read(root / "setup.cfg")
    required = setup["options"]["install_requires"] + "\n" + setup["options.extras_require"]["test"]
    lock = (root / "requirements.lock").read_text()
    locked = set(re.findall(r"^([\w.-]+)==", lock, flags=re.MULTILINE))
    names = {re.match(r"[\w.-]+", line).group().lower().replace("_", "-") for line in required.split()}
    assert names <= locked
