"""Magnitudes and binaries become features: of single snapshots, and in a build from raw caches."""

import json
import shutil

import joblib
import numpy as np
import pytest

from starjax import quantities
from starjax.configs import dataset as dataset_config
from starjax.datasets import shard, split_manifest
from starjax.datasets.shard_files import shard_path
from starjax.errors import ConfigError
from starjax.nbody6 import build, caches, magnitudes, splits

RUN = "Rad12-zmet0002-M8-0088"
QUANTITIES = ("mass", "log_L_L_sol", "log_T_eff_K", "log_R_R_sol")
# All that the observer of training may want to know of a star.
FEATURES = (*quantities.OBSERVER, "log_L_L_sol", "log_T_eff_K", "log_R_R_sol")
TARGETS = ("time", "total_mass_within_2x_r_tidal")


def read(path, features=FEATURES, run_id=RUN):
    return caches.read_simulation(path, run_id, caches.Selection(features, TARGETS, 10, False)).shard


def column(found, key):
    return found.feature[:, found.feature_keys.index(key)]


@pytest.fixture
def raw(caches_folder):
    return caches_folder / f"{RUN}-raw.joblib"


@pytest.fixture
def change(raw, tmp_path):
    """`(function) -> path`: a copy of the raw cache, each snapshot of which the function has changed."""

    def changed(function):
        content = joblib.load(raw)
        for snapshot in content.values():
            function(snapshot)
        joblib.dump(content, tmp_path / raw.name)
        return tmp_path / raw.name

    return changed


def check_pairs(found):
    """Check what holds of all rows that the observer takes."""
    companion, semi_major_axis = column(found, "companion"), column(found, "semi_major_axis_au")
    (brighter,) = np.nonzero(companion == 1)
    np.testing.assert_array_equal(brighter + 1, np.flatnonzero(companion == -1))
    # A pair is in one snapshot.
    assert not np.isin(brighter + 1, found.ptr).any()
    np.testing.assert_array_equal(semi_major_axis > 0, companion != 0)
    np.testing.assert_array_equal(semi_major_axis[brighter], semi_major_axis[brighter + 1])
    g = column(found, "abs_mag_g")
    assert (g[brighter] <= g[brighter + 1]).all()
    # Caches give both stars the position and velocity of their centre of mass.
    np.testing.assert_array_equal(found.feature[brighter, :6], found.feature[brighter + 1, :6])
    return len(brighter)


def test_a_raw_cache_gives_all_that_the_observer_needs(raw):
    found = read(raw)
    assert check_pairs(found) == 50
    for i, one in enumerate(caches.load_cache(raw)):
        stars = one.stars.query("is_within_2x_r_tidal")
        rows = slice(found.ptr[i], found.ptr[i + 1])
        # The same stars, in another order.
        for key in ("x", "vz", *QUANTITIES):
            np.testing.assert_array_equal(np.sort(column(found, key)[rows]), np.sort(np.float32(stars[key])))
        np.testing.assert_allclose(column(found, "mass")[rows].sum(), stars["mass"].sum(), rtol=1e-5)


def test_magnitudes_are_those_of_the_stars(raw):
    found = read(raw)
    g, bp, rp = magnitudes.absolute_magnitudes(*(np.float64(column(found, key)) for key in QUANTITIES), 0.002)
    for key, expected in (("abs_mag_g", g), ("abs_mag_rp", rp), ("bp_rp_0", bp - rp)):
        np.testing.assert_allclose(column(found, key), expected, atol=1e-4)
    # The brightest star is a B star of 7.6 Msun, the faintest ones are M dwarfs at the end of the table.
    assert -2 < g.min() < -1
    assert 14 < g.max() < 16


def test_without_companions_the_order_is_that_of_the_cache(raw, caches_folder):
    keys = ("x", "mass")
    features = (*keys, "abs_mag_g", "semi_major_axis_au")
    np.testing.assert_array_equal(read(raw, features).feature[:, :2], read(raw, keys).feature)
    obs = caches_folder / f"{RUN}-obs.joblib"
    np.testing.assert_array_equal(read(obs, (*keys, "abs_mag_g")).feature[:, :2], read(obs, keys).feature)


def test_photocentres_have_about_the_light_of_both_stars(caches_folder):
    """What is documented of magnitudes of obs caches: a pair in one place is one star of its luminosity."""
    by_name = {}
    for snapshot in caches.load_cache(caches_folder / f"{RUN}-raw.joblib"):
        by_name[snapshot.time] = snapshot.stars.set_index("name")
    differences = []
    for snapshot in caches.load_cache(caches_folder / f"{RUN}-obs.joblib"):
        photocentres = snapshot.stars.query("is_unresolved_binary")
        merged = magnitudes.absolute_magnitudes(*photocentres[list(QUANTITIES)].to_numpy().T, 0.002)
        for i, name in enumerate(photocentres["name"]):
            both = by_name[snapshot.time].loc[[int(one) for one in name.split("+")], list(QUANTITIES)]
            g, bp, rp = (
                -2.5 * np.log10(np.sum(10 ** (-0.4 * band)))
                for band in magnitudes.absolute_magnitudes(*both.to_numpy().T, 0.002)
            )
            differences.append((merged.g[i] - g, merged.bp[i] - merged.rp[i] - (bp - rp)))
    assert len(differences) == 75
    assert (np.abs(differences).max(axis=0) < [0.15, 0.35]).all()
    assert (np.abs(np.median(differences, axis=0)) < 0.03).all()


