"""The environment of a command: variables, versions of packages, and the cache of compiled programs."""

import importlib.metadata
import os
from pathlib import Path

import dotenv

from starjax import errors
from starjax.runtime import paths

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
    """Return the path in an environment variable, or in a `.env` file, or `otherwise` (see `paths.expand`).

    Empty values count as unset. The file is searched for in the current folder and in those above it.

    Raises:
      ConfigError: the path cannot be used, or the file is not text in UTF-8.
    """
    path = dotenv.find_dotenv(usecwd=True)
    try:
        in_file = dotenv.dotenv_values(path)
    except UnicodeDecodeError as error:
        raise errors.ConfigError(
            f"{path} is not a text file in UTF-8: correct it, or move it away"
        ) from error
    try:
        return paths.expand(os.environ.get(variable) or in_file.get(variable) or otherwise)
    except paths.PathError as error:
        raise errors.ConfigError(f"{variable}: {error}") from error


def use_compilation_cache(output_base: str) -> None:
    """Keep compiled programs in `output_base/compilation-cache`, for later runs with the same shapes.

    The environment variables `JAX_COMPILATION_CACHE_DIR` and `JAX_ENABLE_COMPILATION_CACHE` take precedence.
    """
    import jax  # slow to import; configs read defaults from this module before a command needs jax

    if getattr(jax.config, "jax_compilation_cache_dir") is None:  # noqa: B009, jax declares no such field
        jax.config.update(
            "jax_compilation_cache_dir", str(Path(output_base).absolute() / "compilation-cache")
        )
        # A run compiles many small programs, which jax by default does not keep (those of less than 1 s).
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that results depend on."""
    return {package: importlib.metadata.version(package) for package in _PACKAGES}
