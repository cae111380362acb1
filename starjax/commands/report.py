"""The command `starjax report`: an HTML page of a finished run."""

import argparse
from pathlib import Path

from starjax.commands import cli


def parser() -> cli.Parser:
    """Return the options of the command."""
    options = cli.Parser("report", "Make an HTML page of a finished run.", usage="--run=DIR")
    options.add_argument(
        "--run", metavar="DIR", type=cli.path, required=True, help="directory of a finished run"
    )
    options.add_argument(
        "--out", metavar="FILE", type=cli.path, help="file to write [report.html in that directory]"
    )
    return options


def main(arguments: argparse.Namespace) -> None:
    """Write the page."""
    from starjax.io import files
    from starjax.reports import html_report
    from starjax.runs.directory import RunDirectory

    run_dir = RunDirectory(Path(arguments.run))
    content = html_report.html_page(run_dir)
    out = Path(arguments.out) if arguments.out else run_dir.path / "report.html"
    with files.atomic_write(out) as temporary:
        temporary.write_text(content, encoding="utf-8")
    print(f"wrote {out}")
