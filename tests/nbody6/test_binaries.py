"""Stars of a binary find each other; the fainter one follows the brighter one."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from starjax.nbody6 import binaries, caches
from starjax.nbody6.snapshot import CacheError, Snapshot

RAW = "Rad12-zmet0002-M8-0088-raw.joblib"


def snapshot(names, systems=None, **changes):
    """A raw snapshot of stars with these names, and of binaries (pair, first, second, semi-major axis)."""
    columns = ["pair", "obj1_name", "obj2_name", "semi"]
    content = {"stars": pd.DataFrame({"name": pd.Series(names, dtype=object)})}
    content["binary_systems"] = pd.DataFrame(systems or [], columns=columns).assign(**changes)
    return Snapshot(Path("run-raw.joblib"), None, 1.0, content)


def find(one, is_member=None):
    members = np.ones(len(one.stars), bool) if is_member is None else np.array(is_member)
    return binaries.find_pairs(one, members)


def test_pairs_of_a_real_cache(caches_folder):
    for one in caches.load_cache(caches_folder / RAW):
        stars, systems = one.stars, one.content["binary_systems"]
        assert len(systems) > 5
        is_member = stars["is_within_2x_r_tidal"].to_numpy()
        names = stars["name"][is_member].tolist()
        expected = {}
        for _, system in systems.iterrows():
            expected[system["obj1_name"]] = (system["obj2_name"], system["semi"])
            expected[system["obj2_name"]] = (system["obj1_name"], system["semi"])
        pairs = find(one, is_member)
        assert len(pairs.partner) == len(names)
        for i, name in enumerate(names):
            partner, semi_major_axis = expected.get(name, (None, 0.0))
            assert (names[pairs.partner[i]] if pairs.partner[i] >= 0 else None) == partner
            assert pairs.semi_major_axis_au[i] == semi_major_axis
        # The pipeline marks the stars of pairs, too.
        np.testing.assert_array_equal(pairs.partner >= 0, stars["is_binary"][is_member])


def test_a_star_whose_companion_is_no_member_is_single():
    one = snapshot([1, 2, 3, 4], [("1+2", 1, 2, 5.0), ("3+4", 3, 4, 7.0)])
    pairs = find(one, [True, False, True, True])
    np.testing.assert_array_equal(pairs.partner, [-1, 2, 1])
    np.testing.assert_array_equal(pairs.semi_major_axis_au, [0, 7, 7])


def test_the_third_star_of_a_triple_is_single():
    pairs = find(snapshot([1, 2, 3], [("1+2", 1, 2, 5.0), ("1+2+3", "1+2", 3, 300.0)]))
    np.testing.assert_array_equal(pairs.partner, [1, 0, -1])
    np.testing.assert_array_equal(pairs.semi_major_axis_au, [5, 5, 0])


def test_without_binaries_all_are_single():
    one = snapshot([1, 2])
    # As the pipeline writes it.
    one.content["binary_systems"] = pd.DataFrame()
    np.testing.assert_array_equal(find(one).partner, [-1, -1])
    assert find(snapshot([])).partner.shape == (0,)


def test_photocentres_of_an_obs_cache_are_refused(caches_folder):
    [one, *_] = caches.load_cache(caches_folder / RAW.replace("raw", "obs"))
    with pytest.raises(CacheError, match=r"only the photocentres of 3 unresolved .*such as 1\+2.*raw caches"):
        find(one)
    # Elsewhere than among the members they do no harm.
    find(one, ~one.stars["is_unresolved_binary"].to_numpy())


@pytest.mark.parametrize(
    ("names", "systems", "changes", "said"),
    [
        ([1, 1], [], {}, "two stars of one name"),
        ([1, None], [], {}, "has a NoneType instead of a name in column name"),
        ([1, (2, 3)], [], {}, r"has \(2, 3\) instead of a name in column name"),
        ([1, 2], [("1+2", 1, 2, 5.0)], {"obj2_name": [np.nan]}, "has nan instead of a name in column obj2"),
        ([1, 2, 3], [("1+2", 1, 2, 5.0), ("1+3", 1, 3, 5.0)], {}, "a star in two of its binary_systems"),
        ([1, 2], [("1+1", 1, 1, 5.0)], {}, "a star in two of its binary_systems"),
        ([1, 2], [("1+2", 1, 2, 0.0)], {}, "a semi in its binary_systems that is not positive"),
        ([1, 2], [("1+2", 1, 2, np.nan)], {}, "a semi in its binary_systems that is not positive"),
        ([1, 2], [("1+2", 1, 2, np.inf)], {}, "a semi in its binary_systems that is not positive"),
        ([1, 2], [("1+2", 1, 2, "wide")], {}, "values instead of numbers in column semi"),
    ],
)
def test_contradictions_are_named_with_file_and_snapshot(names, systems, changes, said):
    with pytest.raises(CacheError, match=said) as caught:
        find(snapshot(names, systems, **changes))
    assert str(caught.value).startswith("run-raw.joblib: snapshot 1.0 Myr")


@pytest.mark.parametrize("missing", ["binary_systems", "pair", "obj1_name", "semi", "name"])
def test_what_is_missing_is_named(missing):
    one = snapshot([1, 2], [("1+2", 1, 2, 5.0)])
    if missing == "binary_systems":
        del one.content[missing]
    else:
        for key in ("stars", "binary_systems"):
            one.content[key] = one.content[key].drop(columns=missing, errors="ignore")
    with pytest.raises(CacheError, match=missing):
        find(one)


def test_the_fainter_star_follows_the_brighter_one():
    # Rows 0 and 3 are a pair, and 1 and 2.
    order, companion = binaries.order_pairs(np.array([3, 2, 1, 0, -1]), np.array([9.0, 4.0, 5.0, 7.0, 1.0]))
    np.testing.assert_array_equal(order, [3, 0, 1, 2, 4])
    np.testing.assert_array_equal(companion, [1, -1, 1, -1, 0])


@given(st.data())
def test_any_pairs_are_ordered(data):
    num_star = data.draw(st.integers(0, 30))
    rows = data.draw(st.permutations(range(num_star)))
    partner = np.full(num_star, -1)
    for i in range(data.draw(st.integers(0, num_star // 2))):
        first, second = rows[2 * i : 2 * i + 2]
        partner[first], partner[second] = second, first
    # Few values, so that many are equal.
    magnitude = np.array(data.draw(st.lists(st.integers(0, 3), min_size=num_star, max_size=num_star)), float)
    order, companion = binaries.order_pairs(partner, magnitude)
    assert sorted(order) == list(range(num_star))
    for i, row in enumerate(order):
        if companion[i] == 1:
            assert companion[i + 1] == -1
            assert partner[row] == order[i + 1]
            assert magnitude[row] <= magnitude[partner[row]]
    np.testing.assert_array_equal(companion == 0, partner[order] == -1)
    assert companion.sum() == 0
    single = order[companion == 0]
    assert list(single) == sorted(single)
