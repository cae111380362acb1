"""The build of a data set from NBODY6 caches.

    starjax build --config=dataset --config.caches=DIR \\
        --config.split_manifest=split.json --config.out=DIR
"""

from ml_collections import ConfigDict

from starjax import quantities
from starjax.runtime import environment


def get_config() -> ConfigDict:
    config = ConfigDict()
    # Folder of <run_id>-obs.joblib (or -raw.joblib) files, searched through; empty: scale the raw shards in `out`.
    config.caches = environment.default("JOBLIB_ROOT", "")
    # JSON with the run ids of train, val and test; starjax splits makes one.
    config.split_manifest = environment.default("SPLIT_MFT_JSON", "")
    # The data set directory to write.
    config.out = f"{environment.default('OUTPUT_BASE', 'output')}/dataset"

    # Columns of a star, by default those of starjax/quantities.py that a build includes: also lists their units.
    config.feature_keys = quantities.default_keys("feature")
    # Properties of a cluster: `time` [Myr], or scalars of a snapshot's header.
    config.target_keys = quantities.default_keys("target")
    # (keys, method): the keys of a group share one scale.
    config.feature_scalers = quantities.scaler_groups(config.feature_keys, "feature")
    config.target_scalers = quantities.scaler_groups(config.target_keys, "target")

    # A snapshot with fewer stars than this does not enter.
    config.min_stars = 10
    # Bytes of a file. The shard of a split that would be larger is written as several files, cut between snapshots.
    # 2 GiB: data sets of some hundred simulations stay in one piece, larger ones come in files that are quick to
    # copy and to check again.
    config.max_part_bytes = 2**31
    # Processes that read caches; -1: one a core.
    config.n_jobs = -1
    # What an unusable run or snapshot does: 'error' ends the build, 'skip' leaves it out and counts it.
    config.on_bad = "error"
    return config.lock()
