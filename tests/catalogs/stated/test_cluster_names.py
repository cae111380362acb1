"""Names of clusters that catalogues write differently."""

import pytest

from starjax.catalogs.stated.cluster_names import (
    describe_matches,
    describe_unmatched,
    match_names,
    same_name_key,
)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("NGC 2632", "ngc_2632", True),
        ("NGC 2632", "NGC2632", True),
        ("NGC 0752", "NGC 752", True),
        ("ngc0752", "NGC_752", True),
        ("FSR 0088", " FSR  88", True),
        ("ESO 092-05", "ESO 92-05", True),
        ("run 1 12", "run_1_012", True),
        ("run_1_12", "run_11_2", False),
        ("UBC 1", "UBC 11", False),
        ("UBC 10", "UBC 1", False),
        ("UBC 0", "UBC", False),
        ("UBC 1-05", "UBC 1-5", False),
        ("LP 1.05", "LP 1.5", False),
        ("LP 0.5", "LP .5", False),
        ("NGC 2632-0", "NGC 2632-00", False),
        ("Collinder 69", "Collinder 69b", False),
    ],
)
def test_spellings_of_clusters(one, other, is_same):
    assert (same_name_key(one) == same_name_key(other)) is is_same


@pytest.mark.parametrize(
    ("listed", "stated", "expected"),
    [
        (["NGC_2632"], ["NGC 2632"], {"NGC_2632": "NGC 2632"}),
        (
            ["ngc2632", "Melotte 22"],
            ["NGC 02632", "melotte_022"],
            {"ngc2632": "NGC 02632", "Melotte 22": "melotte_022"},
        ),
        # Equal names first; others only if there is one.
        (["NGC 752"], ["NGC 752", "NGC_0752"], {"NGC 752": "NGC 752"}),
        (["ngc752"], ["NGC 752", "NGC_0752"], {}),
        (["NGC 7520", "UBC 1 2"], ["NGC 752", "UBC 12"], {}),
        (["UBC 10", "NGC 100"], ["UBC 1", "NGC_100"], {"NGC 100": "NGC_100"}),
    ],
)
def test_case_blanks_underscores_and_zeros_do_not_count_where_one_cluster_is_meant(listed, stated, expected):
    assert match_names(listed, stated) == dict.fromkeys(listed) | expected


def test_what_was_matched_and_what_was_not_is_said():
    matches = match_names(["ngc752", "A", "M 67"], ["NGC 752", "A"])
    other, absent = describe_matches(matches, ["NGC 752", "A"])
    assert other == "Clusters under other names in the table of clusters: ngc752 is NGC 752."
    assert absent == "Not in the table of clusters: M 67."
    assert describe_matches({"A": None}, []) == ()


def test_many_clusters_without_stars_are_counted():
    assert describe_unmatched([]) == ""
    assert "no cluster A, B:" in describe_unmatched(["A", "B"])
    assert "no cluster A, B, C, D, E and 2 more:" in describe_unmatched("ABCDEFG")
