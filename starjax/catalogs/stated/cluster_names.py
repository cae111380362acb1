"""Names of clusters, which catalogues write differently: NGC 2632, ngc_2632, NGC2632, NGC 0752, NGC 752."""

import dataclasses
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

import pandas as pd
from astropy.table import Column

from starjax import errors, quantities
from starjax.io import tables

# Columns that may name clusters, about which a catalogue is asked.
PERHAPS_CLUSTERS = (
    *("name", "oc", "cl", "group", "label", "labels", "object", "association"),
    *("cluster_id", "clusterid", "id_cluster", "cluster_label"),
)


def shared_texts(column: Column) -> pd.Series:
    """Return the texts of a column if many stars share each, as they do names of clusters; else none."""
    texts = pd.Series([str(value).strip().lower() for value in column])
    given = texts[~texts.isin(tables.MISSING)]
    return given if len(given) >= quantities.MIN_STARS * given.nunique() else given[:0]


def same_name_key(name: str) -> str:
    """Return what all spellings of the name of a cluster share: NGC 752, ngc_0752, NGC0752.

    Case, blanks, underscores, and zeros before a number that follows letters or a blank do not count. A blank
    between two digits separates numbers. After a point or a hyphen zeros count: UBC 1-05 is not UBC 1-5.
    """
    blanks = re.sub(r"[\s_]+", " ", name.strip().casefold())
    # Letters are what is neither a digit nor anything else.
    without_zeros = re.sub(r"(?<=[^\W\d]|\s)0+(?=\d)", "", blanks)
    return re.sub(r"(?<!\d) | (?!\d)", "", without_zeros)


@dataclasses.dataclass(frozen=True)
class StatedNames:
    """The clusters of which something is stated.

    Attributes:
      names: their names.
      by_key: the names by what is the same in all spellings, where only one is.
    """

    names: frozenset[str]
    by_key: Mapping[str, str]

    @classmethod
    def of(cls, names: Iterable[str]) -> "StatedNames":
        """Return the index of names."""
        names = list(names)
        keys = [same_name_key(name) for name in names]
        num = Counter(keys)
        by_key = {key: name for key, name in zip(keys, names, strict=True) if num[key] == 1}
        return cls(frozenset(names), by_key)

    def find(self, listed: str) -> str | None:
        """Return the name that means the same cluster as that of a list; None if there is none.

        Names that are equal match. Others do if they are spellings of one name (see `same_name_key`), and if
        no third name is another.
        """
        return listed if listed in self.names else self.by_key.get(same_name_key(listed))


def match_names(listed: Iterable[str], stated: Iterable[str]) -> dict[str, str | None]:
    """Return for each listed name the stated one that means the same cluster, or None."""
    found = StatedNames.of(stated)
    return {name: found.find(name) for name in listed}


def describe_matches(matches: Mapping[str, str | None], stated: Collection[str]) -> tuple[str, ...]:
    """Return sentences on names that are written differently, and on clusters of which nothing is stated."""
    other = [f"{ours} is {theirs}" for ours, theirs in matches.items() if theirs not in (ours, None)]
    absent = [name for name, theirs in matches.items() if stated and theirs is None]
    notes = []
    if other:
        notes.append(f"Clusters under other names in the table of clusters: {errors.first_of(other)}.")
    if absent:
        notes.append(f"Not in the table of clusters: {errors.first_of(absent)}.")
    return tuple(notes)


def describe_unmatched(names: Iterable[str]) -> str:
    """Return a sentence on clusters that are described but have no stars; empty if there are none."""
    names = list(names)
    if not names:
        return ""
    return (
        f"The catalogue has no cluster {errors.first_of(names)}: what is stated of it was not used. A list "
        "without a column cluster is one cluster, named as its file."
    )
