"""The import rule: a module imports from its own folder and from the lines below it."""

import ast
from pathlib import Path

import starjax

PACKAGE = Path(starjax.__file__).parent
# From the top down; folders of one line do not import from each other. Commands read the files in `configs`.
LAYERS = (
    {"__main__", "main", "__init__"},
    {"commands"},
    {"predictions"},
    {"inference"},
    {"training"},
    {"reports"},
    {"runs", "plotting"},
    {"evaluation"},
    {"dynamics"},
    {"sampling"},
    {"nbody6", "catalogs"},
    {"datasets", "models"},
    {"io"},
    {"gaia"},
    {"runtime", "ops"},
    {"quantities"},
    {"errors"},
)
MAX_MODULES = 12


def layer(name):
    return next(number for number, names in enumerate(LAYERS) if name in names)


def imported(path):
    """The folders and modules of the root that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "starjax":
            inner = node.module.split(".")[1:]
            yield from inner[:1] or [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("starjax."))


def test_imports_point_down():
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        own = path.relative_to(PACKAGE).with_suffix("").parts[0]
        if own == "configs":
            continue
        for other in imported(path):
            if other in (own, "__version__") or (own == "commands" and other == "configs"):
                continue
            if layer(other) <= layer(own):
                wrong.append(f"{path.relative_to(PACKAGE)} imports {other}")
    assert wrong == []


def test_nbody6_is_used_by_commands_only():
    users = {
        path.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*.py") if "nbody6" in imported(path)
    }
    assert users <= {"commands", "nbody6"}


def test_folders_are_small_enough_to_look_through():
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    crowded = {
        str(folder.relative_to(PACKAGE)): len(modules)
        for folder in folders
        if len(modules := [path for path in folder.glob("*.py") if path.name != "__init__.py"]) > MAX_MODULES
    }
    assert crowded == {}
