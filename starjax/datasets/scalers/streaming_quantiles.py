"""Exact quantiles of any number of values that arrive in blocks, by a radix selection in several passes.

The bits of a float, read as an integer, increase with the float, once those of negative values are inverted.
The value of any rank is therefore found digit by digit: the first pass counts how often each first digit
occurs, the second how often each second digit follows the first digits of the wanted values, and so on. Only
the counts are in memory. (Libraries offer approximate sketches, whose results depend on the order of the
blocks.)
"""

from collections.abc import Sequence

import numpy as np

# Bits of a digit: more bits take fewer passes and larger tables of counts.
FEW_WANTED, DIGIT_OF_FEW, DIGIT_OF_MANY = 16, 16, 11


class Quantiles:
    """The quantiles at some levels, equal to numpy's with its default, linear interpolation."""

    def __init__(self, levels: Sequence[float], num_value: int):
        position = np.asarray(levels, np.float64) * (num_value - 1)
        below = np.floor(position).astype(np.int64)
        self._fraction = position - below
        # Values with the same leading digits form a group. For each wanted value: its rank in its group, the
        # number of the group, and the digits found so far.
        self._rank = np.concatenate([below, np.minimum(below + 1, num_value - 1)])
        self._group = np.zeros(len(self._rank), np.int64)
        self._key = np.zeros(len(self._rank), np.uint64)
        self._digit = DIGIT_OF_FEW if len(levels) <= FEW_WANTED else DIGIT_OF_MANY
        # For each digit found: the next group, by group and digit; -1 if it contains no wanted value.
        self._tables: list[np.ndarray] = []
        self._counts = np.zeros(2**self._digit, np.int64)
        self._dtype: np.dtype = np.dtype(np.float64)  # until the first block

    def add(self, values: np.ndarray) -> None:
        """Count a block of float32 or float64 values, of the same dtype in all blocks."""
        self._dtype = values.dtype
        keys = _sortable(values.ravel())
        group = np.zeros(1, np.int64)
        for number, table in enumerate(self._tables):
            group = table[group, self._digit_of(keys, number)]
            wanted = np.flatnonzero(group >= 0)
            keys, group = keys[wanted], group[wanted]
        np.add.at(self._counts, group * 2**self._digit + self._digit_of(keys, len(self._tables)), 1)

    def _digit_of(self, keys, number) -> np.ndarray:
        """Return the digit of an index, counted from the front; the last one has fewer bits."""
        shift = self._shift(number)
        mask = 2 ** min(self._digit, 8 * keys.itemsize - number * self._digit) - 1
        return ((keys >> keys.dtype.type(shift)) & keys.dtype.type(mask)).astype(np.int64)

    def _shift(self, number) -> int:
        return max(8 * self._dtype.itemsize - (number + 1) * self._digit, 0)

    def end_pass(self) -> bool:
        """Find the next digit of each wanted value; return whether it was the last one."""
        counts = self._counts.reshape(-1, 2**self._digit)
        cumulative = np.cumsum(counts, axis=1)
        pairs = zip(self._group, self._rank, strict=True)
        digit = np.array([np.searchsorted(cumulative[group], rank, "right") for group, rank in pairs])
        self._rank = self._rank - (cumulative - counts)[self._group, digit]
        number = len(self._tables)
        self._key |= digit.astype(np.uint64) << np.uint64(self._shift(number))
        found, following = np.unique(self._group * 2**self._digit + digit, return_inverse=True)
        table = np.full(counts.size, -1, np.int64)
        table[found] = np.arange(len(found))
        self._tables.append(table.reshape(counts.shape))
        self._group = following
        self._counts = np.zeros(len(found) * 2**self._digit, np.int64)
        return self._shift(number) == 0

    def result(self) -> np.ndarray:
        """Return the quantiles, float64, after the last pass."""
        below, above = _unsorted(self._key, self._dtype).astype(np.float64).reshape(2, -1)
        gap, fraction = above - below, self._fraction
        # Interpolated from the nearer end, as numpy does, so that the rounding is the same.
        return np.where(fraction < 0.5, below + gap * fraction, above - gap * (1 - fraction))


def _sortable(values: np.ndarray) -> np.ndarray:
    """Return unsigned integers in the same order as the floats."""
    bits = values.view(f"u{values.itemsize}")
    last = 8 * values.itemsize - 1
    # All bits of negative values are inverted, only the sign bit of others.
    mask = (values.view(f"i{values.itemsize}") >> last).view(bits.dtype) | bits.dtype.type(1 << last)
    return bits ^ mask


def _unsorted(keys: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Invert `_sortable`."""
    keys = keys.astype(f"u{dtype.itemsize}")
    sign = keys.dtype.type(1 << (8 * dtype.itemsize - 1))
    return np.where(keys & sign, keys ^ sign, ~keys).view(dtype)
