"""The reference pages of the documentation that are written from the code: config fields, commands, columns.

The comments above the fields of a config file are their meaning, parsers give the options of commands, and
`starjax.quantities` the columns, so the pages cannot differ from what the code does.
"""

import ast
import importlib
import inspect
import io
import re
import tokenize
from collections.abc import Iterable, Mapping
from pathlib import Path

from ml_collections import ConfigDict

from starjax import quantities
from starjax.__main__ import COMMANDS
from starjax.configs import common, dataset, grid
from starjax.models import factory

ROOT = Path(__file__).parents[1]
# Variables that a config file fills with fields, by the prefix of these fields.
_PREFIXES = {"config": "", "data": "data.", "observer": "observer.", "optim": "optim."}


def field_comments(source: str) -> dict[str, str]:
    """Return the comment of each field that a config file assigns, by the field's name.

    The comment is the one directly above the assignment. A field without one shares the comment of the field
    in the line above it.
    """
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT and token.line.lstrip().startswith("#")
    }
    found: dict[str, str] = {}
    last_line, last_text = 0, ""
    assignments = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assign)]
    for node in sorted(assignments, key=lambda one: one.lineno):
        variable, _, name = ast.unparse(node.targets[0]).partition(".")
        if variable not in _PREFIXES or not name:
            continue
        lines, number = [], node.lineno - 1
        while number in comments:
            lines.insert(0, comments[number])
            number -= 1
        text = " ".join(lines)
        if not text and node.lineno == last_line + 1:
            text = last_text
        if text:
            found[_PREFIXES[variable] + name] = text
        last_line, last_text = node.end_lineno, text
    return found


