"""Bundles of scalers: one scaler for each group of columns, such as x, y and z, which share one scale."""

import contextlib
import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

import joblib
import numpy as np

from starjax.datasets import mapped_arrays
from starjax.datasets.scalers import scaler
from starjax.datasets.scalers.fit import ScalerFit
from starjax.io import files, unpickle

FORMAT = 1
_LARGEST = float(np.finfo(np.float64).max)


@dataclasses.dataclass(frozen=True)
class ScalerBundle:
    """One scaler for each group of columns.

    Attributes:
      groups: ((keys, scaler), …).
    """

    groups: tuple[tuple[tuple[str, ...], scaler.Scaler], ...]

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(key for keys, _ in self.groups for key in keys)

    def of(self, key: str) -> scaler.Scaler:
        """Return the scaler of one column.

        Raises:
          scaler.ScalerError: no group contains the column.
        """
        for keys, fitted in self.groups:
            if key in keys:
                return fitted
        raise scaler.ScalerError(f"no scaler for {key}; there are scalers for {', '.join(self.keys)}")

    def transform(self, values, keys: Sequence[str]):
        """Scale physical values; the last axis of `values` runs over `keys`."""
        return self._by_column(values, keys, "transform")

    def inverse(self, values, keys: Sequence[str]):
        """Return scaled values to physical units; the last axis of `values` runs over `keys`."""
        return self._by_column(values, keys, "inverse")

    def _by_column(self, values, keys, direction):
        xp = values.__array_namespace__()
        scaled = [getattr(self.of(key), direction)(values[..., i]) for i, key in enumerate(keys)]
        return xp.stack(scaled, axis=-1)


def fit_bundle(
    values: np.ndarray, keys: Sequence[str], methods: Sequence[tuple[Sequence[str], str]]
) -> ScalerBundle:
    """Fit one scaler to each group of columns.

    Args:
      values: (n, n_key) raw training values, an array or something that can be sliced like one; read in
        blocks of rows.
      keys: names of the columns.
      methods: (keys of the group, method) pairs. Keys that `values` does not have are ignored.

    Raises:
      scaler.ScalerError: a column is in no group or in two, or a fit fails; names the columns.
    """
    counted = [key for group, _ in methods for key in group]
    for key in keys:
        if counted.count(key) != 1:
            raise scaler.ScalerError(f"{key} should be in one group of scalers, is in {counted.count(key)}")
    present = [tuple(key for key in group if key in keys) for group, _ in methods]
    nonempty = [(group, method) for group, (_, method) in zip(present, methods, strict=True) if group]
    fits, fitted = {}, {}
    for group, method in nonempty:
        with _naming(group):
            fits[group] = ScalerFit(method, len(values) * len(group))
    # All fits share the passes over the values, and each drops out as soon as it is done.
    while fits:
        _pass(fits, values, keys)
        for group, fit in list(fits.items()):
            with _naming(group):
                if done := fit.end_pass():
                    fitted[group] = done
                    del fits[group]
    return ScalerBundle(tuple((group, fitted[group]) for group, _ in nonempty))


def _pass(fits: dict[tuple, ScalerFit], values, keys) -> None:
    """Add all values to all fits, block by block."""
    columns_of = {group: [keys.index(key) for key in group] for group in fits}
    for rows in mapped_arrays.blocks(len(values)):
        block = values[rows]
        for group, fit in fits.items():
            fit.add(block[:, columns_of[group]])


@contextlib.contextmanager
def _naming(group):
    """Prepend the names of the columns to errors of a fit."""
    try:
        yield
    except scaler.ScalerError as error:
        raise scaler.ScalerError(f"{', '.join(group)}: {error}") from error


def save_bundle(path: Path, bundle: ScalerBundle) -> None:
    """Write a bundle as builtin types, which any version of joblib can read."""
    with files.atomic_write(path) as temporary:
        joblib.dump(to_plain(bundle), temporary)


def to_plain(bundle: ScalerBundle) -> dict:
    """Return a bundle as builtin types, in the format of its file."""
    groups = [
        {"keys": list(keys), "method": fitted.method, "params": dict(fitted.params)}
        for keys, fitted in bundle.groups
    ]
    return {"format": FORMAT, "groups": groups}


def load_bundle(path: Path) -> ScalerBundle:
    """Read a bundle, without running code from the file.

    Raises:
      FileNotFoundError: the file does not exist.
      scaler.ScalerError: the file is damaged, or not a bundle.
    """
    try:
        content = unpickle.load_pickle(path, unpickle.PLAIN)
    except (OSError, unpickle.UnpickleError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise _not_a_bundle(path, error) from error
    return from_plain(content, path)


def from_plain(content, path: Path) -> ScalerBundle:
    """Return the bundle from the result of `to_plain`, trusting nothing in `content`.

    Args:
      path: the file of the content, for errors.

    Raises:
      scaler.ScalerError: it is not a bundle.
    """
    try:
        if type(content["format"]) is not int:
            raise TypeError("its format is not a number")
        if content["format"] != FORMAT:
            raise scaler.ScalerError(f"{path} has format {content['format']}; this version reads {FORMAT}")
        groups = [
            (tuple(group["keys"]), scaler.Scaler(group["method"], group["params"]))
            for group in content["groups"]
        ]
        if not all(type(group["keys"]) is list for group in content["groups"]):
            raise TypeError("the keys of a group should be a list")
        for keys, fitted in groups:
            if not all(isinstance(name, str) for name in (*keys, fitted.method)):
                raise TypeError("keys and methods should be text")
            if fitted.method not in scaler.METHODS:
                raise scaler.ScalerError(
                    f"{path} names the unknown scaler {fitted.method!r:.80}; known are "
                    f"{', '.join(scaler.METHODS)}"
                )
            _check_params(fitted.params)
            fitted.transform(np.zeros(1))  # raises KeyError if a parameter is missing
    except (ArithmeticError, LookupError, TypeError) as error:
        raise _not_a_bundle(path, error) from error
    return ScalerBundle(tuple(groups))


def _not_a_bundle(path: Path, error: Exception) -> scaler.ScalerError:
    return scaler.ScalerError(f"{path} is not a bundle of scalers ({error}): build the data set again")


def _check_params(params: dict) -> None:
    """Raise TypeError unless they are finite numbers, the scale not 0, and quantiles an increasing list."""
    if type(params) is not dict:
        raise TypeError("the parameters of a scaler should be a dict")
    for name, value in params.items():
        if (type(value) is list) != (name == "quantiles"):
            raise TypeError(f"{name!r:.40} should be {'a list' if name == 'quantiles' else 'a number'}")
        values = value if type(value) is list else [value]
        # An int of any size is finite, but may be too large for a float.
        if not values or not all(type(one) in (int, float) and abs(one) < _LARGEST for one in values):
            raise TypeError(f"{name!r:.40} should be finite numbers")
        # Equal ones are allowed: many values may be the same.
        if type(value) is list and any(after < before for before, after in itertools.pairwise(values)):
            raise TypeError(f"{name!r:.40} should increase")
        if name == "scale" and 0 in values:
            raise TypeError("its scale is 0")
