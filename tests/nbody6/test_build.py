"""The build equals the reference build, resumes after an interruption, and overwrites nothing."""

import json
import shutil
from unittest import mock

import joblib
import numpy as np
import pytest

from starjax.datasets import mapped_arrays, shard, split_manifest
from starjax.datasets.scalers import bundle, scaler
from starjax.datasets.shard_files import shard_path
from starjax.nbody6 import build, caches


def file_times(out):
    return {path.name: path.stat().st_mtime_ns for path in out.iterdir()}


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_equals_the_reference_build(config, golden_folder, n_jobs, monkeypatch):
    config.n_jobs = n_jobs
    monkeypatch.setattr(mapped_arrays, "ROWS_PER_BLOCK", 1000)  # many blocks, the last one short
    out = build.build_dataset(config)
    for kind, rtol, atol in (("raw", 0, 0), ("scaled", 1e-6, 2e-6)):
        for split in split_manifest.SPLITS:
            ours = shard.load_shard(shard_path(out, kind, split))
            golden = shard.load_shard(shard_path(golden_folder, kind, split))
            assert ours.feature_keys == golden.feature_keys
            assert ours.target_keys == golden.target_keys
            np.testing.assert_array_equal(ours.ptr, golden.ptr)
            np.testing.assert_allclose(ours.feature, golden.feature, rtol=rtol, atol=atol)
            np.testing.assert_allclose(ours.target, golden.target, rtol=rtol, atol=atol)
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [f"{kind}-{split}-shard.npz" for kind in ("raw", "scaled") for split in split_manifest.SPLITS]
        + ["feature_scaler_bundle.joblib", "target_scaler_bundle.joblib", "dataset_config.json"]
    )


def test_snapshots_have_the_id_of_their_simulation(config):
    train = shard.load_shard(shard_path(build.build_dataset(config), "raw", "train"))
    assert list(dict.fromkeys(train.run_id)) == sorted(
        split_manifest.load_manifest(config.split_manifest)["train"]
    )
    np.testing.assert_array_equal(train.time_myr, train.target[:, train.target_keys.index("time")])


def test_a_finished_build_is_left_alone(config):
    out = build.build_dataset(config)
    before = file_times(out)
    build.build_dataset(config)
    assert file_times(out) == before