def flatten(config: ConfigDict, prefix: str = "") -> dict[str, object]:
    """Return the fields of a config with their values, by dotted names."""
    found: dict[str, object] = {}
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            found |= flatten(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def meaning(name: str, comments: Mapping[str, str]) -> str:
    """Return the comment of a field, or that of the group that it is in.

    Raises:
      KeyError: neither has a comment.
    """
    parts = name.split(".")
    # From the field itself to ever larger groups.
    for length in range(len(parts), 0, -1):
        if ".".join(parts[:length]) in comments:
            return comments[".".join(parts[:length])]
    raise KeyError(f"the field {name} has no comment above it")


def config_page() -> str:
    """Return the page of all config fields, with their meanings and defaults."""
    comments = field_comments(_source(common))
    fields = _in_order(flatten(common.get_config()), comments)
    lines = [
        "# Config fields",
        "",
        "Set any field on the command line: "
        "`starjax train --config=deep_sets --config.train.max_epochs=30`. "
        "An unknown field or an impossible value ends the command at once and is named. "
        "The defaults below are those of `--config=common:NAME`; "
        "the [ready-made configs](#ready-made-configs) change a few.",
        "",
        "## Training runs: `starjax train`",
        "",
    ]
    groups = dict.fromkeys(name.partition(".")[0] if "." in name else "" for name in fields)
    for group in groups:
        own = {
            name: value
            for name, value in fields.items()
            if (name.partition(".")[0] if "." in name else "") == group
        }
        if group == "model":  # a section for each model, below
            continue
        lines += [f"### `config.{group}`" if group else "### The run", ""]
        lines += _definitions(own, comments)
    lines += ["### `config.model`", "", comments["model"], ""]
    for name in factory.MODELS:
        lines += _model_section(name)
    lines += ["## Ready-made configs", "", "Name them without a path: `--config=posterior`.", ""]
    lines += _ready_made(fields)
    lines += ["## Data set builds: `starjax build`", ""]
    lines += _definitions(flatten(dataset.get_config()), field_comments(_source(dataset)))
    lines += [
        "## Grids: `starjax grid`",
        "",
        "Fields of `config.base` are those of a training run, shared by all runs of the grid.",
        "",
    ]
    of_grid = {
        name: value for name, value in flatten(grid.get_config()).items() if not name.startswith("base.")
    }
    lines += _definitions(of_grid, field_comments(_source(grid)))
    return "\n".join(lines) + "\n"


def _in_order(fields: Mapping[str, object], comments: Mapping[str, str]) -> dict[str, object]:
    """Return the fields in the order of the file; a ConfigDict sorts them by name."""
    order = {text: number for number, text in enumerate(comments.values())}
    return dict(sorted(fields.items(), key=lambda field: order[meaning(field[0], comments)]))


def _source(module) -> str:
    return Path(module.__file__).read_text()


def _definitions(fields: Mapping[str, object], comments: Mapping[str, str]) -> list[str]:
    """Return a definition list: neighbours with the same meaning share one entry."""
    entries: list[tuple[list[str], str]] = []
    for name, value in _in_order(fields, comments).items():
        term = f"`config.{name}` = `{_value(value)}`"
        text = meaning(name, comments)
        if entries and entries[-1][1] == text:
            entries[-1][0].append(term)
        else:
            entries.append(([term], text))
    lines = []
    for terms, text in entries:
        lines += [*terms, f":   {_escape(text)}", ""]
    return lines


def _escape(text: str) -> str:
    """Return text that Markdown shows as it is: placeholders such as <run_id> are not tags."""
    return text.replace("<", "&lt;").replace("*", r"\*")


def _value(value: object) -> str:
    text = repr(value)
    return text.replace("'", '"') if '"' not in text else text


def _model_section(name: str) -> list[str]:
    documented = hyperparameters_of(factory.MODELS[name].__doc__)
    lines = [f"#### `{name}`", ""]
    for key, default in factory.hyperparameters(name).items():
        lines += [f"`config.model.{key}` = `{_value(default)}`", f":   {documented[key]}", ""]
    return lines


def hyperparameters_of(docstring: str) -> dict[str, str]:
    """Return what the section `Hyperparameters:` of a class's docstring says of each."""
    section = inspect.cleandoc(docstring).partition("Hyperparameters:\n")[2].split("\n\n")[0]
    entries = re.split(r"^  (?=\w+:)", section, flags=re.MULTILINE)[1:]
    pairs = (re.sub(r"\s+", " ", entry).strip().partition(": ") for entry in entries)
    return {key: text for key, _, text in pairs}


def _ready_made(defaults: Mapping[str, object]) -> list[str]:
    lines = []
    for path in sorted((ROOT / "configs").glob("[a-z]*.py")):
        module = importlib.import_module(f"starjax.configs.{path.stem}")
        if path.stem in ("common", "dataset", "grid"):
            continue
        fields = flatten(module.get_config())
        # Compared with the defaults of its own model, not with those of the default model.
        with_model = defaults | {
            f"model.{key}": value for key, value in factory.hyperparameters(fields["model.name"]).items()
        }
        changed = {name: value for name, value in fields.items() if with_model.get(name) != value}
        lines += [f"### `{path.stem}`", "", _first_paragraph(module.__doc__), "", "```python"]
        lines += [f"config.{name} = {_value(value)}" for name, value in changed.items()]
        lines += ["```", ""]
    return lines


def _first_paragraph(docstring: str) -> str:
    return " ".join(inspect.cleandoc(docstring).split("\n\n")[0].split())


def commands_page() -> str:
    """Return the page of all commands, each as its `--help` prints it."""
    lines = [
        "# Commands",
        "",
        "`starjax COMMAND` and `python -m starjax COMMAND` are the same, and `python -m starjax.main` is "
        "`starjax train`. Options are written `--option=value`, each once; `~` and variables such as "
        "`$HOME` are replaced in paths. "
        "[Exit statuses](exit-status.md) lists how a command ends.",
        "",
    ]
    lines += ["| command | what it does |", "|---|---|"]
    lines += [f"| [`starjax {name}`](#starjax-{name}) | {text} |" for name, text in COMMANDS.items()]
    for name in COMMANDS:
        parser = importlib.import_module(f"starjax.commands.{name}").parser()
        lines += ["", f"## `starjax {name}`", "", "```text", parser.format_help().rstrip(), "```"]
    return "\n".join(lines) + "\n"


def columns_page() -> str:
    """Return the page of the columns that starjax knows."""
    lines = [
        "# Columns",
        "",
        "The columns that starjax knows, from `starjax/quantities.py`. A data set may have other columns: "
        "they are read, scaled and learned from, without a unit, a label or a known symmetry.",
        "",
        "A build includes the columns in **bold** unless its config says otherwise.",
        "",
        "Frame",
        ":   `galactic`: a component along the Galaxy's axes, z towards its north pole; `observer`: as seen "
        "from a fixed point.",
        "",
        "Scaler",
        ":   The [method](data-set.md#scalers) that a build uses unless its config names another.",
        "",
        "Catalogue",
        ":   Whether an observed member catalogue gives the column: `derived` from other columns, `listed` "
        "under its own name, `either` of the two, or `never`.",
        "",
        "Sets",
        ":   The [sets of a grid](#sets-of-a-grid) that contain it.",
        "",
    ]
    titles = {
        "feature": ("Features of a star", ("unit", "frame", "scaler", "catalogue", "sets")),
        "target": ("Properties of a cluster", ("unit", "scaler", "sets")),
        "snapshot": ("Known of a snapshot", ("unit",)),
    }
    for kind, (title, attributes) in titles.items():
        rows = [one for one in quantities.QUANTITIES.values() if one.kind == kind]
        lines += [f"## {title}", ""]
        lines += _row(["column", "meaning", *attributes]) + _row(["---"] * (2 + len(attributes)))
        for one in rows:
            name = f"**`{one.key}`**" if one.is_default else f"`{one.key}`"
            cells = [_cell(getattr(one, attribute)) for attribute in attributes]
            lines += _row([name, _describe(one), *cells])
        lines.append("")
    lines += ["## Sets of a grid", "", "| set | columns |", "|---|---|"]
    for kind in ("feature", "target"):
        for name, keys in quantities.sets(kind).items():
            lines += _row([f"`{name}`", " ".join(f"`{key}`" for key in keys)])
    return "\n".join(lines) + "\n"


def _describe(one: quantities.Quantity) -> str:
    # Labels are math text of matplotlib, which Markdown does not show.
    kinds = [one.plain_label(), one.description]
    kinds += ["mirrored in the Galaxy's plane"] if one.is_mirrored else []
    kinds += [f"{one.vector} in the Galaxy's plane"] if one.vector else []
    kinds += ["relative to the cluster"] if one.is_centred else []
    return "; ".join(kind for kind in kinds if kind)


def _cell(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(value)
    return "" if value == "none" else str(value)


def _row(cells: Iterable[str]) -> list[str]:
    return [f"| {' | '.join(cells)} |"]


# Functions that write a page, by its path below docs/.
PAGES = {
    "reference/config.md": config_page,
    "reference/commands.md": commands_page,
    "reference/columns.md": columns_page,
}
