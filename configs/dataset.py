"""Build of a data set from NBODY6 caches.

    starjax build --config=dataset --config.caches=DIR --config.split_manifest=split.json --config.out=DIR

Each field can be set by an option `--config.FIELD=VALUE`. With `--config=dataset:observer`, the features are
those that the observer needs: both stars of every binary, with magnitudes and colours.
"""

from ml_collections import ConfigDict

from starjax import quantities
from starjax.errors import ConfigError
from starjax.runtime import environment


def get_config(features: str = "default") -> ConfigDict:
    """Return the locked config of a build, with the default features or with those of the observer."""
    feature_keys = {"default": quantities.default_keys("feature"), "observer": quantities.OBSERVER}
    if features not in feature_keys:
        raise ConfigError(
            f"--config=dataset:{features}: after the colon, choose one of {', '.join(feature_keys)}"
        )
    config = ConfigDict()
    # Folder with files <run_id>-obs.joblib (or -raw.joblib), also in subfolders, one per simulation; empty:
    # scale the raw shards that are in `out`.
    config.caches = environment.default("JOBLIB_ROOT", "")
    # JSON file with the simulation ids of train, val and test, made by starjax splits.
    config.split_manifest = environment.default("SPLIT_MFT_JSON", "")
    # Data set directory to write.
    config.out = f"{environment.default('OUTPUT_BASE', 'output')}/dataset"

    # Features of a star: columns of `stars` in the caches, or magnitudes and binaries, which are derived
    # (units: starjax/quantities.py).
    config.feature_keys = feature_keys[features]
    # Targets, properties of the cluster: `time` [Myr], or scalars in the header of a snapshot.
    config.target_keys = quantities.default_keys("target")
    # Groups (keys, method): the columns of a group share one scale. starjax/datasets/scalers/scaler.py lists
    # the methods.
    config.feature_scalers = quantities.scaler_groups(config.feature_keys, "feature")
    config.target_scalers = quantities.scaler_groups(config.target_keys, "target")

    # Minimum number of stars of a snapshot; smaller ones are left out. All stars count, although only the
    # members enter.
    config.min_stars = 10
    # Maximum size of a file [bytes]; the shard of a larger split is written to several files, cut between
    # snapshots. With 2 GiB, a split of some hundred simulations is one file, and files stay quick to copy and
    # to verify.
    config.max_part_bytes = 2**31
    # Number of processes that read caches; -1: one per core.
    config.n_jobs = -1
    # What to do with an unusable simulation or snapshot: 'error' stops the build, 'skip' leaves it out and
    # counts it.
    config.on_bad = "error"
    return config.lock()