@pytest.mark.parametrize(
    "name", ["raw-val-shard.npz", "scaled-train-shard.npz", "target_scaler_bundle.joblib"]
)
def test_a_damaged_file_is_built_again(config, name):
    out = build.build_dataset(config)
    whole = (out / name).read_bytes()
    (out / name).write_bytes(whole[: len(whole) // 2])
    build.build_dataset(config)
    assert (out / name).read_bytes() == whole


@pytest.mark.parametrize(
    ("field", "value"), [("min_stars", 20), ("target_keys", ("time",)), ("max_part_bytes", 10**5)]
)
def test_another_data_set_is_not_overwritten(config, field, value):
    build.build_dataset(config)
    config[field] = value
    with pytest.raises(build.BuildError, match=f"other .*{field}"):
        build.build_dataset(config)


def test_changed_caches_are_noticed(config):
    build.build_dataset(config)
    path = caches.find_caches(config.caches)["Rad12-zmet0002-M8-0088"]
    joblib.dump(joblib.load(path), path, compress=9)
    with pytest.raises(build.BuildError, match="other caches"):
        build.build_dataset(config)


def interrupt_build(config):
    """Start a build that stops at the last cache, which is damaged, and restore that cache."""
    bad = caches.find_caches(config.caches)["Rad12-zmet0014-M8-0029"]
    whole = bad.read_bytes()
    bad.write_bytes(b"broken")
    with pytest.raises(caches.CacheError, match="Rad12-zmet0014-M8-0029"):
        build.build_dataset(config)
    bad.write_bytes(whole)


def test_an_interrupted_build_resumes(config, simulations_read):
    interrupt_build(config)
    out = build.Path(config.out)
    assert [path.name for path in out.iterdir()] == ["parts"]
    simulations_read.clear()
    # Only the missing simulation and one whose part is damaged are read again.
    damaged = out / "parts" / "Rad04-zmet0006-M8-0116.npz"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    done = {path.stem for path in (out / "parts").glob("*.npz")}
    assert done == {
        "Rad04-zmet0006-M8-0116",
        "Rad08-zmet0002-M8-0036",
        "Rad08-zmet0014-M8-0093",
        "Rad12-zmet0002-M8-0088",
        "Rad12-zmet0014-M7-0018",
    }
    build.build_dataset(config)
    assert sorted(simulations_read) == ["Rad04-zmet0006-M8-0116", "Rad12-zmet0014-M8-0029"]


def test_parts_of_another_selection_are_read_again(config, simulations_read):
    interrupt_build(config)
    simulations_read.clear()
    config.min_stars += 1
    build.build_dataset(config)
    assert len(simulations_read) == 6


def test_on_bad_skip_leaves_out_and_counts(config):
    found = caches.find_caches(config.caches)
    found["Rad12-zmet0014-M7-0018"].write_bytes(b"broken")
    cache = joblib.load(found["Rad12-zmet0002-M8-0088"])
    time = next(iter(cache[50, 0, 0]))
    cache[50, 0, 0][time]["stars"]["x"] = np.nan
    joblib.dump(cache, found["Rad12-zmet0002-M8-0088"])
    config.on_bad = "skip"
    out = build.build_dataset(config)
    counts = json.loads((out / "dataset_config.json").read_text())["counts"]
    assert len(counts["skipped"]) == 2
    assert any("Rad12-zmet0014-M7-0018" in reason for reason in counts["skipped"])
    assert any(f"snapshot {time} Myr" in reason and "column x" in reason for reason in counts["skipped"])
    assert counts["splits"]["train"]["simulations"] == 3


def test_given_raw_shards_are_scaled_without_caches(config, golden_folder):
    out = build.Path(config.out)
    out.mkdir()
    for split in split_manifest.SPLITS:
        shutil.copy(golden_folder / f"raw-{split}-shard.npz", out)
    config.caches = ""
    build.build_dataset(config)
    for split in split_manifest.SPLITS:
        ours, golden = (
            shard.load_shard(shard_path(folder, "scaled", split)) for folder in (out, golden_folder)
        )
        np.testing.assert_allclose(ours.feature, golden.feature, rtol=1e-6, atol=2e-6)
    before = file_times(out)
    build.build_dataset(config)
    assert file_times(out) == before


@pytest.mark.parametrize("kind", ["raw", "scaled"])
def test_shards_that_no_build_wrote_are_not_overwritten(config, golden_folder, kind):
    out = build.Path(config.out)
    out.mkdir()
    shutil.copy(golden_folder / f"{kind}-val-shard.npz", out)
    (out / "parts").mkdir()  # the remains of a failed build from these raw shards
    before = file_times(out)
    with pytest.raises(build.BuildError, match=f"{kind}-val-shard.npz.*another config.out"):
        build.build_dataset(config)
    assert file_times(out) == before


def test_an_interrupted_scaling_resumes(config, golden_folder, monkeypatch):
    out = build.Path(config.out)
    out.mkdir()
    for split in split_manifest.SPLITS:
        shutil.copy(golden_folder / f"raw-{split}-shard.npz", out)
    config.caches = ""
    with monkeypatch.context() as patch:
        patch.setattr(bundle, "save_bundle", mock.Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            build.build_dataset(config)
    assert (out / "scaled-test-shard.npz").exists()
    assert (build.build_dataset(config) / "dataset_config.json").exists()
    assert not (out / "parts").exists()


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"settings": {}, "sha256": 3}'])
def test_an_invalid_record_is_refused_by_name(config, content):
    out = build.Path(config.out)
    out.mkdir()
    (out / "dataset_config.json").write_text(content)
    with pytest.raises(build.BuildError, match=r"dataset_config\.json is damaged"):
        build.build_dataset(config)


def test_other_scalers_can_be_configured(config):
    config.feature_keys = ("x", "y", "z", "vx", "vy", "vz")
    config.target_scalers = ((("time",), "log1p_minmax"), (("total_mass_within_2x_r_tidal",), "quantile"))
    config.feature_scalers = ((("x", "y", "z"), "power"), (("vx", "vy", "vz"), "standard"))
    scalers = bundle.load_bundle(build.build_dataset(config) / "target_scaler_bundle.joblib")
    assert scalers.of("time").method == "log1p_minmax"


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("on_bad", "ignore", "on_bad='ignore' should be 'error' or 'skip'"),
        ("out", "", "config.out is empty"),
        ("target_keys", (), "target_keys=.. should name at least one"),
        ("caches", "", "config.caches is empty"),
        ("split_manifest", "", "config.split_manifest is empty"),
        ("min_stars", 0, "min_stars=0"),
        ("n_jobs", 0, "n_jobs=0"),
        ("max_part_bytes", 0, "max_part_bytes=0"),
        ("feature_scalers", ((("x",), "robust"),), "feature_scalers should have y"),
        ("target_scalers", ((("time", "total_mass_within_2x_r_tidal"), "magic"),), "magic"),
        ("feature_keys", ("x", "x"), "names x twice"),
    ],
)
def test_invalid_configs_are_refused_by_field(config, field, value, said):
    config[field] = value
    with pytest.raises(build.BuildError, match=said):
        build.build_dataset(config)


