"""Names of clusters, which catalogues write differently: NGC 2632, ngc_2632, NGC2632, NGC 0752, NGC 752."""

import dataclasses
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

_MAX_NAMED = 5


@dataclasses.dataclass(frozen=True)
class StatedNames:
    """The clusters of which something is stated.

    Attributes:
      names: their names.
      by_bare: the names by what is the same in all spellings, where only one is.
    """

    names: frozenset[str]
    by_bare: Mapping[str, str]

    @classmethod
    def of(cls, names: Iterable[str]) -> "StatedNames":
        """Return the index of names."""
        names = list(names)
        num = Counter(map(_bare, names))
        return cls(frozenset(names), {_bare(name): name for name in names if num[_bare(name)] == 1})

    def find(self, listed: str) -> str | None:
        """Return the name that means the same cluster as that of a list; None if there is none.

        Names that are equal match. Others do if they differ only in case, blanks, underscores and leading
        zeros, and if no third name does, too.
        """
        return listed if listed in self.names else self.by_bare.get(_bare(listed))


def match_names(listed: Iterable[str], stated: Iterable[str]) -> dict[str, str | None]:
    """Return for each listed name the stated one that means the same cluster, or None."""
    found = StatedNames.of(stated)
    return {name: found.find(name) for name in listed}


def _bare(name: str) -> str:
    """Return a name without what catalogues write differently."""
    # Between two numbers a blank separates.
    parted = re.sub(r"(?<=\d)[\s_]+(?=\d)", "/", name.strip().casefold())
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"[\s_]+", "", parted))


def describe_matches(matches: Mapping[str, str | None], stated: Collection[str]) -> tuple[str, ...]:
    """Return sentences on names that are written differently, and on clusters of which nothing is stated."""
    other = [f"{ours} is {theirs}" for ours, theirs in matches.items() if theirs not in (ours, None)]
    absent = [name for name, theirs in matches.items() if stated and theirs is None]
    notes = []
    if other:
        notes.append(f"Clusters under other names in the table of clusters: {_shortened(other)}.")
    if absent:
        notes.append(f"Not in the table of clusters: {_shortened(absent)}.")
    return tuple(notes)


def describe_unmatched(names: Iterable[str]) -> str:
    """Return a sentence on clusters that are described but have no stars; empty if there are none."""
    names = list(names)
    if not names:
        return ""
    return (
        f"The catalogue has no cluster {_shortened(names)}: what is stated of it was not used. A list "
        "without a column cluster is one cluster, named as its file."
    )


def _shortened(names: list[str]) -> str:
    """Return the first of many names."""
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return f"{', '.join(names[:_MAX_NAMED])}{more}"
