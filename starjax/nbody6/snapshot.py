"""One snapshot of a cache: its stars, its binaries and its header, each checked as it is read."""

import numbers
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from starjax import errors

MEMBER_FLAG = "is_within_2x_r_tidal"
# Beyond it, values would be infinite in a shard.
_LARGEST = float(np.finfo(np.float32).max)


class CacheError(errors.StarjaxError):
    """A cache or a snapshot that cannot be used; the message names file, snapshot, column and reason."""


class Snapshot(NamedTuple):
    """One snapshot of a cache: its file, position [pc] (None in a raw cache), time [Myr] and content.

    As text, it names itself in messages.
    """

    path: Path
    position: tuple[float, ...] | None
    time: float
    content: dict[str, Any]

    def __str__(self):
        position = "" if self.position is None else f" at position {self.position} pc"
        return f"{self.path}: snapshot {self.time} Myr{position}"

    @property
    def stars(self) -> Any:
        """The data frame of the stars."""
        return self.content["stars"]


def check_columns(snapshot: Snapshot, keys: Sequence[str]) -> None:
    """Raise CacheError unless the stars have each of the columns exactly once."""
    present = list(snapshot.stars.columns)
    missing = [key for key in keys if key not in present]
    if missing:
        hint = (
            ""
            if snapshot.position
            else " (raw caches have no sky coordinates: leave them out of feature_keys)"
        )
        raise CacheError(f"{snapshot} has no column {', '.join(missing)} in its stars{hint}")
    repeated = [key for key in keys if present.count(key) > 1]
    if repeated:
        raise CacheError(f"{snapshot} has more than one column {', '.join(repeated)} in its stars")


def read_members(snapshot: Snapshot) -> np.ndarray:
    """Return which stars are members, (n_star,) bool."""
    check_columns(snapshot, [MEMBER_FLAG])
    is_member = snapshot.stars[MEMBER_FLAG].to_numpy()
    if is_member.dtype != bool:
        raise CacheError(
            f"{snapshot} has {is_member.dtype} values instead of booleans in column {MEMBER_FLAG}"
        )
    return is_member


def read_column(snapshot: Snapshot, key: str, is_member: np.ndarray) -> np.ndarray:
    """Return a numeric column of the members (n_member,); `check_columns` must have accepted it."""
    values = snapshot.stars[key].to_numpy()
    if values.dtype.kind not in "iuf":
        raise CacheError(f"{snapshot} has {values.dtype} values instead of numbers in column {key}")
    return values[is_member]


def read_targets(
    snapshot: Snapshot, keys: Sequence[str], lower_bounds: Mapping[str, float]
) -> tuple[list[float], float]:
    """Return the values of the header, or `time`, that the keys name, and the exact time [Myr].

    Raises:
      CacheError: a value is missing, not finite, or not greater than its bound.
    """
    # The header has the exact time, the snapshot rounds it to 0.01 Myr.
    targets = {"time": snapshot.time, **snapshot.content["header"]}
    missing = [key for key in keys if key not in targets]
    if missing:
        raise CacheError(f"{snapshot} has no {', '.join(missing)} in its header")
    for key in (*keys, "time"):
        if not is_finite(targets[key]):
            raise CacheError(f"{snapshot} has {key}={shown(targets[key])} in its header")
        # As it will be in a shard, where a tiny number is 0.
        if key in keys and np.float32(targets[key]) <= lower_bounds.get(key, -np.inf):
            raise CacheError(
                f"{snapshot} has {key}={shown(targets[key])} in its header, which should be greater than "
                f"{lower_bounds[key]:g}, since its logarithm is taken"
            )
    return [targets[key] for key in keys], targets["time"]


def is_finite(value: Any) -> bool:
    """Return whether a value is a number that is finite as float32."""
    # Not converted to a float: that fails for integers beyond its range.
    return isinstance(value, numbers.Real) and bool(-_LARGEST < cast(Any, value) < _LARGEST)


def shown(value) -> str:
    """Return a value as text for a message; only the type of containers, which may be huge."""
    is_plain = isinstance(value, str | numbers.Number) or (
        isinstance(value, tuple) and all(isinstance(one, str | numbers.Number) for one in value)
    )
    return f"{value!r:.80}" if is_plain else f"a {type(value).__name__}"