def test_a_simulation_without_a_cache_is_named(config):
    caches.find_caches(config.caches)["Rad12-zmet0014-M8-0029"].unlink()
    with pytest.raises(build.BuildError, match="Rad12-zmet0014-M8-0029"):
        build.build_dataset(config)


def test_a_logarithm_of_a_negative_is_refused_naming_the_key(config):
    config.feature_scalers = tuple(
        (keys, "log10_standard" if "x" in keys else m) for keys, m in config.feature_scalers
    )
    with pytest.raises(scaler.ScalerError, match="x, y, z"):
        build.build_dataset(config)
    assert not (build.Path(config.out) / "dataset_config.json").exists()


def test_a_target_without_a_logarithm_in_a_given_shard_is_named(config, golden_folder):
    config.caches, out = "", build.Path(config.out)
    for split in split_manifest.SPLITS:
        raw = shard.load_shard(golden_folder / f"raw-{split}-shard.npz")
        if split == "val":
            raw.target[2, raw.target_keys.index("total_mass_within_2x_r_tidal")] = 0
        shard.save_shard(shard_path(out, "raw", split), raw)
    with pytest.raises(build.BuildError, match=r"^raw-val-shard\.npz: snapshot 2, .* total_mass\S*=0, "):
        build.build_dataset(config)


def test_targets_of_which_a_logarithm_is_taken_have_lower_bounds(config):
    config.target_keys = ("time", "r_tidal", "total_mass")
    config.target_scalers = ((("time",), "log1p_minmax"), (("r_tidal",), "log10_minmax"))
    assert build._lower_bounds(config) == {"time": -1, "r_tidal": 0, "total_mass": 0}


def test_the_active_joblib_backend_is_used(config):
    class Counting(joblib._parallel_backends.ThreadingBackend):
        num_configured = 0

        def configure(self, *arguments, **options):
            Counting.num_configured += 1
            return super().configure(*arguments, **options)

    joblib.register_parallel_backend("counting", Counting)
    config.n_jobs = 2
    with joblib.parallel_config(backend="counting"):
        build.build_dataset(config)
    assert Counting.num_configured == 1
