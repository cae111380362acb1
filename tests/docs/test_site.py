"""The site builds without a warning, its tutorials run, and its links lead somewhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

mkdocs = pytest.importorskip("mkdocs", reason="needs pip install -e '.[docs]'")
pytest.importorskip("mkdocs_jupyter", reason="needs pip install -e '.[docs]'")

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_site_builds_strictly_and_tutorials_run(tmp_path):
    argv = [sys.executable, "-m", "mkdocs", "build", "--strict", f"--site-dir={tmp_path / 'site'}"]
    # The kernels of notebooks find the commands of this environment.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "DOCS_EXECUTE": "true", "PATH": path}
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, encoding="utf8", timeout=1800)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    tutorial = (tmp_path / "site/tutorials/member-catalogue/index.html").read_text()
    assert "novelty" in tutorial
    assert "image/png" in tutorial


def test_a_broken_link_is_found(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import docs_hooks

    (tmp_path / "a").mkdir()
    (tmp_path / "a/index.html").write_text(
        '<h1 id="here"></h1><a href="../#there">b</a><a href="#here">a</a>'
    )
    (tmp_path / "index.html").write_text(
        '<a href="a/#here"></a><img src="a/lost.png"><a href="https://x.org/">x</a>'
    )
    assert docs_hooks.broken_links(tmp_path) == [("a/index.html", "../#there"), ("index.html", "a/lost.png")]


def test_a_link_to_a_lost_file_of_the_repository_is_found(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import docs_hooks

    text = f"[a]({docs_hooks.REPOSITORY}/blob/main/README.md) [b]({docs_hooks.REPOSITORY}/tree/main/lost)"
    assert docs_hooks.missing_in_repository(text) == ["lost"]


def test_grouped_entries_of_docstrings_are_split():
    docstring_groups = pytest.importorskip("tools.docstring_groups")

    of_both = "positions,\n    any origin [pc]."
    text = f"Add.\n\nArgs:\n  y, z: {of_both}\n  one: alone.\n"
    assert docstring_groups.split_groups(text) == (
        f"Add.\n\nArgs:\n  y: {of_both}\n  z: {of_both}\n  one: alone.\n"
    )
