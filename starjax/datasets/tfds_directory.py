"""Data sets of TensorFlow Datasets (TFDS) on disk: find the directory of a version, and verify its files.

TFDS gets to read a file only after it has been verified against the published digests, if there are any, and
after a check that it names no code that TFDS would import.
"""

import contextlib
import importlib
import importlib.util
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from google.protobuf import json_format, message

from starjax import errors
from starjax.datasets.dataset import TFDS, DatasetError
from starjax.datasets.split_manifest import SPLITS
from starjax.io import files
from starjax.runtime import environment, paths

FEATURES, INFO = "features.json", "dataset_info.json"

_NAME = re.compile(r"(?P<name>\w+)(/(?P<config>[\w.+-]+))?(:(?P<version>[\d.]+))?")
VERSION = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}", re.ASCII)
# Other common names of splits.
_ALIASES = {"val": "validation"}
# Features of this package belong to TFDS. TFDS would import, and thereby run, any other module that a file
# names.
_KNOWN_FEATURES = "tensorflow_datasets.core.features."
# What array_record, protobuf and TFDS raise for damaged or unexpected files.
_DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    json_format.Error,
    message.Error,
)


def data_dir() -> Path:
    """Return the folder where TFDS looks for data sets."""
    return Path(environment.default("TFDS_DATA_DIR", "~/tensorflow_datasets"))


def version_directory(name: str) -> Path:
    """Return the directory of the version that `name` means, whether it exists or not.

    Raises:
      DatasetError: it is not the name of a data set of TFDS.
    """
    given = name.removeprefix(TFDS)
    # No name of a data set begins like this.
    if given.startswith(("/", "~", ".")):
        return Path(paths.expand(given))
    parts = _NAME.fullmatch(given)
    if parts is None:
        raise DatasetError(
            f"data.dataset={name!r} should be {TFDS}NAME, if needed with /CONFIG and :VERSION (such as "
            f"1.0.0), or {TFDS}/DIRECTORY/OF/THE/VERSION"
        )
    folder = data_dir() / parts["name"]
    if parts["config"]:
        folder = folder / parts["config"]
    elif len(configs := _configs(folder)) == 1 and not _versions(folder):
        folder = folder / configs[0]
    versions = _versions(folder)
    return folder / (parts["version"] or (versions[-1] if versions else ""))


def _versions(folder: Path) -> list[str]:
    """Return the versions in a folder, the newest last."""
    found = [path.name for path in folder.glob("*.*.*") if VERSION.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=lambda version: [int(number) for number in version.split(".")])


def _configs(folder: Path) -> list[str]:
    """Return the configs in a folder that have a version."""
    return sorted(path.name for path in folder.glob("*") if _versions(path))


def find_version(name: str) -> Path:
    """Return the existing directory of the version that `name` means.

    Raises:
      DatasetError: it does not exist, or there are several configs to choose from.
    """
    folder = version_directory(name)
    missing = [file for file in (FEATURES, INFO) if not (folder / file).is_file()]
    if missing:
        choices = _versions(folder) or _configs(folder) or _configs(folder.parent) or _versions(folder.parent)
        choice = f" (there is {', '.join(choices)})" if choices and FEATURES in missing else ""
        raise DatasetError(
            f"data.dataset={name!r}: {folder} lacks {' and '.join(missing)} of a data set of TFDS{choice}: "
            "publish one there with starjax publish, set TFDS_DATA_DIR, or name another"
        )
    return folder


