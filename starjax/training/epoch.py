"""One epoch of training: many steps in some calls of the device, after each of which it can be left and gone on with."""

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

# Calls of the device an epoch is made in at least: what a progress bar can show of it.
MIN_CALLS = 16
# Steps of a call at most: a process that is asked to go cannot leave in the midst of one.
MAX_STEPS_PER_CALL = 64


@dataclasses.dataclass(frozen=True)
class EpochState:
    """An epoch as far as it has come.

    Attributes:
      number: of the epoch, from 1.
      state: of all members, on the devices.
      num_call, num_step: calls done, and steps.
      sums: over the samples of these calls, by name, float64 (E,) each.
      seconds: that they took.
      is_done: whether that is all of it.
    """

    number: int
    state: dict
    num_call: int = 0
    num_step: int = 0
    sums: dict[str, np.ndarray] | None = None
    seconds: float = 0.0
    is_done: bool = False

    def content(self) -> dict:
        """All but the state, as numbers; see `restored`."""
        sums = {name: values.tolist() for name, values in self.sums.items()}
        numbers = {name: getattr(self, name) for name in ("number", "num_call", "num_step", "seconds")}
        return numbers | {"sums": sums}

    @classmethod
    def restored(cls, state: dict, content: dict) -> "EpochState":
        """The part of which `content` is kept."""
        sums = {name: np.array(values) for name, values in content["sums"].items()}
        return cls(state=state, **content | {"sums": sums})

    def means(self) -> list[dict]:
        """Of each member, means over its samples; NaN where it rested."""
        totals = dict(self.sums)
        num_sample = totals.pop("num_sample")
        with np.errstate(invalid="ignore"):
            means = {name: values / num_sample for name, values in totals.items()}
        return [{name: float(values[i]) for name, values in means.items()} for i in range(len(num_sample))]


def train_epoch(
    trainer: Trainer,
    begun: EpochState,
    source: device_placement.Source,
    is_active: Sequence[bool],
    advance: Callable[[int], None],
    is_asked_to_go: Callable[[], bool],
) -> EpochState:
    """Goes on with an epoch, to its end or until the call after which `is_asked_to_go`.

    Args:
      begun: what is done of it.
      source: the training samples.
      is_active: whether each member trains, or rests.
      advance: is told of steps that are done.
    """
    start = time.perf_counter()
    members = trainer.members.arrays() | {"is_active": np.asarray(is_active, np.int32)}
    members = devices.shard_members(members, trainer.mesh)
    state, sums_of_calls, num_call, num_step = begun.state, [], begun.num_call, 0
    for number, (stars, first, num) in enumerate(_calls(trainer, source, begun.number, sums_of_calls)):
        if number >= begun.num_call:
            numbers = map(np.int32, (begun.number - 1, first, num))
            state, sums = trainer.train_steps(state, members, stars, *numbers)
            sums_of_calls.append(sums)
            num_call += 1
            # The device is given one call ahead and no more, since who is to go waits for what it was given; none ahead where a
            # bar should show what is done, not what is queued.
            num_queued = 1 if progress_bar.is_terminal() else 2
            jax.block_until_ready(sums_of_calls[-num_queued:][0])
        num_step += num
        advance(num)
        if number >= begun.num_call and is_asked_to_go():
            break
    total = begun.sums or {name: np.zeros(len(is_active)) for name in SUMS}
    # One after another: in whichever parts the calls were done, the sums round alike.
    for sums in sums_of_calls:
        total = {name: total[name] + np.float64(devices.gather(sums[name])) for name in SUMS}
    seconds = begun.seconds + time.perf_counter() - start
    return EpochState(
        begun.number, state, num_call, num_step, total, seconds, is_done=num_step == trainer.num_step
    )


def _calls(trainer, source, epoch: int, sums_of_calls: list) -> Iterator[tuple]:
    """The stars, first step and number of steps of each call of an epoch.

    Into how many steps are parted does not depend on how it goes, since sums round by call.
    """
    most = min(math.ceil(trainer.num_step / MIN_CALLS), MAX_STEPS_PER_CALL)
    for stars, num_step in source.chunks(epoch - 1):
        if sums_of_calls and source.placement == "streamed":
            # This chunk was sent while the device worked on the last one; the next is to wait until that is done.
            jax.block_until_ready(sums_of_calls[-1])
        for first in range(0, num_step, most):
            yield stars, first, min(most, num_step - first)
