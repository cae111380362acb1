"""The packaged corrections are what their command makes of a table in MIST's format."""

from pathlib import Path

import numpy as np
import pytest

from starjax.nbody6 import magnitudes
from tools import make_bolometric_corrections

PACKAGED = Path(magnitudes.__file__).with_name("bolometric_corrections.npz")


def test_the_packaged_table_is_small_complete_and_smooth():
    assert PACKAGED.stat().st_size < 100_000
    with np.load(PACKAGED, allow_pickle=False) as table:
        assert set(table) == {"metallicity", "log_t_eff", "log_gravity", "correction_mmag", "notice"}
        assert str(table["notice"]) == make_bolometric_corrections.NOTICE
        axes = [table[name] for name in ("metallicity", "log_t_eff", "log_gravity")]
        corrections = table["correction_mmag"]
    assert corrections.shape == (*map(len, axes), len(magnitudes.BANDS)) == (13, 70, 26, 3)
    assert all((np.diff(axis) > 0).all() for axis in axes)
    assert (axes[0][0], axes[0][-1]) == make_bolometric_corrections.METALLICITIES
    np.testing.assert_allclose(axes[1][[0, -1]], [np.log10(2500), 6.0])
    # Of hot stars, RP has the greatest part of its light missing, then G; of cool ones, BP.
    assert (corrections[:, -1, :, 2] < corrections[:, -1, :, 0]).all()
    assert (corrections[:, 0, :, 1] < corrections[:, 0, :, 2]).all()


def test_another_file_is_refused(tmp_path, capsys):
    other = tmp_path / "bc_tables.h5"
    other.write_bytes(b"another version")
    with pytest.raises(SystemExit):
        make_bolometric_corrections.main([f"--tables={other}", f"--out={tmp_path / 'table.npz'}"])
    assert "is not the file of astrolachesis 1.0.9" in capsys.readouterr().err
    assert not (tmp_path / "table.npz").exists()


def test_rows_are_put_in_order():
    metallicity, names = np.array([-3.0, 0.0]), [*magnitudes.BANDS, "another"]
    t_eff, gravity, extinction = np.array([2500.0, 5000.0, 1e4]), np.array([1.0, 4.0]), np.array([0.0, 1.0])
    blocks = []
    for one in metallicity:
        points = np.array([(t, g, one, a, 3.1) for g in gravity for a in extinction for t in t_eff])
        value = points[:, 0] / 1e4 + points[:, 1] + 100 * points[:, 3]
        blocks.append(np.column_stack([points, *(value + i for i in range(len(names)))]))
    table = make_bolometric_corrections.make_table(np.array(blocks), metallicity, names)
    np.testing.assert_array_equal(table["metallicity"], [0.0])
    np.testing.assert_array_equal(table["log_t_eff"], np.log10(t_eff))
    np.testing.assert_array_equal(table["log_gravity"], gravity)
    expected = 1000 * (t_eff[:, None, None] / 1e4 + gravity[:, None] + np.arange(3))
    np.testing.assert_array_equal(table["correction_mmag"][0], np.rint(expected))
