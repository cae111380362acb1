"""Maps of dust are asked as the package dustmaps wants, and converted; what is missing is said.

A stand-in takes the place of the package, whose maps have gigabytes. Its classes take the same arguments.
"""

import importlib.machinery
import sys
import types

import numpy as np
import pytest

from starjax.gaia import dust_maps


@pytest.fixture
def package(monkeypatch):
    """Return a function that installs a module of a stand-in for dustmaps."""

    def install(module, **content):
        for name, found in (("dustmaps", {}), (f"dustmaps.{module}", content)):
            stand_in = types.ModuleType(name)
            stand_in.__spec__ = importlib.machinery.ModuleSpec(name, None)
            vars(stand_in).update(found)
            monkeypatch.setitem(sys.modules, name, stand_in)

    return install


class Bayestar:
    def __init__(self, map_fname=None, max_samples=None, version="bayestar2015"):
        assert version == "bayestar2019"

    def __call__(self, coords, mode="random_sample"):
        assert mode == "samples"
        assert coords.distance.pc == pytest.approx(185)
        return np.float32([0.08, 0.1, 0.12])


class Edenhofer:
    def __init__(self, map_fname=None, load_samples=False, integrated=False):
        assert integrated
        print("Integrating extinction map (this might take a couple of minutes)...")

    def __call__(self, coords, mode="mean"):
        assert coords.icrs.ra.deg == pytest.approx(130.05)
        return 0.1


class SFD:
    def __call__(self, coords):
        return np.float32(np.nan)


@pytest.mark.parametrize(
    ("name", "module", "query", "expected"),
    [
        ("bayestar2019", "bayestar", {"BayestarQuery": Bayestar}, (0.2742, 0.05484)),
        ("edenhofer2023", "edenhofer2023", {"Edenhofer2023Query": Edenhofer}, (0.28, None)),
        ("sfd", "sfd", {"SFDQuery": SFD}, (np.nan, None)),
    ],
)
def test_maps_are_converted_to_extinctions(package, capsys, name, module, query, expected):
    package(module, **query)
    value, error = dust_maps.load_map(name).extinction_v_mag((130.05, 19.62), 185.0)
    assert value == pytest.approx(expected[0], rel=1e-6, nan_ok=True)
    assert error == (expected[1] and pytest.approx(expected[1], rel=1e-6))
    assert capsys.readouterr() == ("", "")


def test_what_is_missing_is_said(package, monkeypatch):
    with pytest.raises(
        dust_maps.DustMapError, match="known maps of dust are bayestar2019, edenhofer2023, sfd"
    ):
        dust_maps.load_map("planck")

    def missing(**options):
        raise FileNotFoundError

    package("sfd", SFDQuery=missing)
    with pytest.raises(dust_maps.DustMapError, match=r"sfd: the map is not on this machine.*one\.fetch\(\)"):
        dust_maps.load_map("sfd")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(dust_maps.DustMapError, match="pip install dustmaps"):
        dust_maps.load_map("sfd")
