"""Checkpoints of a run, one an epoch, written beside the training."""

from pathlib import Path

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies


class Checkpoints:
    """The `checkpoints/` folder of a run, one step an epoch; use as a context manager.

    Kept are the last two epochs. Each holds the state to go on from, the best parameters so far, and how far the
    run is.
    """

    def __init__(self, directory: Path):
        options = ocp.CheckpointManagerOptions(preservation_policy=policies.LatestN(2))
        self._manager = ocp.CheckpointManager(directory.absolute(), options=options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._manager.close()

    @property
    def latest(self) -> int | None:
        """The last epoch saved."""
        return self._manager.latest_step()

    def clear(self) -> None:
        """Removes what was saved."""
        for epoch in self._manager.all_steps():
            self._manager.delete(epoch)

    def save(self, epoch: int, arrays: dict, progress: list[dict]) -> None:
        """Saves `arrays` and `progress` (numbers) after `epoch`; returns before it is on disk."""
        self._manager.save(
            epoch,
            args=ocp.args.Composite(
                arrays=ocp.args.StandardSave(arrays), progress=ocp.args.JsonSave(progress)
            ),
        )

    def restore(self, epoch: int, like: dict) -> tuple[dict, list[dict]]:
        """The arrays and progress saved after `epoch`; arrays are placed as those of `like` are."""
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        restored = self._manager.restore(
            epoch,
            args=ocp.args.Composite(
                arrays=ocp.args.StandardRestore(abstract), progress=ocp.args.JsonRestore()
            ),
        )
        return restored["arrays"], restored["progress"]
