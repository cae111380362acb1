"""The packaged example is what its command makes, and recovers the simulation that it is from."""

import numpy as np
import pytest
from astropy.stats import mad_std
from astropy.table import Table
from scipy.stats import ks_2samp

from starjax.catalogs import member_list
from starjax.catalogs.features import derive_features
from starjax.catalogs.membership import View
from tools import make_example_catalog


@pytest.fixture(scope="module")
def members():
    return derive_features(
        member_list.read_member_list(member_list.EXAMPLE_FILE), ("y", "z", "vy", "vz", "log_L_L_sol"), View()
    )


def test_the_command_makes_the_packaged_file(tmp_path, capsys):
    out = tmp_path / "members.ecsv"
    make_example_catalog.main([f"--out={out}"])
    assert "407 stars" in capsys.readouterr().out
    made, packaged = Table.read(out), Table.read(member_list.EXAMPLE_FILE)
    assert made.colnames == packaged.colnames
    for name in made.colnames:
        np.testing.assert_allclose(
            np.ma.filled(made[name], -1),
            np.ma.filled(packaged[name], -1),
            rtol=0,
            atol=2e-4 if name != "ra" else 1e-8,
        )
    with pytest.raises(SystemExit):
        make_example_catalog.main([f"--out={out}"])
    assert "should be a new file" in capsys.readouterr().err


def test_it_is_small_and_lacks_values():
    assert member_list.EXAMPLE_FILE.stat().st_size < 150_000
    table = member_list.read_member_list(member_list.EXAMPLE_FILE)
    share = {
        name: np.isfinite(table[name]).mean() for name in ("radial_velocity", "bp_rp", "pmra", "parallax")
    }
    assert 0.1 < share["radial_velocity"] < 0.4
    assert all(0.95 < share[name] < 1 for name in ("bp_rp", "pmra", "parallax"))
    assert np.max(table["phot_g_mean_mag"]) < 20.5


def test_distance_and_motion_are_recovered(members):
    np.testing.assert_allclose(members.space_velocity, make_example_catalog.VELOCITY, atol=0.15)
    np.testing.assert_allclose(members.distance_pc, 200, atol=4 * members.distance_error_pc)


def test_features_are_distributed_as_in_the_simulation(members):
    truth, _ = make_example_catalog._snapshot()
    bright = truth[truth[:, 6] > members.feature[:, 4].min()]
    # The origin of a simulation is not the centre of its stars.
    bright[:, :6] -= np.median(bright[:, :6], axis=0)
    for i, column in ((0, 1), (1, 2), (4, 6)):
        assert ks_2samp(members.feature[:, i], bright[:, column]).pvalue > 0.01
    for i, name in ((2, "vy"), (3, "vz")):
        well = members.table[f"{name}_error"] < 0.1
        assert well.sum() > 50
        np.testing.assert_allclose(mad_std(members.feature[well, i]), mad_std(bright[:, i + 2]), rtol=0.2)
