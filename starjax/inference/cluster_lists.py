"""The clusters of member catalogues: one by one from files, and their features in several processes."""

import dataclasses
import glob
import hashlib
import itertools
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import joblib
import numpy as np
import pandas as pd
from astropy.table import Table

from starjax import errors
from starjax.catalogs import feature_notes, member_list
from starjax.catalogs.cluster_members import ClusterMembers
from starjax.catalogs.column_values import CatalogError
from starjax.catalogs.features import derive_features
from starjax.catalogs.stated import cluster_names
from starjax.catalogs.stated.view import View
from starjax.io import files as io_files
from starjax.io import tables
from starjax.runtime import paths

# A member catalogue: in memory, or in files (see `find_files`).
Catalog: TypeAlias = Table | pd.DataFrame | Path | str | Sequence[Path | str]
# Clusters whose features are derived, predicted and written at a time, so that memory is bounded.
PART_SIZE = 128
# Fewer clusters are derived sooner in this process than others start.
_MIN_PARALLEL = 64


@dataclasses.dataclass(frozen=True)
class ClusterList:
    """The stars of a cluster as a catalogue lists them, or why its catalogue cannot be read.

    Attributes:
      name: of the cluster.
      stars: as `member_list.read_member_list` returns them, or the error.
    """

    name: str
    stars: Table | CatalogError


@dataclasses.dataclass(frozen=True)
class OpenCatalog:
    """A catalogue in memory or in files.

    Attributes:
      files: its files; none of a table in memory.
      version: identifies its content, as JSON.
      num_expected: the number of its clusters; of several files, each of which has one or more, of files.
      clusters: its clusters, in order.
    """

    files: tuple[Path, ...]
    version: str | list
    num_expected: int
    clusters: Iterator[ClusterList]


@dataclasses.dataclass(frozen=True)
class Part:
    """The features of some clusters of a catalogue.

    Attributes:
      members: the stars of each cluster.
      refused: by cluster, the reason why it has no features.
      sources: the catalogue of each cluster of `members`: path and digest, None for a table in memory.
      notes: by cluster, which columns of its catalogue were used, in sentences.
    """

    members: dict[str, ClusterMembers]
    refused: dict[str, str]
    sources: dict[str, tuple[str, str] | None]
    notes: dict[str, tuple[str, ...]]


def find_files(catalog: Path | str | Sequence[Path | str]) -> list[Path]:
    """Return the files of a catalogue: one, all of a folder, or those of a pattern such as `lists/*.csv`.

    Raises:
      CatalogError: the folder is empty, or no file matches the pattern.
      PathError: a name is not a path.
    """
    if not isinstance(catalog, Path | str):
        found = list(dict.fromkeys(path for one in catalog for path in find_files(one)))
        if not found:
            raise CatalogError("no catalogue is given: give the name of a file, or a table")
        return found
    if catalog == "":
        raise CatalogError("the empty text names no catalogue: give the name of a file or of a folder")
    named = paths.expand(catalog) if isinstance(catalog, str) else str(catalog)
    path = member_list.find_member_list(named)
    if path.is_dir():
        found = [one for one in sorted(path.iterdir()) if one.is_file() and _may_be_list(one)]
    elif glob.has_magic(named) and not path.exists():
        found = [one for one in map(Path, sorted(glob.glob(named))) if one.is_file() and _may_be_list(one)]
    else:
        return [path]
    if not found:
        raise CatalogError(f"{named}: there are no files")
    return found


def _may_be_list(path: Path) -> bool:
    """Return whether a file of a folder may be a catalogue: no hidden file, and no description."""
    return not path.name.lower().startswith((".", "readme"))


def open_catalog(catalog: Catalog, columns: Mapping[str, str]) -> "OpenCatalog":
    """Return a catalogue whose clusters can be read; of a single file or table, they are read already.

    Args:
      catalog: a table, a file, a folder, a pattern, or several of these (see `find_files`).
      columns: as for `member_list.read_member_list`.

    Raises:
      CatalogError: the only file, or the table, cannot be used.
    """
    if isinstance(catalog, list | tuple) and not all(isinstance(one, Path | str) for one in catalog):
        raise CatalogError(
            "several files can be given by name; join several tables to one, with a column cluster"
        )
    if not isinstance(catalog, Path | str | list | tuple):
        stars = member_list.check_member_list(catalog, "the table", columns)
        return _opened((), stars)
    files = find_files(catalog)
    if len(files) == 1:
        return _opened(files, member_list.read_member_list(files[0], columns))
    version = [[str(path), *io_files.file_version(path)] for path in files]
    return OpenCatalog(tuple(files), version, len(files), _read_files(files, columns))


