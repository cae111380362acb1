"""Where a version of a data set of TensorFlow Datasets (TFDS) lies, and whether its files can be believed.

Nothing of it is given to TFDS before the files are found to be as they were published, where that is known, and to name no code
that TFDS would import.
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
from starjax.runtime import environment

FEATURES, INFO = "features.json", "dataset_info.json"

_NAME = re.compile(r"(?P<name>\w+)(/(?P<config>[\w.+-]+))?(:(?P<version>[\d.]+))?")
VERSION = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}", re.ASCII)
# Names that others give to splits, by ours.
_ALSO_CALLED = {"val": "validation"}
# Features of these modules are part of TFDS; what else a file names would be imported, which runs it.
_KNOWN_FEATURES = "tensorflow_datasets.core.features."
# What array_record, protobuf and TFDS raise of files that are damaged, or of others than they take them for.
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
    """The folder of all data sets, where TFDS looks for them."""
    return Path(environment.default("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()


def version_directory(name: str) -> Path:
    """The folder of the version that `name` means; where there is none, the one it would be in.

    Raises:
      DatasetError: it is no name of a data set of TFDS.
    """
    given = name.removeprefix(TFDS)
    if given.startswith(("/", "~", ".")):
        return Path(given).expanduser()
    parts = _NAME.fullmatch(given)
    if parts is None:
        raise DatasetError(
            f"data.dataset={name!r} should be {TFDS}NAME, with /CONFIG and :VERSION (as 1.0.0) if they matter, or "
            f"{TFDS}/FOLDER/OF/THE/VERSION"
        )
    folder = data_dir() / parts["name"]
    if parts["config"]:
        folder = folder / parts["config"]
    elif len(configs := _configs(folder)) == 1 and not _versions(folder):
        folder = folder / configs[0]
    versions = _versions(folder)
    return folder / (parts["version"] or (versions[-1] if versions else ""))


def _versions(folder: Path) -> list[str]:
    """The versions in a folder, the newest last."""
    found = [path.name for path in folder.glob("*.*.*") if VERSION.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=lambda version: [int(number) for number in version.split(".")])


def _configs(folder: Path) -> list[str]:
    """The configs in a folder that have a version."""
    return sorted(path.name for path in folder.glob("*") if _versions(path))


def find_version(name: str) -> Path:
    """The folder of the version that `name` means.

    Raises:
      DatasetError: there is none, or it is not told of which config.
    """
    folder = version_directory(name)
    missing = [file for file in (FEATURES, INFO) if not (folder / file).is_file()]
    if missing:
        there = _versions(folder) or _configs(folder) or _configs(folder.parent) or _versions(folder.parent)
        choice = f" (there is {', '.join(there)})" if there and FEATURES in missing else ""
        raise DatasetError(
            f"data.dataset={name!r}: {folder} lacks {' and '.join(missing)} of a data set of TFDS{choice}: publish one there with "
            "starjax publish, set TFDS_DATA_DIR, or name another"
        )
    return folder


def digests(name: str, folder: Path, paths: Sequence[Path]) -> list[str]:
    """The SHA-256 of files, which are to be those that were published, where that is known."""
    try:
        sums = files.read_sums(folder)
    except ValueError as error:
        raise DatasetError(
            f"{folder / files.SUMS} is damaged ({error}): restore it, or remove it, and no file of the data set is checked"
        ) from error
    lost = sorted({path for path in {*paths, *sums} if not path.is_file()})
    found = [] if lost else files.sha256_of_all(paths)
    changed = [path for path, digest in zip(paths, found, strict=False) if sums and sums.get(path) != digest]
    if lost or changed:
        names = ", ".join(path.name for path in lost or changed)
        raise DatasetError(
            f"data.dataset={name!r}: {folder} {'lacks' if lost else 'was published with another'} {names}: restore it, or "
            f"publish the data set again; where that was changed on purpose, remove {folder / files.SUMS}"
        )
    return found


def package():
    """The module tensorflow_datasets, with what it reads records by.

    Raises:
      DatasetError: it is not installed.
    """
    missing = [
        one for one in ("tensorflow_datasets", "array_record") if importlib.util.find_spec(one) is None
    ]
    if missing:
        # tensorflow-datasets brings the other one on Linux only.
        mend = "'tensorflow-datasets>=4.9.10'" if "tensorflow_datasets" in missing else "array_record"
        raise DatasetError(
            f"data sets of TFDS need {' and '.join(missing)}, which is not installed: pip install {mend}"
        )
    return importlib.import_module("tensorflow_datasets")


def open_version(name: str, folder: Path):
    """The builder of TFDS for a version, which has all that the files say of it."""
    tfds = package()
    with telling(f"data.dataset={name!r}: {folder / FEATURES} or {INFO} cannot be read"):
        classes = set(_classes(files.read_json(folder / FEATURES)))
        unknown = sorted(one for one in classes if not str(one).startswith(_KNOWN_FEATURES))
        if unknown:
            raise DatasetError(
                f"{folder / FEATURES} names {unknown[0]!r:.80}, which is no feature of TFDS: nothing of it was imported"
            )
        return tfds.builder_from_directory(str(folder))


def _classes(content) -> Iterator:
    """The classes that a file of features names, wherever in it."""
    if isinstance(content, dict):
        yield from (
            value for key, value in content.items() if key in ("pythonClassName", "python_class_name")
        )
    for inner in (
        content.values() if isinstance(content, dict) else content if isinstance(content, list) else ()
    ):
        yield from _classes(inner)


@contextlib.contextmanager
def telling(what: str) -> Iterator[None]:
    """Makes errors of libraries ours, which begin with `what`."""
    try:
        yield
    except errors.StarjaxError:
        raise
    except ImportError as error:
        raise DatasetError(f"{what}: something in it is not read without {error.name}") from error
    except _DAMAGE as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DatasetError(f"{what} ({reason:.300}): restore it, or publish the data set again") from error


def splits(name: str, builder) -> dict[str, str]:
    """What each of our splits is called there."""
    there = list(builder.info.splits)
    found = {
        split: next((one for one in (split, _ALSO_CALLED.get(split)) if one in there), None)
        for split in SPLITS
    }
    missing = [split for split, one in found.items() if one is None]
    if missing:
        raise DatasetError(
            f"data.dataset={name!r} has no split {' and no '.join(missing)}; it has {', '.join(there) or 'none'}"
        )
    return found


def record_files(name: str, builder, splits: Iterable[str]) -> list[Path]:
    """The files of records of some splits."""
    with telling(f"data.dataset={name!r}: {INFO} does not say which files there are"):
        paths = [Path(path) for split in splits for path in builder.info.splits[split].filepaths]
    outside = [path for path in paths if path.parent != Path(builder.data_dir)]
    if outside:
        raise DatasetError(f"data.dataset={name!r}: {INFO} names a file in another folder, {outside[0]}")
    return paths
