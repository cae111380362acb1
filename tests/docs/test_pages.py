"""The pages of the documentation say what the code does."""

import importlib
import re
from pathlib import Path

import pytest

from starjax import quantities
from starjax.__main__ import COMMANDS
from starjax.configs import common, dataset, grid
from starjax.models import factory
from tools import diagrams, reference_pages

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.mark.parametrize("config", [common.get_config(), dataset.get_config()], ids=["common", "dataset"])
def test_each_config_field_has_its_meaning_on_the_page(config):
    page = reference_pages.config_page()
    for name in reference_pages.flatten(config):
        # A model's name is the title of its fields.
        assert f"`config.{name}`" in page or name == "model.name"


def test_fields_of_a_grid_have_their_meaning_on_the_page():
    page = reference_pages.config_page()
    for name in reference_pages.flatten(grid.get_config()):
        if not name.startswith("base."):
            assert f"`config.{name}`" in page


def test_a_field_without_a_comment_is_an_error():
    with pytest.raises(KeyError, match="of_mine"):
        reference_pages.meaning("of_mine", reference_pages.field_comments("# Meaning.\nconfig.other = 1\n"))


def test_neighbours_share_a_comment():
    found = reference_pages.field_comments(
        "# Of both,\n# in two lines.\ndata.a = 1\ndata.b = 2\n\ndata.c = 3\n"
    )
    assert found == {"data.a": "Of both, in two lines.", "data.b": "Of both, in two lines."}


@pytest.mark.parametrize("name", factory.MODELS)
def test_each_hyperparameter_is_documented(name):
    documented = reference_pages.hyperparameters_of(factory.MODELS[name].__doc__)
    assert set(documented) == set(factory.hyperparameters(name))


def test_each_command_and_option_is_on_the_page():
    page = reference_pages.commands_page()
    for name in COMMANDS:
        parser = importlib.import_module(f"starjax.commands.{name}").parser()
        assert f"## `starjax {name}`" in page
        for action in parser._actions:
            # Arguments without the name of an option have none.
            assert all(option in page for option in action.option_strings[:1])


def test_each_column_is_on_the_page():
    page = reference_pages.columns_page()
    assert all(f"`{key}`" in page for key in quantities.QUANTITIES)


def test_new_names_exist():
    rows = re.findall(
        r"^\| `([\w.]+)` \| `([\w.]+)` \|$", (DOCS / "reference/old-names.md").read_text(), re.M
    )
    missing = [
        new for _, new in rows if not new.startswith(("config.", "tools.")) and not _exists(f"starjax.{new}")
    ]
    assert len(rows) > 200
    assert not missing


def _exists(name: str) -> bool:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part, None)
        return found is not None
    return False


@pytest.mark.parametrize("name", diagrams.DIAGRAMS)
def test_diagrams_are_as_drawn(name):
    assert (DOCS / "images" / f"{name}.svg").read_text() == diagrams.DIAGRAMS[name]()


def test_readme_is_short_and_renders_elsewhere():
    text = (ROOT / "README.md").read_text()
    assert len(text.split()) <= 900
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links
    assert all(link.startswith("https://") for link in links)


def test_links_of_the_readme_into_the_site_lead_somewhere():
    links = re.findall(r"https://starjax\.readthedocs\.io([^\s)]*)", (ROOT / "README.md").read_text())
    for link in links:
        page = link.strip("/") or "index"
        generated = f"{page}.md" in reference_pages.PAGES
        sources = (f"{page}.md", f"{page}.ipynb", f"{page}/index.md")
        assert generated or any((DOCS / name).exists() for name in sources), link
