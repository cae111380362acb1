"""The best parameters of a run: from its last checkpoint, or from the one file that a packaged model has."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from starjax import errors
from starjax.io import files, npz
from starjax.runs import member_progress
from starjax.runs.checkpoints import Checkpoints
from starjax.runs.directory import RunDirectory
from starjax.runtime import devices

# Before the names of parameters, beside which the file has the epochs.
PREFIX = "params/"
_EPOCHS = "epochs"


class BestParamsError(errors.StarjaxError):
    """Parameters that are missing, or cannot be read."""


@dataclasses.dataclass(frozen=True)
class BestParams:
    """The best parameters of the ensemble members of a run that have not failed.

    Attributes:
      path: the checkpoint or the file that they were read from.
      epochs: the best epoch of each of the E members.
      params: nested dict of the parameters at these epochs, in host memory, members along the first axis.
    """

    path: Path
    epochs: tuple[int, ...]
    params: dict


def load_best(run_dir: RunDirectory, like: dict) -> BestParams:
    """Read the best parameters of a finished run; called by all processes.

    Args:
      run_dir: its directory.
      like: shapes and shardings of the arrays of its checkpoints (see `trainer.abstract_arrays`).

    Raises:
      BestParamsError, CheckpointError: they are missing or damaged.
    """
    if run_dir.params.exists():
        return _read(run_dir.params, like["best"])
    if not run_dir.checkpoints.is_dir():
        raise BestParamsError(f"{run_dir.checkpoints} is missing: restore it, or train the run again")
    with Checkpoints(run_dir.checkpoints, is_read_only=True) as checkpoints:
        restored = checkpoints.restore_last(like)
    progress = member_progress.from_checkpoint(restored.content)
    has_succeeded = np.array([not member.is_failed for member in progress])
    return BestParams(
        run_dir.checkpoints / str(restored.epoch),
        tuple(member.best_epoch for member in progress if not member.is_failed),
        jax.tree.map(lambda x: devices.gather(x)[has_succeeded], restored.arrays["best"]),
    )


def save_params(path: Path, best: BestParams) -> None:
    """Write parameters as `.npz`: `epochs`, and each array under its name in the model after `params/`."""
    arrays = {_EPOCHS: np.array(best.epochs), **flatten(best.params)}
    with files.atomic_write(path) as temporary:
        np.savez(temporary, **arrays)


def flatten(params: dict) -> dict:
    """Return the arrays of nested parameters, or their shapes, by name: `params/phi/layers/0/kernel`."""
    return {_name(path): leaf for path, leaf in jax.tree.leaves_with_path(params)}


def replace(params: dict, given: Mapping) -> dict:
    """Return nested parameters with some of them replaced by those given by name (see `flatten`)."""
    return jax.tree_util.tree_map_with_path(lambda path, leaf: given.get(_name(path), leaf), params)


def _name(path) -> str:
    return PREFIX + jax.tree_util.keystr(path, simple=True, separator="/")


def _read(path: Path, like: dict) -> BestParams:
    """Read what `save_params` has written.

    Args:
      path: the file.
      like: shapes, as in `load_best`.
    """
    shapes = flatten(like)
    try:
        arrays = npz.read_npz(path, [_EPOCHS, *shapes])
        num_member = len(arrays[_EPOCHS])
        for name, expected in shapes.items():
            shape = (num_member, *expected.shape[1:])
            if arrays[name].shape != shape or arrays[name].dtype != expected.dtype or not math.prod(shape):
                raise ValueError(
                    f"{name} should be {expected.dtype} of shape {shape}, is {arrays[name].dtype} of shape "
                    f"{arrays[name].shape}"
                )
            if not np.isfinite(arrays[name]).all():
                raise ValueError(f"{name} is not finite")
        epochs = tuple(map(int, arrays[_EPOCHS]))
    except npz.DAMAGE as error:
        raise BestParamsError(f"{path} cannot be read ({error!r:.200}): restore it") from error
    return BestParams(path, epochs, replace(like, arrays))
