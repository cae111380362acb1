"""Export of a finished run as one program that jax alone can read and call, on CPUs, GPUs and TPUs.

    starjax export --run=RUN_DIR --out=posterior.jaxexport

The file is serialized by `jax.export`: StableHLO, with parameters, scalers, calibration and training clusters
as constants. Its arguments are a dict of features, each (clusters, stars), and a mask.
"""

import re
from pathlib import Path

import jax
import jax.numpy as jnp

from starjax import errors
from starjax.inference import jax_function
from starjax.inference.predictor import Predictor
from starjax.io import files

# All of them in one file, which any machine can call.
PLATFORMS = ("cpu", "cuda", "tpu")


class ExportError(errors.StarjaxError):
    """An export that cannot be written."""


def exported(run: Predictor) -> jax.export.Exported:
    """Return the program of a run for any number of clusters and stars (see `posterior_function`)."""
    shape = jax.export.symbolic_shape("num_cluster, num_star")
    features = {key: jax.ShapeDtypeStruct(shape, jnp.float32) for key in run.feature_keys}
    function = jax_function.posterior_function(run)
    # The program is named after its function. Names of runs may have characters that an identifier may not.
    function.__name__ = re.sub(r"\W", "_", f"starjax_{run_name(run)}")
    return jax.export.export(jax.jit(function), platforms=PLATFORMS)(
        features, jax.ShapeDtypeStruct(shape, jnp.bool)
    )


def write(run: Predictor, out: Path) -> jax.export.Exported:
    """Write the program of a run to a file, which is replaced once the new one is complete."""
    program = exported(run)
    with files.atomic_write(out) as temporary:
        temporary.write_bytes(program.serialize())
    return program


def run_name(run: Predictor) -> str:
    """Return the name of the run directory."""
    return run.run_dir.path.resolve().name  # `.` has no name before it is resolved


def output_names(program: jax.export.Exported) -> list[str]:
    """Return the names of the outputs of an exported program."""
    return list(jax.tree.unflatten(program.out_tree, program.out_avals))