def verified_digests(name: str, folder: Path, paths: Sequence[Path]) -> list[str]:
    """Return the SHA-256 digests of files.

    Raises:
      DatasetError: a digest differs from the published one, or a file is missing.
    """
    try:
        sums = files.read_sums(folder)
    except ValueError as error:
        raise DatasetError(
            f"{folder / files.SUMS} is damaged ({error}): restore it; or remove it, and no file of the data "
            "set is verified"
        ) from error
    # All published files have to be there, also those that are not read now.
    lost = sorted({path for path in {*paths, *sums} if not path.is_file()})
    found = [] if lost else files.sha256_of_all(paths)
    changed = [path for path, digest in zip(paths, found, strict=False) if sums and sums.get(path) != digest]
    if lost or changed:
        names = ", ".join(path.name for path in lost or changed)
        raise DatasetError(
            f"data.dataset={name!r}: {folder} {'lacks' if lost else 'was published with another'} {names}: "
            "restore it, or publish the data set again; if it was changed on purpose, remove "
            f"{folder / files.SUMS}"
        )
    return found


def import_tfds():
    """Import tensorflow_datasets, which is slow.

    Raises:
      DatasetError: it is not installed, or array_record is not, which reads the records.
    """
    missing = [
        package
        for package in ("tensorflow_datasets", "array_record")
        if importlib.util.find_spec(package) is None
    ]
    if missing:
        # tensorflow-datasets depends on array_record on Linux only.
        needed = "'tensorflow-datasets>=4.9.10'" if "tensorflow_datasets" in missing else "array_record"
        raise DatasetError(
            f"data sets of TFDS need {' and '.join(missing)}, which is not installed: pip install {needed}"
        )
    return importlib.import_module("tensorflow_datasets")


def open_version(name: str, folder: Path):
    """Return the builder of TFDS for a version, which gives access to its description and its records."""
    tfds = import_tfds()
    with translated_errors(f"data.dataset={name!r}: {folder / FEATURES} or {INFO} cannot be read"):
        classes = set(_class_names(files.read_json(folder / FEATURES)))
        unknown = sorted(one for one in classes if not str(one).startswith(_KNOWN_FEATURES))
        if unknown:
            raise DatasetError(
                f"{folder / FEATURES} names {unknown[0]!r:.80}, which is not a feature of TFDS: nothing was "
                "imported"
            )
        return tfds.builder_from_directory(str(folder))


def _class_names(content) -> Iterator:
    """Yield the classes named anywhere in the content of a file of features."""
    if isinstance(content, dict):
        for key, value in content.items():
            if key in ("pythonClassName", "python_class_name"):
                yield value
            yield from _class_names(value)
    elif isinstance(content, list):
        for value in content:
            yield from _class_names(value)


@contextlib.contextmanager
def translated_errors(what: str) -> Iterator[None]:
    """Raise errors of the libraries as DatasetError, with a message that begins with `what`."""
    try:
        yield
    except errors.StarjaxError:
        raise
    except ImportError as error:
        raise DatasetError(f"{what}: {error.name} is needed to read it, and cannot be imported") from error
    except _DAMAGE as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DatasetError(f"{what} ({reason:.300}): restore it, or publish the data set again") from error


def find_splits(name: str, builder) -> dict[str, str]:
    """Return the data set's name of each of train, val and test."""
    available = list(builder.info.splits)
    found = {
        split: alias
        for split in SPLITS
        for alias in (_ALIASES.get(split, split), split)  # the latter counts
        if alias in available
    }
    missing = [split for split in SPLITS if split not in found]
    if missing:
        raise DatasetError(
            f"data.dataset={name!r} has no split {' and no '.join(missing)}; it has "
            f"{', '.join(available) or 'none'}"
        )
    return found


def record_files(name: str, builder, splits: Iterable[str]) -> list[Path]:
    """Return the files of records of some splits, which must be in the directory of the version."""
    with translated_errors(f"data.dataset={name!r}: {INFO} does not list the files of the splits"):
        paths = [Path(path) for split in splits for path in builder.info.splits[split].filepaths]
    # A file elsewhere would escape the digests of this directory.
    outside = [path for path in paths if path.parent != Path(builder.data_dir)]
    if outside:
        raise DatasetError(f"data.dataset={name!r}: {INFO} names a file in another folder, {outside[0]}")
    return paths
