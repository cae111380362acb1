"""When to stop: how far each member of a run is, and which of its epochs was the best."""

import dataclasses
import math
from collections.abc import Mapping, Sequence


@dataclasses.dataclass(frozen=True)
class MemberProgress:
    """How far a member of a run is, after `epoch` epochs of its own; stored with every checkpoint.

    Attributes:
      best_epoch: the epoch, counted from 1, with the lowest validation loss; 0 before any.
      best_loss: that loss.
      is_failed: whether a loss was not finite in the epoch after; there is no result then.
    """

    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = math.inf
    is_failed: bool = False

    def after(self, loss: float, *, is_finite: bool = True) -> "MemberProgress":
        """The progress after one more epoch, with validation loss `loss`."""
        if not is_finite:
            return dataclasses.replace(self, is_failed=True)
        if loss < self.best_loss:
            return MemberProgress(self.epoch + 1, self.epoch + 1, loss)
        return dataclasses.replace(self, epoch=self.epoch + 1)

    def is_over(self, max_epochs: int, patience: int) -> bool:
        return self.is_failed or self.epoch >= max_epochs or self.epoch - self.best_epoch >= patience


def to_checkpoint(progress: Sequence[MemberProgress], metrics_sha256: str = "") -> dict:
    """What a checkpoint has beside its arrays: the progress of all members, and the SHA-256 of the records so far."""
    return {"members": [dataclasses.asdict(p) for p in progress], "metrics_sha256": metrics_sha256}


def from_checkpoint(content: Mapping) -> tuple[MemberProgress, ...]:
    """Return the progress of all members from the content of a checkpoint."""
    return tuple(MemberProgress(**member) for member in content["members"])
