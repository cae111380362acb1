"""The table of columns is consistent with itself, and with the modules that read it."""

from collections import Counter

import pytest

from starjax import quantities
from starjax.catalogs import member_list
from starjax.datasets.scalers import scaler
from starjax.quantities import QUANTITIES


def test_keys_are_unique():
    assert len(quantities._ROWS) == len(QUANTITIES)


def test_vectors_have_two_components_that_share_a_scale():
    vectors = {one.vector for one in QUANTITIES.values() if one.vector}
    for vector in vectors:
        components = [one for one in QUANTITIES.values() if one.vector == vector]
        assert len(components) == 2, vector
        # A rotation mixes the two, and a reflection in the plane leaves them.
        assert len({(one.kind, one.unit, one.frame, one.scaler_group) for one in components}) == 1, vector
        assert not any(one.is_mirrored for one in components), vector


def test_groups_share_kind_unit_and_scaler():
    groups = {one.scaler_group for one in QUANTITIES.values() if one.scaler_group}
    for group in groups:
        rows = [one for one in QUANTITIES.values() if one.scaler_group == group]
        assert len({(one.kind, one.unit, one.scaler) for one in rows}) == 1, group


@pytest.mark.parametrize("key", QUANTITIES)
def test_a_row_is_possible(key):
    one = QUANTITIES[key]
    member_list.parse_unit(one.unit)
    assert one.scaler in scaler.METHODS
    # A change of sign has no logarithm.
    assert not (one.is_mirrored and one.scaler.startswith("log"))
    assert one.kind == "feature" or one.catalogue == "never"
    assert one.kind != "snapshot" or not one.is_default
    assert (one.axis_label().endswith(f"[{one.unit}]")) == bool(one.unit)


@pytest.mark.parametrize("kind", ["feature", "target"])
def test_sets_are_of_one_kind_and_none_is_empty(kind):
    assert quantities.default_keys(kind)
    sets = quantities.sets(kind)
    assert sets
    for name, keys in sets.items():
        assert keys
        assert {QUANTITIES[key].kind for key in keys} == {kind}
        assert quantities.set_name(keys[::-1], sets) == name
    assert quantities.set_name(("x", "unheard_of"), sets) == "x+unheard_of"


def test_names_in_tables_tell_targets_apart():
    names = Counter(quantities.short_name(key) for key, one in QUANTITIES.items() if one.kind == "target")
    assert max(names.values()) == 1


def test_what_is_seen_on_the_sky_is_in_the_table():
    for key in (*quantities.PROJECTED, *quantities.SKY, quantities.LUMINOSITY):
        assert QUANTITIES[key].kind == "feature"
    assert QUANTITIES[quantities.MASS].kind == "target"


def test_columns_that_the_table_lacks_have_a_scale_of_their_own():
    assert quantities.scaler_groups(("x", "a", "z", "b"), "feature") == (
        (("x", "z"), "robust"),
        (("a",), "robust"),
        (("b",), "robust"),
    )
    assert quantities.scaler_groups(("time", "a"), "target") == ((("time",), "robust"), (("a",), "standard"))
    assert (quantities.unit("a"), quantities.short_name("a")) == ("physical", "a")
    assert quantities.get("a").axis_label() == "a"
