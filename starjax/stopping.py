"""When to stop: how far each member of a run is, and which of its epochs was the best."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Progress:
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

    def after(self, loss: float, *, is_finite: bool = True) -> "Progress":
        """The progress after one more epoch, with validation loss `loss`."""
        if not is_finite:
            return dataclasses.replace(self, is_failed=True)
        if loss < self.best_loss:
            return Progress(self.epoch + 1, self.epoch + 1, loss)
        return dataclasses.replace(self, epoch=self.epoch + 1)

    def is_over(self, max_epochs: int, patience: int) -> bool:
        return self.is_failed or self.epoch >= max_epochs or self.epoch - self.best_epoch >= patience
