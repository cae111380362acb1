"""Hooks of MkDocs (see mkdocs.yml): generated reference pages, and a check of links into the repository."""

import logging
import os
import re
from pathlib import Path

# Paths that depend on the machine are shown as they are for a user without these variables.
for _name in ("OUTPUT_BASE", "JOBLIB_ROOT", "SPLIT_MFT_JSON"):
    os.environ.pop(_name, None)

import reference_pages
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
REPOSITORY = "https://github.com/starjax/starjax"
# Of mkdocs, so that a warning ends a strict build.
_log = logging.getLogger("mkdocs.hooks.starjax")


def on_files(files, config):
    """Add the pages that are written from the code, and the list of changes."""
    for path, page in reference_pages.PAGES.items():
        files.append(File.generated(config, path, content=page()))
    changes = (ROOT / "CHANGELOG.md").read_text()
    files.append(File.generated(config, "about/changes.md", content=changes))
    return files


def on_page_markdown(markdown, page, config, files):
    """Warn of a link to a file of the repository that does not exist."""
    for path in missing_in_repository(markdown):
        _log.warning("%s links to %s, which the repository does not have", page.file.src_uri, path)


def missing_in_repository(markdown: str) -> list[str]:
    """Return the paths below the repository that links name and that do not exist."""
    raw = REPOSITORY.replace("github.com", "raw.githubusercontent.com")
    links = re.findall(
        rf"(?:{re.escape(REPOSITORY)}/(?:blob|tree)|{re.escape(raw)})/main/([^\s)\"#>]+)", markdown
    )
    return [path for path in links if not (ROOT / path).exists()]
