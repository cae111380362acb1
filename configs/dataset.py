"""The build of a data set from NBODY6 caches.

    python -m starjax.data.build --config=dataset --config.caches=DIR \\
        --config.split_manifest=split.json --config.out=DIR
"""

from ml_collections import ConfigDict

from starjax import environment


def get_config() -> ConfigDict:
    config = ConfigDict()
    # Folder of <run_id>-obs.joblib (or -raw.joblib) files, searched through; empty: scale the raw shards in `out`.
    config.caches = environment.default("JOBLIB_ROOT", "")
    # JSON with the run ids of train, val and test; starjax.data.splits makes one.
    config.split_manifest = environment.default("SPLIT_MFT_JSON", "")
    # The data set directory to write.
    config.out = f"{environment.default('OUTPUT_BASE', 'output')}/dataset"

    # Columns of a star [pc, km/s, deg, mas/yr, log10 Lsun].
    config.feature_keys = (
        "x",
        "y",
        "z",
        "vx",
        "vy",
        "vz",
        "lon_deg",
        "lat_deg",
        "pm_lon_coslat_mas_yr",
        "pm_lat_mas_yr",
        "log_L_L_sol",
    )
    # Properties of a cluster [Myr, Msun]: `time`, or scalars of a snapshot's header.
    config.target_keys = ("time", "total_mass_within_2x_r_tidal")
    # (keys, method): the keys of a group share one scale.
    config.feature_scalers = (
        (("x", "y", "z"), "robust"),
        (("vx", "vy", "vz"), "robust"),
        (("lon_deg", "lat_deg"), "robust"),
        (("pm_lon_coslat_mas_yr", "pm_lat_mas_yr"), "robust"),
        (("log_L_L_sol",), "robust"),
    )
    config.target_scalers = (
        (("time",), "robust"),
        (("total_mass_within_2x_r_tidal",), "log10_standard"),
    )

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