def _opened(files: Sequence[Path], stars: Table) -> "OpenCatalog":
    clusters = member_list.split_clusters(stars)
    each = itertools.starmap(ClusterList, clusters.items())
    return OpenCatalog(tuple(files), _digest(stars), len(clusters), each)


def _digest(stars: Table) -> str:
    """Return a digest of a catalogue in memory."""
    digest = hashlib.sha256(repr(stars.meta).encode())
    for name in stars.colnames:
        digest.update(f"{name} {stars[name].dtype}".encode())
        digest.update(np.ascontiguousarray(stars[name]).tobytes())
    return digest.hexdigest()


def _read_files(files: Sequence[Path], columns: Mapping[str, str]) -> Iterator[ClusterList]:
    """Yield the clusters of several files; those that cannot be read with the error."""
    seen: set[str] = set()
    for path in files:
        try:
            clusters = member_list.split_clusters(member_list.read_member_list(path, columns))
        except CatalogError as error:
            key = cluster_names.same_name_key(tables.stem(path))
            yield ClusterList(str(path) if key in seen else tables.stem(path), error)
            seen.add(key)
            continue
        for name, stars in clusters.items():
            key = cluster_names.same_name_key(name)
            if key in seen:
                reason = f"another file has a cluster {name}: rename one of them"
                yield ClusterList(f"{name} of {path}", CatalogError(reason))
            else:
                seen.add(key)
                yield ClusterList(name, stars)


def numbered_groups(
    clusters: Iterable[ClusterList], skip: Container[int] = ()
) -> Iterator[tuple[int, list[ClusterList]]]:
    """Yield PART_SIZE clusters at a time, with the number of the group; leave out those of `skip`."""
    clusters = iter(clusters)
    for number in itertools.count():
        group = list(itertools.islice(clusters, PART_SIZE))
        if not group:
            return
        if number not in skip:
            yield number, group


def derive_parts(
    groups: Iterable[tuple[int, list[ClusterList]]],
    keys: tuple[str, ...],
    views: Mapping[str, View],
    default: View,
) -> Iterator[tuple[int, Part]]:
    """Yield the features of groups of clusters, derived in as many processes as there are cores.

    One cluster that cannot be used does not stop the others.

    Args:
      groups: see `numbered_groups`.
      keys: the features.
      views: what is known of single clusters, by name.
      default: what is known of the others.
    """
    groups = iter(groups)
    first = next(groups, None)
    if first is None:
        return
    stated = cluster_names.StatedNames.of(views)
    own = (
        (number, group, keys, [views.get(stated.find(one.name) or "", default) for one in group])
        for number, group in itertools.chain([first], groups)
    )
    # A map of dust takes gigabytes in each process.
    if len(first[1]) < _MIN_PARALLEL or default.extinction_map is not None:
        yield from itertools.starmap(_derive, own)
    else:
        workers = joblib.Parallel(n_jobs=-1, return_as="generator", pre_dispatch="2 * n_jobs")
        yield from workers(joblib.delayed(_derive)(*arguments) for arguments in own)


def joined(parts: Sequence[Part]) -> Part:
    """Return the clusters of several parts as one."""
    return Part(
        {name: one for part in parts for name, one in part.members.items()},
        {name: one for part in parts for name, one in part.refused.items()},
        {name: one for part in parts for name, one in part.sources.items()},
        {name: one for part in parts for name, one in part.notes.items()},
    )


def _derive(
    number: int, group: Sequence[ClusterList], keys: tuple[str, ...], views: Sequence[View]
) -> tuple[int, Part]:
    """Return the features of a group of clusters."""
    members, refused, sources, notes = {}, {}, {}, {}
    for cluster, view in zip(group, views, strict=True):
        try:
            if isinstance(cluster.stars, CatalogError):
                raise cluster.stars
            members[cluster.name] = derive_features(cluster.stars, keys, view)
        except errors.StarjaxError as error:
            refused[cluster.name] = str(error)
            continue
        meta = cluster.stars.meta
        sources[cluster.name] = (meta["file"], meta["sha256"]) if "sha256" in meta else None
        notes[cluster.name] = feature_notes.describe_columns(cluster.stars)
    return number, Part(members, refused, sources, notes)
