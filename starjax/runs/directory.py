"""The run directory: its location, its files, and the record that describes the run."""

import dataclasses
import socket
import time
from pathlib import Path

from ml_collections import ConfigDict

from starjax import errors, quantities
from starjax.datasets.dataset import BUNDLES, Dataset
from starjax.datasets.scalers import bundle
from starjax.io import files
from starjax.runs.config_record import config_digest, config_to_record
from starjax.runtime import environment

# Format of the record and of the files beside it; other formats are refused.
FORMAT = 9
# File servers let clients believe for some time that a file which another client has made does not exist: NFS
# by default for up to 60 s.
_SECONDS_UNTIL_VISIBLE = 90
NOT_SHARED = "config.output_base (OUTPUT_BASE) should be a folder that all of them share"


class RunDirectoryError(errors.StarjaxError):
    """A run directory that cannot be used, or that contains another run."""


class _Entry:
    """The path of a file or folder of a run directory; `{name}` is replaced by the name of the directory."""

    def __init__(self, name: str):
        self._name = name

    def __get__(self, run_dir: "RunDirectory", _) -> Path:
        return run_dir.path / self._name.format(name=run_dir.name)


@dataclasses.dataclass(frozen=True)
class RunDirectory:
    """A run directory and the paths of its files."""

    path: Path

    config = _Entry("config.json")
    metrics = _Entry("metrics.csv")
    timing = _Entry("timing.csv")
    events = _Entry("tensorboard")
    checkpoints = _Entry("checkpoints")
    interrupted = _Entry("interrupted")
    profile = _Entry("profile")
    # Results. The test metrics are written last: a run is finished once they exist.
    members = _Entry("members.csv")
    test_table = _Entry("{name}-test.parquet")
    test_table_of_members = _Entry("{name}-test-members.parquet")
    snapshots = _Entry("{name}-test-snapshots.parquet")
    calibration = _Entry("calibration.json")
    coverage = _Entry("coverage.csv")
    training_set = _Entry("training_set.npz")
    figures = _Entry("figures")
    test_metrics = _Entry("test_metrics.json")
    # Of a packaged model: its best parameters, instead of checkpoints, and its card.
    params = _Entry("params.npz")
    card = _Entry("README.md")

    @property
    def name(self) -> str:
        return self.path.name

    def fold(self, number: int) -> "RunDirectory":
        """Return the directory of the run whose members leave out a fold."""
        return RunDirectory(self.path / f"fold-{number}")

    @property
    def whole(self) -> "RunDirectory | None":
        """The directory of the run that this one is a fold of; None if it is not a fold."""
        parent = RunDirectory(self.path.parent)
        return parent if self.name.startswith("fold-") and parent.config.exists() else None

    @property
    def best_member(self) -> "RunDirectory":
        """The directory of the best member of a sweep, as a run of its own."""
        return RunDirectory(self.path.with_name(f"{self.name}-best"))


def locate_run(config: ConfigDict) -> RunDirectory:
    """Return the directory of the run that `config` describes.

    With `config.resume=False` it is the first of `<name>`, `<name>-2`, `<name>-3` … that does not exist.
    """
    named = quantities.sets("target")
    targets = "+".join(quantities.set_name((key,), named) for key in config.data.target_keys)
    name = config.name or f"{config.model.name}-{targets}-{config_digest(config)}"
    directory = Path(config.workdir or Path(config.output_base) / "experiments" / name)
    if not config.resume:
        number, wanted = 1, directory
        while directory.exists():
            number += 1
            directory = wanted.with_name(f"{wanted.name}-{number}")
    return RunDirectory(directory)


def create_record(
    run_dir: RunDirectory,
    config: ConfigDict,
    data: Dataset,
    layout: dict | None,
    source_sha256: str | None = None,
) -> None:
    """Write the record of a new run.

    Args:
      layout: placement of stars and samples on the devices (see `prepare.Setup`); None for a run with folds,
        which have layouts of their own.
      source_sha256: identifies the run that its parameters start from; None if they are random.

    Raises:
      RunDirectoryError: the directory has got a record in the meantime.
    """
    if run_dir.config.exists():
        raise RunDirectoryError(f"{run_dir.path} was taken by another run in the meantime: start again")
    left_out = data.shards["val"].simulations if config.data.fold else None
    record = {
        "format": FORMAT,
        "config": config_to_record(config),
        "dataset": {"name": config.data.dataset, "fingerprint": data.fingerprint, "left_out": left_out},
        "layout": layout,
        "init_from_sha256": source_sha256,
        "versions": environment.package_versions(),
    }
    files.write_json(run_dir.config, record)


def read_record(run_dir: RunDirectory) -> dict:
    """Return the record of a run.

    Returns:
      `format`; `config`, resolved; `dataset`: `name`, `fingerprint`, and `left_out`, the simulations that
      validate a fold (None for other runs); `layout`: placement of stars and samples on the devices (None for
      a run with folds, which have layouts of their own); `init_from_sha256`: digest of the run that its
      parameters start from, if there is one; `versions` of packages.

    Raises:
      RunDirectoryError: the record has another format, or cannot be read.
    """
    try:
        record = files.read_json(run_dir.config)
        stored_format = record["format"]
        if stored_format == FORMAT:
            _check_record(record)
    except (ValueError, KeyError, TypeError) as error:
        raise RunDirectoryError(f"{run_dir.config} is damaged ({error})") from error
    if stored_format != FORMAT:
        raise RunDirectoryError(
            f"{run_dir.config} has format {stored_format}; this version reads {FORMAT}: read it with the "
            "version of starjax that wrote it"
        )
    return record


def _check_record(record: dict) -> None:
    """Raise KeyError or TypeError if an entry that readers rely on is missing."""
    if not isinstance(record["config"], dict):
        raise TypeError("no config")
    [record["dataset"][name] for name in ("fingerprint", "left_out")]
    record["versions"]["scikit-learn"]
    if not record["config"]["ensemble"]["num_fold"]:
        [record["layout"][name] for name in ("placement", "num_share", "num_step", "micro_batch_size")]


def save_scalers(run_dir: RunDirectory, data: Dataset) -> None:
    """Write the scalers, which new data need to be prepared in the same way."""
    for name, scalers in zip(BUNDLES.values(), (data.feature_scalers, data.target_scalers), strict=True):
        bundle.save_bundle(run_dir.path / name, scalers)


def wait_until_visible(run_dir: RunDirectory) -> None:
    """Wait until this process sees the record that the main process has written.

    Raises:
      RunDirectoryError: it does not appear, so that the processes do not share the directory.
    """
    deadline = time.monotonic() + _SECONDS_UNTIL_VISIBLE
    while not run_dir.config.exists():
        if time.monotonic() > deadline:
            raise RunDirectoryError(
                f"{run_dir.path} exists for the main process of the run, but not for this one on "
                f"{socket.gethostname()}: {NOT_SHARED}"
            )
        time.sleep(0.5)
