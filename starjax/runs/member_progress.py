"""Early stopping: the progress of each ensemble member, and its best epoch."""

import dataclasses
import math
from collections.abc import Mapping, Sequence


@dataclasses.dataclass(frozen=True)
class MemberProgress:
    """The progress of an ensemble member; saved with every checkpoint.

    Attributes:
      epoch: epochs that it was trained for.
      best_epoch: epoch with the lowest validation loss, from 1; 0 before the first epoch.
      best_loss: that loss.
      is_failed: whether a loss was not finite in the epoch after `epoch`; the member has no result then.
    """

    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = math.inf
    is_failed: bool = False

    def after(self, loss: float, *, is_finite: bool = True) -> "MemberProgress":
        """Return the progress after one more epoch, with validation loss `loss`."""
        if not is_finite:
            return dataclasses.replace(self, is_failed=True)
        if loss < self.best_loss:
            return MemberProgress(self.epoch + 1, self.epoch + 1, loss)
        return dataclasses.replace(self, epoch=self.epoch + 1)

    def is_over(self, max_epochs: int, patience: int) -> bool:
        """Return whether the member is no longer trained."""
        return self.is_failed or self.epoch >= max_epochs or self.epoch - self.best_epoch >= patience


def to_checkpoint(progress: Sequence[MemberProgress], metrics_sha256: str = "") -> dict:
    """Return what a checkpoint contains beside its arrays.

    Args:
      progress: of all members.
      metrics_sha256: SHA-256 of metrics.csv up to the epoch of the checkpoint.
    """
    return {"members": [dataclasses.asdict(p) for p in progress], "metrics_sha256": metrics_sha256}


def from_checkpoint(content: Mapping) -> tuple[MemberProgress, ...]:
    """Return the progress of all members from the content of a checkpoint."""
    return tuple(MemberProgress(**member) for member in content["members"])
