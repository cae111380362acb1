"""Checkpoints of a run: the last epoch and the best one, written beside the training."""

from pathlib import Path

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

_IMPROVED = "last_improvement"


class Checkpoints:
    """The `checkpoints/` folder of a run, one step an epoch; use as a context manager.

    Kept are the latest epoch and the latest one that improved on all before it.
    """

    def __init__(self, directory: Path):
        keep = policies.AnyPreservationPolicy(
            [policies.LatestN(1), policies.BestN(get_metric_fn=lambda metrics: metrics[_IMPROVED], n=1)]
        )
        options = ocp.CheckpointManagerOptions(preservation_policy=keep)
        self._manager = ocp.CheckpointManager(directory.absolute(), options=options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._manager.close()

    @property
    def latest(self) -> int | None:
        """The last epoch saved."""
        return self._manager.latest_step()

    def save(self, epoch: int, state: dict, progress: dict, *, is_best: bool) -> None:
        """Saves `state` (arrays) and `progress` (numbers) after `epoch`; returns before it is on disk."""
        self._manager.save(
            epoch,
            args=ocp.args.Composite(state=ocp.args.StandardSave(state), progress=ocp.args.JsonSave(progress)),
            metrics={_IMPROVED: epoch if is_best else -1},
        )

    def restore(self, epoch: int, like: dict) -> tuple[dict, dict]:
        """The state and progress saved after `epoch`; arrays are placed as those of `like` are."""
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        restored = self._manager.restore(
            epoch,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(abstract), progress=ocp.args.JsonRestore()
            ),
        )
        return restored["state"], restored["progress"]
