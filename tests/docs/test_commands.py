"""Commands and snippets of README.md and of the how-to guides do what the pages say.

Each bash or python block has a comment above it that says what becomes of it here:

- `<!-- run -->`: it is run. The blocks of a page run one after another in one empty folder.
- `<!-- run: install -->`: it is run in a fresh environment, weekly; `starjax` is this clone.
- `<!-- not run: REASON -->`: it is not.

Training is cut short: `SHORTER`, in front of the blocks, adds options to `starjax train` and `starjax grid`.
`REPLACED` has the paths that a reader has to replace.
"""

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "docs/index.md", *sorted((ROOT / "docs/howto").glob("*.md"))]
# Its scripts are run against stand-ins of the clusters' programs by tests/launch.
WITHOUT_MARKS = {"cluster.md"}
REPLACED = {"/path/to/caches": str(ROOT / "tests/data/caches"), "pip install starjax": f"pip install {ROOT}"}
SHORTER = """
set -euo pipefail
starjax() {
    local more=()
    case "$1 ${2:-}" in
        "train --config=posterior") more=(--config.ensemble.size=2 --config.ensemble.num_fold=0) ;;
        "grid "*) more=(--config.feature_sets=sky --config.target_sets=mass) ;;
    esac
    case "$1" in
        train) more+=(--config.train.max_epochs=2 --config.data.num_sample_per_snapshot=2) ;;
        grid) more+=(--config.base.train.max_epochs=2 --config.base.data.num_sample_per_snapshot=2) ;;
    esac
    # Each option once: ours instead of those of the page.
    local option given=()
    for option in "$@"; do
        [[ " ${more[*]%%=*} " == *" ${option%%=*} "* ]] || given+=("$option")
    done
    "$PYTHON" -m starjax "${given[@]}" "${more[@]}"
}
"""
_BLOCK = re.compile(
    r"^( *)(?:<!-- ([^\n]*) -->\n *)?```(bash|python)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL
)


@dataclasses.dataclass(frozen=True)
class Block:
    """A block of a page: what becomes of it, its language and its text."""

    mark: str
    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    """Return the bash and python blocks of a page."""
    return [Block(mark, language, text) for _, mark, language, text in _BLOCK.findall(page.read_text())]


def run(block: Block, folder: Path, variables: dict[str, str]) -> None:
    """Run a block in a folder; variables that it exports are added to those of later blocks."""
    text = block.text
    for placeholder, value in REPLACED.items():
        text = text.replace(placeholder, value)
    if block.language == "python":
        argv = [sys.executable, "-c", text]
    else:
        argv = ["bash", "-c", f"{SHORTER}\n{text}\nenv -0 > .variables"]
    environment = os.environ | variables | {"PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    # Unlike most tests, these compute more than they compile.
    environment.pop("JAX_DISABLE_MOST_OPTIMIZATIONS", None)
    done = subprocess.run(
        argv, cwd=folder, env=environment, capture_output=True, encoding="utf8", timeout=1200
    )
    assert done.returncode == 0, f"{text}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    if block.language == "bash":
        exported = dict(one.split("=", 1) for one in (folder / ".variables").read_text().split("\0") if one)
        variables |= {name: value for name, value in exported.items() if name not in environment}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_block_says_whether_it_is_run(page):
    if page.name not in WITHOUT_MARKS:
        for block in blocks(page):
            assert re.fullmatch(r"run|run: install|not run: .+", block.mark), f"{page}: {block.text}"


# They train: together they take half an hour on two cores.
@pytest.mark.weekly
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(block.mark == "run" for block in blocks(page))],
    ids=lambda page: page.name,
)
def test_blocks_of_a_page_run_one_after_another(page, tmp_path):
    if page.name == "tfds.md":
        pytest.importorskip("tensorflow_datasets")
    variables = {}
    for block in blocks(page):
        if block.mark == "run":
            run(block, tmp_path, variables)


@pytest.mark.weekly
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(block.mark == "run: install" for block in blocks(page))],
    ids=lambda page: page.name,
)
def test_installs_in_a_fresh_environment(page, tmp_path):
    (block,) = [block for block in blocks(page) if block.mark == "run: install"]
    text = block.text
    for placeholder, value in REPLACED.items():
        text = text.replace(placeholder, value)
    kept = ("PATH", "HOME", "PIP_", "SSL_", "REQUESTS_", "http", "HTTP")
    environment = {name: value for name, value in os.environ.items() if name.startswith(kept)}
    # From the folder of a stranger, without this repository on the path.
    script = f"set -euo pipefail\n{text}\nstarjax --version\nstarjax train --help\nwhich starjax"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        encoding="utf8",
        timeout=1800,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip().endswith(str(tmp_path / ".venv/bin/starjax"))
