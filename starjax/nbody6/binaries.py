"""Binaries of a snapshot: which star is the companion of which, and their order in a data set.

A pair is two stars that are the two objects of a row of `binary_systems` by name. Of a hierarchical triple
that is the inner pair; the third star, whose companion is a pair, counts as single. So does a star whose
companion is not a member.

Raw caches list both stars of every pair, at the position and velocity of their centre of mass. Obs caches
list one photocentre instead, named like `pair`, where the observer cannot resolve the two: those have no
components.
"""

import numbers
from typing import Any, NamedTuple

import numpy as np

from starjax.nbody6.snapshot import CacheError, Snapshot, check_columns, shown

# Of `binary_systems`: the names of the pair and of its two objects, and the semi-major axis [AU].
_PAIR, _OBJECTS, _SEMI_MAJOR_AXIS = "pair", ("obj1_name", "obj2_name"), "semi"


class Pairs(NamedTuple):
    """The pairs among the stars of a snapshot.

    Attributes:
      partner: row of the companion, -1 for single stars (n_star,).
      semi_major_axis_au: of the orbit, 0 for single stars (n_star,).
    """

    partner: np.ndarray
    semi_major_axis_au: np.ndarray


def find_pairs(snapshot: Snapshot, is_member: np.ndarray) -> Pairs:
    """Return the pairs among the members of a snapshot.

    Raises:
      CacheError: the cache has only the photocentre of a pair, or contradicts itself.
    """
    check_columns(snapshot, ["name"])
    names = _read_names(snapshot, snapshot.stars["name"].to_numpy()[is_member], "name")
    row = {name: i for i, name in enumerate(names)}
    if len(row) < len(names):
        raise CacheError(f"{snapshot} has two stars of one name")
    pairs = Pairs(np.full(len(names), -1), np.zeros(len(names)))
    systems = _read_systems(snapshot)
    if not len(systems):
        return pairs
    photocentres = row.keys() & set(_read_names(snapshot, systems[_PAIR].to_numpy(), _PAIR))
    if photocentres:
        shortest = min(map(str, photocentres), key=len)
        raise CacheError(
            f"{snapshot} has only the photocentres of {len(photocentres)} unresolved binaries, such as "
            f"{shortest:.80}, but companion and semi_major_axis_au need both stars: name a folder with raw "
            "caches (RUN_ID-raw.joblib) in config.caches, which list them"
        )
    first, second = (
        np.array([row.get(name, -1) for name in _read_names(snapshot, systems[key].to_numpy(), key)])
        for key in _OBJECTS
    )
    is_inside = (first >= 0) & (second >= 0)
    first, second = first[is_inside], second[is_inside]
    semi_major_axis = _read_semi_major_axes(snapshot, systems)[is_inside]
    if len(np.unique([first, second])) < 2 * len(first):
        raise CacheError(f"{snapshot} has a star in two of its binary_systems")
    if not ((semi_major_axis > 0) & (semi_major_axis < np.inf)).all():
        raise CacheError(f"{snapshot} has a {_SEMI_MAJOR_AXIS} in its binary_systems that is not positive")
    pairs.partner[first], pairs.partner[second] = second, first
    pairs.semi_major_axis_au[first] = pairs.semi_major_axis_au[second] = semi_major_axis
    return pairs


def order_pairs(partner: np.ndarray, magnitude: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return an order of the stars in which the fainter star of a pair follows the brighter one.

    A pair takes the place of the first of its stars; equally bright stars keep their order.

    Args:
      partner: row of the companion, -1 for single stars (n_star,).
      magnitude: (n_star,).

    Returns:
      The rows in their new order; in that order, 1 for the brighter star of a pair, -1 for the fainter, 0 for
      single stars.
    """
    row, is_paired = np.arange(len(partner)), partner >= 0
    is_fainter = is_paired & (
        (magnitude > magnitude[partner]) | ((magnitude == magnitude[partner]) & (row > partner))
    )
    order = np.lexsort((is_fainter, np.where(is_paired, np.minimum(row, partner), row)))
    return order, np.where(is_fainter, -1, np.where(is_paired, 1, 0))[order]


def _read_systems(snapshot: Snapshot) -> Any:
    """Return the data frame `binary_systems`."""
    import pandas as pd  # slow to import, and not needed by a process that only lists caches

    systems = snapshot.content.get("binary_systems")
    if not isinstance(systems, pd.DataFrame):
        raise CacheError(
            f"{snapshot} should have a DataFrame as binary_systems for companion and semi_major_axis_au, has "
            f"{type(systems).__name__}"
        )
    # Without rows it may have no columns.
    for key in (_PAIR, *_OBJECTS, _SEMI_MAJOR_AXIS) if len(systems) else ():
        if list(systems.columns).count(key) != 1:
            raise CacheError(f"{snapshot} should have one column {key} in its binary_systems")
    return systems


def _read_names(snapshot: Snapshot, names: np.ndarray, key: str) -> list[int | str]:
    """Return names: numbers of stars, or text for pairs."""
    listed = names.tolist()
    for name in listed:
        if not isinstance(name, numbers.Integral | str):
            raise CacheError(f"{snapshot} has {shown(name)} instead of a name in column {key}")
    return listed


def _read_semi_major_axes(snapshot: Snapshot, systems) -> np.ndarray:
    values = systems[_SEMI_MAJOR_AXIS].to_numpy()
    if values.dtype.kind not in "iuf":
        raise CacheError(
            f"{snapshot} has {values.dtype} values instead of numbers in column {_SEMI_MAJOR_AXIS} of its "
            "binary_systems"
        )
    return values
