"""One epoch of training: several calls of the compiled steps; it can be interrupted after each of them."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np

from starjax.runtime import devices, progress_bar
from starjax.sampling import device_placement
from starjax.training.step import SUMS
from starjax.training.trainer import Trainer

# Fewest calls in an epoch, so that a progress bar moves.
MIN_CALLS = 16
# Most steps in a call: a process that is asked to stop can do so after a call only.
MAX_STEPS_PER_CALL = 64


@dataclasses.dataclass(frozen=True)
class EpochState:
    """The state of training within an epoch.

    Attributes:
      number: of the epoch, from 1.
      state: `{'params', 'opt_state'}` of all members, on the devices.
      num_call, num_step: calls and steps done.
      sums: over the samples of these calls, by name, float64 (E,) each; empty before the first call.
      seconds: duration of these calls.
      is_done: whether the epoch is complete.
    """

    number: int
    state: dict
    num_call: int = 0
    num_step: int = 0
    sums: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    is_done: bool = False

    def to_checkpoint(self) -> dict:
        """Return everything except the arrays as plain numbers."""
        sums = {name: values.tolist() for name, values in self.sums.items()}
        numbers = {name: getattr(self, name) for name in ("number", "num_call", "num_step", "seconds")}
        return numbers | {"sums": sums}

    @classmethod
    def from_checkpoint(cls, state: dict, content: dict) -> "EpochState":
        """Return the epoch of which `to_checkpoint` gave `content`."""
        sums = {name: np.array(values) for name, values in content["sums"].items()}
        return cls(state=state, **content | {"sums": sums})

    def means(self) -> list[dict]:
        """Return means over the samples for each member; NaN for inactive members."""
        totals = dict(self.sums)
        num_sample = totals.pop("num_sample")
        with np.errstate(invalid="ignore"):  # 0 / 0
            means = {name: values / num_sample for name, values in totals.items()}
        return [{name: float(values[i]) for name, values in means.items()} for i in range(len(num_sample))]


def train_epoch(
    trainer: Trainer,
    epoch: EpochState,
    source: device_placement.Source,
    is_active: Sequence[bool],
    advance: Callable[[int], None],
    stop_requested: Callable[[], bool],
) -> EpochState:
    """Train to the end of an epoch, or until a stop is requested after one of its calls.

    Args:
      epoch: where to begin; not changed.
      source: the training samples.
      is_active: whether each member is trained.
      advance: called with the number of steps done in each call.
      stop_requested: asked after each call.
    """
    start = time.perf_counter()
    # An argument of the steps, so that a member that ends does not change the compiled program.
    members = trainer.members.arrays() | {"is_active": np.asarray(is_active, np.int32)}
    members = devices.shard_members(members, trainer.mesh)
    state, num_call, num_step = epoch.state, epoch.num_call, 0
    sums_of_calls: list[dict[str, jax.Array]] = []
    for call, (stars, first, num) in enumerate(_calls(trainer, source, epoch.number, sums_of_calls)):
        is_new = call >= epoch.num_call  # or done before the epoch was interrupted
        if is_new:
            numbers = map(np.int32, (epoch.number - 1, first, num))
            state, sums = trainer.train_steps(state, members, stars, *numbers)
            sums_of_calls.append(sums)
            num_call += 1
            # At most one call is queued beside the current one, since a process that stops waits for both. On
            # a terminal none is, so that the progress bar shows what is done, not what is queued.
            num_queued = 1 if progress_bar.is_terminal() else 2
            jax.block_until_ready(sums_of_calls[-num_queued:][0])
        num_step += num
        advance(num)
        if is_new and stop_requested():
            break
    totals = epoch.sums or {name: np.zeros(len(is_active)) for name in SUMS}
    # Added one after another, so that an interrupted epoch gives the same bits as one that was not.
    for sums in sums_of_calls:
        totals = {name: totals[name] + np.float64(devices.gather(sums[name])) for name in SUMS}
    return EpochState(
        number=epoch.number,
        state=state,
        num_call=num_call,
        num_step=num_step,
        sums=totals,
        seconds=epoch.seconds + time.perf_counter() - start,
        is_done=num_step == trainer.num_step,
    )


def _calls(trainer: Trainer, source: device_placement.Source, number: int, sums_of_calls: list) -> Iterator:
    """Yield the stars, the first step and the number of steps of each call of epoch `number`.

    The division into calls depends on nothing else, since sums are rounded once a call.
    """
    max_steps = min(math.ceil(trainer.num_step / MIN_CALLS), MAX_STEPS_PER_CALL)
    for stars, num_step in source.chunks(number - 1):
        if sums_of_calls and source.placement == "streamed":
            # This chunk was sent while the device worked on the one before. The next chunk must not be sent
            # before that work is done, or the device would hold three of them.
            jax.block_until_ready(sums_of_calls[-1])
        for first in range(0, num_step, max_steps):
            yield stars, first, min(max_steps, num_step - first)
