"""Names of clusters, which catalogues write differently: NGC 2632, ngc_2632, NGC2632, NGC 0752, NGC 752."""

import re
from collections import Counter
from collections.abc import Iterable

_MAX_NAMED = 5


def match_names(listed: Iterable[str], stated: Iterable[str]) -> dict[str, str]:
    """Return for listed names the stated ones that mean the same cluster.

    Names that are equal match. Others do if they differ only in case, blanks, underscores and leading zeros,
    and if no third name does, too.
    """
    listed, stated = list(listed), list(stated)
    found = {name: name for name in listed if name in set(stated)}
    num_listed, num_stated = Counter(map(_bare, listed)), Counter(map(_bare, stated))
    by_bare = {_bare(name): name for name in stated}
    for name in listed:
        bare = _bare(name)
        if name not in found and num_listed[bare] == num_stated[bare] == 1:
            found[name] = by_bare[bare]
    return found


def _bare(name: str) -> str:
    """Return a name without what catalogues write differently."""
    # Between two numbers a blank separates.
    parted = re.sub(r"(?<=\d)[\s_]+(?=\d)", "/", name.strip().casefold())
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"[\s_]+", "", parted))


def describe_matches(
    listed: Iterable[str], stated: Iterable[str], matches: dict[str, str]
) -> tuple[str, ...]:
    """Return sentences on names that are written differently, and on clusters of which nothing is stated."""
    stated = list(stated)
    other = [f"{ours} is {theirs}" for ours, theirs in matches.items() if ours != theirs]
    absent = [name for name in listed if stated and name not in matches]
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