def test_an_obs_cache_has_no_components(caches_folder):
    obs = caches_folder / f"{RUN}-obs.joblib"
    for key in ("companion", "semi_major_axis_au"):
        with pytest.raises(caches.CacheError, match="only the photocentres of 3 unresolved binaries"):
            read(obs, ("x", key))


def test_the_metallicity_is_that_of_the_header_or_of_the_name(raw, change):
    poor, rich = (column(read(raw, run_id=name), "bp_rp_0") for name in ("a-zmet0002", "a-zmet0020"))
    # Metals redden cool stars.
    assert (poor < rich)[poor > 0.6].all()
    assert np.median(rich - poor) > 0.1
    path = change(lambda snapshot: snapshot["header"].update(metallicity=0.02))
    np.testing.assert_array_equal(column(read(path), "bp_rp_0"), rich)


@pytest.mark.parametrize(
    ("run_id", "header", "said"),
    [
        (
            "Rad12-M8-0088",
            {},
            "need the metallicity.* nor the name of its cache, Rad12-M8-0088: name it like",
        ),
        ("Rad12-zmet02-M8", {}, "need the metallicity"),
        ("a-zmet0000", {}, "magnitudes are known for a metallicity Z of 4.4e-05 to 0.044, not 0"),
        ("a-zmet0014", {"metallicity": 0.3}, "magnitudes are known for .*, not 0.3"),
        ("a-zmet0014", {"metallicity": "solar"}, "has metallicity='solar' in its header"),
    ],
)
def test_without_a_metallicity_there_are_no_magnitudes(change, run_id, header, said):
    path = change(lambda snapshot: snapshot["header"].update(header))
    for features in (("abs_mag_g",), ("companion",)):
        with pytest.raises(caches.CacheError, match=said) as caught:
            read(path, features, run_id)
        assert f"{path}: snapshot 0.0 Myr" in str(caught.value)
    # Other features do not need it.
    read(path, ("x", "semi_major_axis_au"), run_id)


def test_magnitudes_of_the_cache_come_first(change):
    path = change(
        lambda snapshot: snapshot["stars"].insert(0, "abs_mag_g", -np.arange(len(snapshot["stars"])))
    )
    found = read(path)
    assert check_pairs(found) == 50
    assert column(found, "abs_mag_g").max() <= 0
    assert np.median(column(found, "abs_mag_rp")) > 5


def test_a_star_without_mass_is_named(change):
    path = change(lambda snapshot: snapshot["stars"].update({"mass": [0.0]}))
    for key in ("abs_mag_g", "companion"):
        with pytest.raises(caches.CacheError, match="1 values that are not finite in column abs_mag_g"):
            read(path, ("x", key))


def test_a_missing_source_of_magnitudes_is_named(change):
    path = change(lambda snapshot: snapshot["stars"].pop("log_R_R_sol"))
    with pytest.raises(caches.CacheError, match="has no column log_R_R_sol in its stars"):
        read(path, ("bp_rp_0",))


@pytest.fixture
def observer_config(raw, tmp_path):
    """A build from the raw cache under three names, of three metallicities; one has an obs cache, too."""
    folder = tmp_path / "caches"
    folder.mkdir()
    names = {
        split: f"{split}-zmet{z:04d}" for split, z in zip(split_manifest.SPLITS, (2, 14, 20), strict=True)
    }
    for name in names.values():
        shutil.copy(raw, folder / f"{name}-raw.joblib")
    shutil.copy(raw.with_name(f"{RUN}-obs.joblib"), folder / f"{names['train']}-obs.joblib")
    manifest = tmp_path / "split.json"
    manifest.write_text(json.dumps({split: [name] for split, name in names.items()}))
    config = dataset_config.get_config("observer")
    config.caches, config.split_manifest, config.out = str(folder), str(manifest), str(tmp_path / "out")
    config.n_jobs = 1
    return config


def test_a_build_for_the_observer(observer_config):
    out = build.build_dataset(observer_config)
    median_colour = []
    for split in split_manifest.SPLITS:
        found = shard.load_shard(shard_path(out, "raw", split))
        assert found.feature_keys == quantities.OBSERVER
        assert (found.num_snapshot, len(found.feature)) == (5, 679)
        assert check_pairs(found) == 50
        median_colour.append(np.median(column(found, "bp_rp_0")))
        assert np.isfinite(shard.load_shard(shard_path(out, "scaled", split)).feature).all()
    assert sorted(median_colour) == median_colour
    settings = json.loads((out / "dataset_config.json").read_text())["settings"]
    assert {name for name, *_ in settings["caches"].values()} == {
        f"{run_id}-raw.joblib" for run_id in settings["caches"]
    }


def test_a_simulation_with_an_obs_cache_only_is_refused(observer_config):
    [path] = build.Path(observer_config.caches).glob("train-*-raw.joblib")
    path.unlink()
    with pytest.raises(caches.CacheError, match=r"name a folder with raw caches .* in config.caches"):
        build.build_dataset(observer_config)


def test_splits_are_the_same_for_both_kinds_of_caches(caches_folder, tmp_path):
    """A manifest made from obs caches names simulations, so that it fits raw caches, too."""
    assert list(caches.find_caches(caches_folder, prefer_raw=True)) == list(caches.find_caches(caches_folder))
    shutil.copy(caches_folder / f"{RUN}-raw.joblib", tmp_path)
    labels, _ = splits.read_labels(tmp_path, 10, 1, skip_bad=False)
    assert list(labels) == [RUN]


def test_an_unknown_name_of_features_is_refused():
    with pytest.raises(ConfigError, match="dataset:sky: after the colon, choose one of default, observer"):
        dataset_config.get_config("sky")
