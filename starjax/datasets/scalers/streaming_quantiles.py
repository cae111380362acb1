"""Exact quantiles of any number of values, which come in blocks, several times over.

The bits of a float, read as an integer, rise as the float does, once those of negative values are turned. So the
value of any rank is found digit by digit: a pass over the values counts how often each first digit occurs,
the next how often each second one does behind those first digits that are wanted, and so on. What is in
memory are the counts.
"""

from collections.abc import Sequence

import numpy as np

# Bits of a digit: the more, the fewer passes, and the larger the counts.
FEW_WANTED, DIGIT_OF_FEW, DIGIT_OF_MANY = 16, 16, 11


class Quantiles:
    """The quantiles of some levels, as numpy's with its default, linear, interpolation."""

    def __init__(self, levels: Sequence[float], num_value: int):
        position = np.asarray(levels, np.float64) * (num_value - 1)
        below = np.floor(position).astype(np.int64)
        self._fraction = position - below
        # Of each wanted value: its rank among the values that share its digits so far, and where these are counted.
        self._rank = np.concatenate([below, np.minimum(below + 1, num_value - 1)])
        self._slot = np.zeros(len(self._rank), np.int64)
        self._key = np.zeros(len(self._rank), np.uint64)
        self._digit = DIGIT_OF_FEW if len(levels) <= FEW_WANTED else DIGIT_OF_MANY
        # Of each settled digit: the next slot by slot and digit, -1 where nothing is wanted.
        self._tables: list[np.ndarray] = []
        self._counts = np.zeros(2**self._digit, np.int64)
        self._dtype: np.dtype | None = None

    def add(self, values: np.ndarray) -> None:
        """Counts a block of float32 or float64 values, of one kind in all blocks."""
        self._dtype = values.dtype
        keys = _sortable(values.ravel())
        slot = np.zeros(1, np.int64)
        for number, table in enumerate(self._tables):
            slot = table[slot, self._digit_of(keys, number)]
            wanted = np.flatnonzero(slot >= 0)
            keys, slot = keys[wanted], slot[wanted]
        place = slot * 2**self._digit + self._digit_of(keys, len(self._tables))
        np.add.at(self._counts, place, 1)

    def _digit_of(self, keys, number) -> np.ndarray:
        """The digits of a number in order; the last ones are shorter where the bits run out."""
        shift = self._shift(number)
        mask = 2 ** min(self._digit, 8 * keys.itemsize - number * self._digit) - 1
        return ((keys >> keys.dtype.type(shift)) & keys.dtype.type(mask)).astype(np.int64)

    def _shift(self, number) -> int:
        return max(8 * self._dtype.itemsize - (number + 1) * self._digit, 0)

    def end_pass(self) -> bool:
        """Settles a digit; returns whether all are."""
        counts = self._counts.reshape(-1, 2**self._digit)
        up_to = np.cumsum(counts, axis=1)
        slots = [up_to[slot] for slot in self._slot]
        pairs = zip(slots, self._rank, strict=True)
        digit = np.array([np.searchsorted(slot, rank, "right") for slot, rank in pairs])
        self._rank = self._rank - (up_to - counts)[self._slot, digit]
        number = len(self._tables)
        self._key |= digit.astype(np.uint64) << np.uint64(self._shift(number))
        places, following = np.unique(self._slot * 2**self._digit + digit, return_inverse=True)
        table = np.full(counts.size, -1, np.int64)
        table[places] = np.arange(len(places))
        self._tables.append(table.reshape(counts.shape))
        self._slot = following
        self._counts = np.zeros(len(places) * 2**self._digit, np.int64)
        return self._shift(number) == 0

    def result(self) -> np.ndarray:
        """The quantiles, float64, once all passes are done."""
        below, above = _unsorted(self._key, self._dtype).astype(np.float64).reshape(2, -1)
        gap, fraction = above - below, self._fraction
        # From the nearer end, as numpy does.
        return np.where(fraction < 0.5, below + gap * fraction, above - gap * (1 - fraction))


def _sortable(values: np.ndarray) -> np.ndarray:
    """Unsigned integers in the order of the floats."""
    bits = values.view(f"u{values.itemsize}")
    last = 8 * values.itemsize - 1
    # All ones for a negative, only the sign bit for others.
    turned = (values.view(f"i{values.itemsize}") >> last).view(bits.dtype) | bits.dtype.type(1 << last)
    return bits ^ turned


def _unsorted(keys: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The floats of `_sortable` integers."""
    keys = keys.astype(f"u{dtype.itemsize}")
    sign = keys.dtype.type(1 << (8 * dtype.itemsize - 1))
    return np.where(keys & sign, keys ^ sign, ~keys).view(dtype)
