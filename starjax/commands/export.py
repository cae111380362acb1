"""The command `starjax export`: write a finished run as a program that needs nothing but jax."""

import argparse
from pathlib import Path

from starjax.commands import cli


def parser() -> cli.Parser:
    """Return the options of the command."""
    options = cli.Parser(
        "export", "Write a finished run as a program that needs nothing but jax.", usage="--run=DIR"
    )
    options.add_argument(
        "--run",
        metavar="DIR",
        type=cli.path,
        required=True,
        help="directory of a finished run, or packaged model",
    )
    options.add_argument(
        "--out",
        metavar="FILE",
        type=cli.path,
        help="file to write [NAME.jaxexport, with the name of the run]",
    )
    options.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    return options


def main(arguments: argparse.Namespace) -> None:
    """Write the program and print its inputs and outputs."""
    from starjax.inference import export
    from starjax.inference.loading import load_predictor
    from starjax.runtime import log

    run = load_predictor(arguments.run)
    # After loading, since the default is the name of the run and not of the path given, which may be `.`.
    out = Path(arguments.out or f"{export.run_name(run)}.jaxexport")
    if out.exists() and not arguments.overwrite:
        raise export.ExportError(f"{out} exists: name another --out, or add --overwrite")
    exported = export.write(run, out)
    for caveat in run.caveats:
        log.warning(f"its predictions for observed clusters should not be trusted: {caveat}")
    print(f"wrote {out}, {out.stat().st_size / 2**20:.1f} MiB, for {', '.join(export.PLATFORMS)}")
    print(f"features   {', '.join(run.feature_keys)}; each float32 (clusters, stars)")
    print("mask       bool (clusters, stars), True for stars")
    print(f"outputs    {', '.join(export.output_names(exported))}; each float32 (clusters,)")
