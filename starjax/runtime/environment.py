"""What comes from the environment: defaults of config fields, versions of packages, and where compiled programs are kept."""

import importlib.metadata
import os
from pathlib import Path

import dotenv

from starjax import errors

_PACKAGES = (
    "starjax",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "pandas",
    "scikit-learn",
    "astropy",
)


def default(variable: str, otherwise: str) -> str:
    """`variable` from the environment, else from a `.env` file here or above, else `otherwise`; empty counts as unset."""
    path = dotenv.find_dotenv(usecwd=True)
    try:
        in_file = dotenv.dotenv_values(path)
    except UnicodeDecodeError as error:
        raise errors.ConfigError(f"{path} is no text in UTF-8: mend it, or move it away") from error
    return os.environ.get(variable) or in_file.get(variable) or otherwise


def use_compilation_cache(output_base: str) -> None:
    """Keeps what is compiled in `output_base/compilation-cache`, for later runs of the same shapes.

    Where `JAX_COMPILATION_CACHE_DIR` names another place, or `JAX_ENABLE_COMPILATION_CACHE` says no, that holds.
    """
    import jax  # slow to import; configs ask this module for defaults before a command needs jax

    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update(
            "jax_compilation_cache_dir", str(Path(output_base).absolute() / "compilation-cache")
        )
        # All of them, however quickly they were compiled: a run has many small ones.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def package_versions() -> dict[str, str]:
    """What results are made with, by package."""
    return {package: importlib.metadata.version(package) for package in _PACKAGES}
