"""The packaged example is what its command makes, and its reader finds the cluster that it is of."""

import re

import numpy as np
import pytest
from astropy.table import Table

from starjax.catalogs import member_list
from starjax.catalogs.features import derive_features
from starjax.catalogs.stated.view import View
from starjax.configs import gaia
from starjax.datasets.load import CLUSTERS_DIRECTORY
from starjax.io import files
from tools import make_example_catalog

LUMINOSITIES = ("y", "z", "vy", "vz", "log_L_L_sol")

# They compile the observer, of which tests/sampling has the tests.
pytestmark = pytest.mark.weekly


@pytest.fixture(scope="module")
def listed():
    return make_example_catalog.observe()


@pytest.fixture(scope="module")
def members():
    table = member_list.read_member_list(member_list.EXAMPLE_FILE)
    return derive_features(table, gaia.get_config().data.feature_keys, View(extinction_v_mag=0.1))


def test_the_command_makes_the_packaged_file(listed, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(make_example_catalog, "observe", lambda: listed)
    out = tmp_path / "members.ecsv"
    make_example_catalog.main([f"--out={out}"])
    assert "age 150.0 Myr, mass 556.3 Msun" in capsys.readouterr().out
    made, packaged = Table.read(out), Table.read(member_list.EXAMPLE_FILE)
    assert made.colnames == packaged.colnames
    for name in made.colnames:
        # Single precision, and other compilers.
        np.testing.assert_allclose(
            np.ma.filled(made[name], -1), np.ma.filled(packaged[name], -1), rtol=1e-5, atol=1e-3, err_msg=name
        )
    with pytest.raises(SystemExit):
        make_example_catalog.main([f"--out={out}"])
    assert "should be a new file" in capsys.readouterr().err


def test_it_is_of_a_test_simulation():
    assert make_example_catalog.RUN_ID in files.read_json(CLUSTERS_DIRECTORY / "split.json")["test"]


def test_it_is_small_and_lacks_values(listed):
    assert member_list.EXAMPLE_FILE.stat().st_size < 100_000
    table = member_list.read_member_list(member_list.EXAMPLE_FILE)
    share = {
        name: np.isfinite(table[name]).mean() for name in ("radial_velocity", "bp_rp", "pmra", "parallax")
    }
    assert 0.1 < share["radial_velocity"] < 0.4
    assert all(0.95 < share[name] < 1 for name in ("bp_rp", "pmra", "parallax"))
    assert np.max(table["phot_g_mean_mag"]) < make_example_catalog.FAINT_LIMIT_MAG
    assert 0.5 <= np.min(table["membership_probability"]) < 0.9
    assert 0 < listed.is_field.sum() < 0.1 * len(table)


def test_place_distance_and_motion_are_recovered(members, listed):
    # Along the axes of the Galaxy, in which mirrored simulations are mirrored back.
    view, centre = listed.view, make_example_catalog.direction(listed.view)
    axes = view.axes * [-1, 1, np.sign(view.axes[2, 2])]
    # The radial velocity is the median of stars of which many are in binaries.
    np.testing.assert_allclose(members.space_velocity, axes.T @ view.velocity, atol=0.5)
    np.testing.assert_allclose(members.distance_pc, view.distance, atol=4 * members.distance_error_pc)
    # The centre of a simulation is not the median of its stars.
    ra, dec = members.centre
    assert centre.icrs.separation(centre.icrs.__class__(ra, dec, unit="deg")).deg < 0.2
    assert axes[0] @ centre.cartesian.xyz.value == pytest.approx(1)


def test_its_reader_leaves_out_few_stars_and_an_older_model_accepts_it(members):
    table = member_list.read_member_list(member_list.EXAMPLE_FILE)
    assert "Left out because G or BP-RP is missing: 2 stars" in " ".join(members.notes)
    assert members.num_left_out == 5
    assert members.num_non_member < 0.05 * len(table)
    assert len(derive_features(table, LUMINOSITIES, View()).feature) >= 0.95 * len(table)


def test_its_page_says_what_it_is(listed):
    page = (member_list.EXAMPLE_FILE.parent / "README.md").read_text()
    said = make_example_catalog.describe(listed)
    for number in re.findall(r"-?\d+\.?\d*", said):
        assert number in page, said
    for value in (make_example_catalog.DISTANCE_PC, make_example_catalog.EXTINCTION_V_MAG):
        assert f"{value:g}" in page
