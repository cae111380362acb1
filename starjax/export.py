"""Writes a finished run as one program that jax alone can read and call, on CPUs, GPUs and TPUs.

    python -m starjax.export --run=RUN_DIR --out=posterior.jaxexport

The file is what `jax.export` serializes: StableHLO with the parameters, the scalers, the calibration and
what novelty is measured against as constants. Its arguments are named: a dict of features, each (clusters, stars), and a mask.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp

from starjax import command, errors, files, log, program, trained

PLATFORMS = ("cpu", "cuda", "tpu")


class ExportError(errors.StarjaxError):
    """A program that cannot be written, with what to do."""


def exported(run: trained.Trained) -> jax.export.Exported:
    """The program of a run, for any number of clusters and of stars; see `program.of_run`."""
    shape = jax.export.symbolic_shape("num_cluster, num_star")
    features = {key: jax.ShapeDtypeStruct(shape, jnp.float32) for key in run.feature_keys}
    answer = program.of_run(run)
    answer.__name__ = re.sub(r"\W", "_", f"starjax_{_name(run)}")
    return jax.export.export(jax.jit(answer), platforms=PLATFORMS)(
        features, jax.ShapeDtypeStruct(shape, jnp.bool)
    )


def write(run: trained.Trained, out: Path) -> jax.export.Exported:
    """Exports a run to a file; what stood there is replaced once the new file is complete."""
    made = exported(run)
    with files.written_whole(out) as temporary:
        temporary.write_bytes(made.serialize())
    return made


def _name(run: trained.Trained) -> str:
    return run.place.directory.resolve().name  # of `.`, too


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options of the command."""
    parser = command.parser(
        "export", "Writes a finished run as one program that jax alone can read and call."
    )
    parser.add_argument("--run", required=True, help="run directory")
    parser.add_argument("--out", help="the file to write [default: NAME.jaxexport, by the name of the run]")
    parser.add_argument("--overwrite", action="store_true", help="replace that file, if it is there")
    return parser.parse_args(argv[1:])


def main(arguments: argparse.Namespace) -> None:
    run = trained.load(arguments.run)
    out = Path(arguments.out or f"{_name(run)}.jaxexport")
    if out.exists() and not arguments.overwrite:
        raise ExportError(f"{out} is there: name another --out, or add --overwrite")
    made = write(run, out)
    for doubt in run.doubts:
        log.warning(f"no answer should be believed as it stands: {doubt}")
    print(f"wrote {out}, {out.stat().st_size / 2**20:.1f} MiB, for {', '.join(PLATFORMS)}")
    print(f"features   {', '.join(run.feature_keys)}; each float32 (clusters, stars)")
    print("mask       bool (clusters, stars), True where a star is")
    names = jax.tree.unflatten(made.out_tree, made.out_avals)
    print(f"answers    {', '.join(names)}; each float32 (clusters,)")


if __name__ == "__main__":
    command.run(main, flags_parser=parse)
