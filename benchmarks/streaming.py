"""Measure training on stars that are streamed from disk, relative to stars on the device.

    python -m benchmarks.streaming --out=streaming.json
    python -m benchmarks.streaming --gibibytes=12 --memory_gibibytes=4     # larger than the allowed memory

The data set consists of random clusters of 100 stars with 11 features, in the proportions of a full data set
(300 million stars: 13 GB). Each run is a process of its own. Before each epoch the files are dropped from the
page cache, where the system allows it. With --memory_gibibytes only the streamed run is measured, in a
process that cannot allocate more (RLIMIT_DATA; the page cache does not count). It needs Linux or macOS.
"""

import concurrent.futures
import multiprocessing
import os
import resource
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import cases, report
from benchmarks import training as training_lib
from starjax.datasets import shard, shard_files
from starjax.datasets.dataset import BUNDLES
from starjax.datasets.load import SAMPLE_DIRECTORY
from starjax.runs import metrics_log
from starjax.runtime import devices

NUM_STAR, KEYS = 100, ("x", "y", "z", "vx", "vy", "vz", "a", "b", "c", "d", "e")
PART_BYTES = 2**30


def generate(folder: Path, num_byte: int) -> None:
    """Write scaled shards of about `num_byte` bytes in several files, and the scalers of the sample."""
    target_key = cases.config(next(iter(cases.CASES))).data.target_keys
    rng = np.random.default_rng(0)
    most = PART_BYTES // (4 * NUM_STAR * len(KEYS))
    for split, size in (("train", num_byte), ("val", 2**24), ("test", 2**24)):
        num_snapshot = max(size // (4 * NUM_STAR * len(KEYS)), 64)
        counts = [len(part) for part in np.array_split(np.arange(num_snapshot), -(-num_snapshot // most))]
        for number, count in enumerate(counts, start=1):
            path = shard_files.shard_path(folder, "scaled", split, number, len(counts))
            feature = rng.standard_normal((count * NUM_STAR, len(KEYS)), np.float32)
            target = rng.standard_normal((count, 1), np.float32)
            ptr = np.arange(count + 1) * NUM_STAR
            shard.save_shard(path, shard.Shard(feature, KEYS, target, target_key, ptr), slice(0, count))
    for name in BUNDLES.values():
        shutil.copy(SAMPLE_DIRECTORY / name, folder)


def forget(folder: Path) -> None:
    """Ask the system to drop the files from the page cache."""
    if hasattr(os, "posix_fadvise"):  # not on macOS
        for path in folder.glob("*.npz"):
            with open(path, "rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(case: str, folder: Path, placement: str, num_epoch: int, limit: int | None) -> dict:
    """Return samples per second over whole epochs, and the peak memory of this process, which is limited."""
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    devices.use_cores(512)
    config = cases.config(case)
    config.data.dataset, config.data.placement = str(folder), placement
    config.data.random_rotations = False
    config.data.feature_keys = KEYS
    training = training_lib.set_up(config)
    shard_of_training = training.setup.data.shards["train"]
    num_sample = shard_of_training.num_snapshot * config.data.num_sample_per_snapshot
    rates = []
    for epoch in range(num_epoch):
        forget(folder)
        start = time.perf_counter()
        training.epoch(epoch)
        rates.append(num_sample / (time.perf_counter() - start))
    return {
        "model": case,
        "stars": placement,
        "data_GiB": sum(path.stat().st_size for path in folder.glob("scaled-train*")) / 2**30,
        "samples_per_s": statistics.median(rates),
        "peak_memory_GiB": metrics_log.device_memory_bytes() / 2**30,
    }


def main() -> None:
    parser = report.parser(__doc__)
    parser.add_argument("--case", nargs="+", default=list(cases.CASES)[1:2], choices=cases.CASES)
    parser.add_argument("--gibibytes", type=float, default=0.5, help="size of the generated data set")
    parser.add_argument("--memory_gibibytes", type=float, help="memory that the process may allocate")
    parser.add_argument("--num_epoch", type=int, default=3)
    parser.add_argument("--folder", help="folder for the data set [a temporary one]")
    options = parser.parse_args()
    limit = int(options.memory_gibibytes * 2**30) if options.memory_gibibytes else None
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        generate(folder, int(options.gibibytes * 2**30))
        rows = []
        for case in options.case:
            for where in ("replicated", "streamed") if limit is None else ("streamed",):
                apart = multiprocessing.get_context("spawn")
                with concurrent.futures.ProcessPoolExecutor(1, apart) as process:
                    rows.append(
                        process.submit(measure, case, folder, where, options.num_epoch, limit).result()
                    )
    devices.use_cores(512)  # as the measured processes
    report.show("streamed from disk", rows, options.out)


if __name__ == "__main__":
    main()
