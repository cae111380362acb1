"""Writes a finished run as one program that jax alone can read and call, on CPUs, GPUs and TPUs.

    starjax export --run=RUN_DIR --out=posterior.jaxexport

The file is what `jax.export` serializes: StableHLO with the parameters, the scalers, the calibration and
what novelty is measured against as constants. Its arguments are named: a dict of features, each (clusters, stars), and a mask.
"""

import re
from pathlib import Path

import jax
import jax.numpy as jnp

from starjax import errors
from starjax.inference import jax_function
from starjax.inference.predictor import Predictor
from starjax.io import files

PLATFORMS = ("cpu", "cuda", "tpu")


class ExportError(errors.StarjaxError):
    """A program that cannot be written, with what to do."""


def exported(run: Predictor) -> jax.export.Exported:
    """The program of a run, for any number of clusters and of stars; see `program.of_run`."""
    shape = jax.export.symbolic_shape("num_cluster, num_star")
    features = {key: jax.ShapeDtypeStruct(shape, jnp.float32) for key in run.feature_keys}
    answer = jax_function.posterior_function(run)
    answer.__name__ = re.sub(r"\W", "_", f"starjax_{run_name(run)}")
    return jax.export.export(jax.jit(answer), platforms=PLATFORMS)(
        features, jax.ShapeDtypeStruct(shape, jnp.bool)
    )


def write(run: Predictor, out: Path) -> jax.export.Exported:
    """Exports a run to a file; what stood there is replaced once the new file is complete."""
    made = exported(run)
    with files.atomic_write(out) as temporary:
        temporary.write_bytes(made.serialize())
    return made


def run_name(run: Predictor) -> str:
    return run.run_dir.path.resolve().name  # of `.`, too


def output_names(exported: jax.export.Exported) -> list[str]:
    """Return the names of what an exported program gives."""
    return list(jax.tree.unflatten(exported.out_tree, exported.out_avals))
