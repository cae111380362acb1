"""`starjax export`: write a finished run as one program that jax alone can read and call."""

import argparse
from pathlib import Path

from starjax.commands import cli


def parser() -> cli.Parser:
    """Return the options of the command."""
    options = cli.Parser(
        "export", "Writes a finished run as one program that jax alone can read and call.", usage="--run=DIR"
    )
    options.add_argument("--run", metavar="DIR", required=True, help="run directory")
    options.add_argument("--out", metavar="FILE", help="file to write [NAME.jaxexport, NAME being the run's]")
    options.add_argument("--overwrite", action="store_true", help="replace that file if it exists")
    return options


def main(arguments: argparse.Namespace) -> None:
    from starjax.inference import export
    from starjax.inference.predictor import load_predictor
    from starjax.runtime import log

    run = load_predictor(arguments.run)
    out = Path(arguments.out or f"{export.run_name(run)}.jaxexport")
    if out.exists() and not arguments.overwrite:
        raise export.ExportError(f"{out} exists: name another --out, or add --overwrite")
    exported = export.write(run, out)
    for caveat in run.caveats:
        log.warning(f"its predictions for observed clusters should not be trusted: {caveat}")
    print(f"wrote {out}, {out.stat().st_size / 2**20:.1f} MiB, for {', '.join(export.PLATFORMS)}")
    print(f"features   {', '.join(run.feature_keys)}; each float32 (clusters, stars)")
    print("mask       bool (clusters, stars), True where there is a star")
    print(f"outputs    {', '.join(export.output_names(exported))}; each float32 (clusters,)")
