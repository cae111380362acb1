"""Bundles of scalers: groups of keys, each scaled by one method; how they are fitted, written and read.

A group is scaled as one column of values, so that x, y and z share one scale.
"""

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
    """One scaler for each group of keys: `((keys, scaler), …)`."""

    groups: tuple[tuple[tuple[str, ...], scaler.Scaler], ...]

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(key for keys, _ in self.groups for key in keys)

    def of(self, key: str) -> scaler.Scaler:
        """The scaler of one key.

        Raises:
          scaler.ScalerError: no group holds the key.
        """
        for keys, fitted in self.groups:
            if key in keys:
                return fitted
        raise scaler.ScalerError(f"no scaler for {key}; there are scalers for {', '.join(self.keys)}")

    def transform(self, values, keys: Sequence[str]):
        """Physical to scaled; the last axis of `values` runs over `keys`."""
        return self._by_column(values, keys, "transform")

    def inverse(self, values, keys: Sequence[str]):
        """Scaled to physical; the last axis of `values` runs over `keys`."""
        return self._by_column(values, keys, "inverse")

    def _by_column(self, values, keys, direction):
        xp = values.__array_namespace__()
        scaled = [getattr(self.of(key), direction)(values[..., i]) for i, key in enumerate(keys)]
        return xp.stack(scaled, axis=-1)


def fit_bundle(
    values: np.ndarray, keys: Sequence[str], methods: Sequence[tuple[Sequence[str], str]]
) -> ScalerBundle:
    """Fits one scaler to each group of columns.

    Args:
      values: (n, n_key) raw training values, an array or what is sliced like one; read some rows at a time.
      methods: ((keys of the group), method) pairs. Keys that `values` does not have are left out of
        their group.

    Raises:
      scaler.ScalerError: a key of `values` is in no group or in two, or a fit fails; names the keys.
    """
    counted = [key for group, _ in methods for key in group]
    for key in keys:
        if counted.count(key) != 1:
            raise scaler.ScalerError(
                f"{key} should stand in one group of scalers, stands in {counted.count(key)}"
            )
    present = [tuple(key for key in group if key in keys) for group, _ in methods]
    with_keys = [(group, method) for group, (_, method) in zip(present, methods, strict=True) if group]
    started, fitted = {}, {}
    for group, method in with_keys:
        with _naming(group):
            started[group] = ScalerFit(method, len(values) * len(group))
    while started:
        _pass(started, values, keys)
        for group, one in list(started.items()):
            with _naming(group):
                if done := one.end_pass():
                    fitted[group] = done
                    del started[group]
    return ScalerBundle(tuple((group, fitted[group]) for group, _ in with_keys))


def _pass(started, values, keys) -> None:
    """Shows all values to all fits, a block of rows after another."""
    columns_of = {group: [keys.index(key) for key in group] for group in started}
    for rows in mapped_arrays.blocks(len(values)):
        block = values[rows]
        for group, one in started.items():
            one.add(block[:, columns_of[group]])


@contextlib.contextmanager
def _naming(group):
    """Lets errors of a fit name the keys."""
    try:
        yield
    except scaler.ScalerError as error:
        raise scaler.ScalerError(f"{', '.join(group)}: {error}") from error


def save_bundle(path: Path, bundle: ScalerBundle) -> None:
    """Writes a bundle as lists, names and numbers, which any joblib reads."""
    with files.atomic_write(path) as temporary:
        joblib.dump(to_plain(bundle), temporary)


def to_plain(bundle: ScalerBundle) -> dict:
    """A bundle as lists, names and numbers, as which it is written."""
    groups = [
        {"keys": list(keys), "method": fitted.method, "params": dict(fitted.params)}
        for keys, fitted in bundle.groups
    ]
    return {"format": FORMAT, "groups": groups}


def load_bundle(path: Path) -> ScalerBundle:
    """Reads a bundle; nothing in the file is run.

    Raises:
      FileNotFoundError: there is no such file.
      scaler.ScalerError: the file is damaged, or not a bundle.
    """
    try:
        content = unpickle.load_pickle(path, unpickle.PLAIN)
    except (OSError, unpickle.UnpickleError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise _no_bundle(path, error) from error
    return from_plain(content, path)


def from_plain(content, path: Path) -> ScalerBundle:
    """The bundle of what `to_plain` gives; anything else may stand in a file, of which nothing is believed.

    Args:
      path: the file it is from, for errors.

    Raises:
      scaler.ScalerError: it is not a bundle.
    """
    try:
        if type(content["format"]) is not int:
            raise TypeError("its format is no number")
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
                raise TypeError("keys and methods should be names")
            if fitted.method not in scaler.METHODS:
                raise scaler.ScalerError(
                    f"{path} names the unknown scaler {fitted.method!r:.80}; known are {', '.join(scaler.METHODS)}"
                )
            _check_params(fitted.params)
            fitted.transform(np.zeros(1))  # a KeyError where one of its numbers is missing
    except (ArithmeticError, LookupError, TypeError) as error:
        raise _no_bundle(path, error) from error
    return ScalerBundle(tuple(groups))


def _no_bundle(path: Path, error: Exception) -> scaler.ScalerError:
    return scaler.ScalerError(f"{path} is not a bundle of scalers ({error}): build the data set again")


def _check_params(params: dict) -> None:
    """Refuses what is no finite number, a scale of zero, and quantiles that do not rise."""
    if type(params) is not dict:
        raise TypeError("the numbers of a scaler should be a dict")
    for name, value in params.items():
        values = value if type(value) is list else [value]
        if not values or not all(type(one) in (int, float) and abs(one) < _LARGEST for one in values):
            raise TypeError(f"{name!r:.40} should be finite numbers")
        if type(value) is list and any(after < before for before, after in itertools.pairwise(values)):
            raise TypeError(f"{name!r:.40} should rise")
        if name == "scale" and 0 in values:
            raise TypeError("its scale is 0")
