"""Hooks of MkDocs (see mkdocs.yml): generated reference pages, and checks that MkDocs does not make."""

import html.parser
import logging
import os
import re
import urllib.parse
from pathlib import Path

import reference_pages
import traitlets
from mkdocs.structure.files import File
from nbconvert import preprocessors

ROOT = Path(__file__).parents[1]
REPOSITORY = "https://github.com/starjax/starjax"
# A logger below mkdocs, whose warnings end a strict build.
_log = logging.getLogger("mkdocs.hooks.starjax")


class ExecutePreprocessor(preprocessors.ExecutePreprocessor):
    """Executes notebooks; what a cell prints is one text, not one for each piece that the kernel sends."""

    coalesce_streams = traitlets.Bool(True)


# mkdocs-jupyter has no option for it, and nbconvert looks the class up by this name.
preprocessors.ExecutePreprocessor = ExecutePreprocessor


def on_files(files, config):
    """Add the pages that are written from the code, and the list of changes."""
    # The defaults on these pages are those of a user who has not set these variables.
    for name in ("OUTPUT_BASE", "JOBLIB_ROOT", "SPLIT_MFT_JSON"):
        os.environ.pop(name, None)
    for path, page in reference_pages.PAGES.items():
        files.append(File.generated(config, path, content=page()))
    # At the root of the repository, where MkDocs does not look.
    changes = (ROOT / "CHANGELOG.md").read_text()
    files.append(File.generated(config, "about/changes.md", content=changes))
    return files


def on_page_markdown(markdown, page, config, files):
    """Warn of links to files that the repository does not have."""
    for path in missing_in_repository(markdown):
        _log.warning("%s links to %s, which the repository does not have", page.file.src_uri, path)


def missing_in_repository(markdown: str) -> list[str]:
    """Return the paths below the repository that links name and that do not exist."""
    raw = REPOSITORY.replace("github.com", "raw.githubusercontent.com")
    prefix = rf"(?:{re.escape(REPOSITORY)}/(?:blob|tree)|{re.escape(raw)})/main/"
    return [path for path in re.findall(prefix + r"([^\s)\"#>]+)", markdown) if not (ROOT / path).exists()]


def on_page_content(html, page, config, files):
    """Keep short code, and a number and its percent sign, in one line."""
    return keep_together(html)


def keep_together(html: str) -> str:
    """Mark inline code of at most 30 characters as `short`, and join numbers and percent signs."""
    parts = re.split(r"(<pre.*?</pre>)", html, flags=re.DOTALL)
    # Every second part is a block of code, which is left as it is.
    for number in range(0, len(parts), 2):
        text = re.sub(r"<code>(?=[^<]{1,30}</code>)", '<code class="short">', parts[number])
        parts[number] = re.sub(r"(?<=\d) (?=%)", "&nbsp;", text)
    return "".join(parts)


def on_post_build(config):
    """Warn of links within the built site that lead nowhere; MkDocs does not look at those of notebooks."""
    for page, link in broken_links(Path(config.site_dir)):
        _log.warning("%s links to %s, which the site does not have", page, link)


class _Page(html.parser.HTMLParser):
    """The anchors of a page, and what it links to."""

    def __init__(self, text: str):
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.anchors |= {values[name] for name in ("id", "name") if values.get(name)}
        self.links |= {values[name] for name in ("href", "src") if values.get(name)}


def broken_links(site: Path) -> list[tuple[str, str]]:
    """Return (page, link) for each link within a site whose page, file or anchor does not exist."""
    pages = {path: _Page(path.read_text()) for path in sorted(site.rglob("*.html"))}
    broken = []
    for path, page in pages.items():
        # The page for wrong addresses is shown at any of them, so its links are absolute.
        for link in sorted(page.links) if path.name != "404.html" else ():
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / urllib.parse.unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            # Files other than pages have no anchors.
            has_anchor = target not in pages or parts.fragment in {"", *pages[target].anchors}
            if not target.exists() or not has_anchor:
                broken.append((str(path.relative_to(site)), link))
    return broken
