"""Bundles of scalers: groups of keys, each scaled by one method; how they are fitted, written and read.

A group is scaled as one column of values, so that x, y and z share one scale.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import joblib
import numpy as np

from starjax import files
from starjax.data import scaler, unpickle

FORMAT = 1


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
        columns = [getattr(self.of(key), direction)(values[..., i]) for i, key in enumerate(keys)]
        return xp.stack(columns, axis=-1)


def fit(
    values: np.ndarray, keys: Sequence[str], methods: Sequence[tuple[Sequence[str], str]]
) -> ScalerBundle:
    """Fits one scaler to each group of columns.

    Args:
      values: (n, n_key) raw training values.
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
    groups = []
    for group, method in methods:
        present = tuple(key for key in group if key in keys)
        if present:
            try:
                # Stacked straight into float64: one copy, where indexing and casting would make two.
                columns = [values[:, keys.index(key)] for key in present]
                fitted = scaler.fit(method, np.stack(columns, axis=-1, dtype=np.float64))
            except scaler.ScalerError as error:
                raise scaler.ScalerError(f"{', '.join(present)}: {error}") from error
            groups.append((present, fitted))
    return ScalerBundle(tuple(groups))


def save(path: Path, bundle: ScalerBundle) -> None:
    """Writes a bundle as lists, names and numbers, which any joblib reads."""
    groups = [
        {"keys": list(keys), "method": fitted.method, "params": dict(fitted.params)}
        for keys, fitted in bundle.groups
    ]
    with files.written_whole(path) as temporary:
        joblib.dump({"format": FORMAT, "groups": groups}, temporary)


def load(path: Path) -> ScalerBundle:
    """Reads a bundle; nothing in the file is run.

    Raises:
      FileNotFoundError: there is no such file.
      scaler.ScalerError: the file is damaged, or not a bundle.
    """
    try:
        content = unpickle.load(path, unpickle.PLAIN)
        if content["format"] != FORMAT:
            raise scaler.ScalerError(f"{path} has format {content['format']}; this version reads {FORMAT}")
        groups = [
            (tuple(group["keys"]), scaler.Scaler(group["method"], group["params"]))
            for group in content["groups"]
        ]
        for _, fitted in groups:
            if fitted.method not in scaler.METHODS:
                raise scaler.ScalerError(
                    f"{path} names the unknown scaler {fitted.method!r}; known are {', '.join(scaler.METHODS)}"
                )
            fitted.transform(np.zeros(1))  # a KeyError where one of its numbers is missing
    except (unpickle.UnpickleError, KeyError, TypeError) as error:
        raise scaler.ScalerError(
            f"{path} is not a bundle of scalers ({error}): build the data set again"
        ) from error
    return ScalerBundle(tuple(groups))
