"""The trained models that are part of the package, and how a run is named: so, or by its directory."""

from pathlib import Path

from starjax.runs.directory import RunDirectory, RunDirectoryError
from starjax.runtime import paths

# One stripped run directory for each model (see `tools/package_model.py`).
FOLDER = Path(__file__).parents[1] / "pretrained"


def model_names() -> tuple[str, ...]:
    """Return the names of the packaged models."""
    return tuple(sorted(path.parent.name for path in FOLDER.glob("*/config.json")))


def packaged_model(name: str) -> RunDirectory:
    """Return the directory of a packaged model.

    Raises:
      RunDirectoryError: there is none of this name.
    """
    if name not in model_names():
        raise RunDirectoryError(f"starjax has no packaged model {name}; {_known()}")
    return RunDirectory(FOLDER / name)


def find_run(run: Path | str) -> RunDirectory:
    """Return the directory of a run, which may not exist.

    Text without a separator names a packaged model, if there is one of this name, whatever the current folder
    contains: the same words mean the same model everywhere. Text with a separator, such as `./gaia`, is
    always a directory, and so is a Path. In text, `~` and variables are replaced.

    Raises:
      PathError: the text is not a path (see `paths.expand`).
      RunDirectoryError: text without a separator is neither.
    """
    run = paths.expand(run) if isinstance(run, str) else run
    is_name = isinstance(run, str) and run == Path(run).name
    if is_name and str(run) in model_names():
        return packaged_model(str(run))
    if is_name and not Path(run).exists():
        raise RunDirectoryError(
            f"there is neither a packaged model nor a directory {run}: name a run directory made by starjax "
            f"train, such as output/experiments/NAME, or a packaged model ({_known()})"
        )
    return RunDirectory(Path(run))


def is_packaged(run_dir: RunDirectory) -> bool:
    """Return whether a run is a packaged model."""
    return run_dir.path.parent == FOLDER


def _known() -> str:
    return f"packaged are {', '.join(model_names()) or 'none'}"
