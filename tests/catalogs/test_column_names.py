"""Names of columns: those of the catalogues of today are recognized, and doubtful ones are asked for."""

import itertools

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table

from starjax.catalogs import column_names, feature_notes, member_list
from starjax.catalogs.column_values import CatalogError
from tests.catalogs.member_lists import ASTROMETRY

OURS = (*member_list.column_units(), *member_list.IDENTITIES)
# Columns of published catalogues, and what they are.
VIZIER_EDR3 = (
    "_RAJ2000 _DEJ2000 RA_ICRS e_RA_ICRS DE_ICRS e_DE_ICRS Source Plx e_Plx PM pmRA e_pmRA pmDE e_pmDE RUWE "
    "FG e_FG Gmag e_Gmag BPmag RPmag BP-RP RVDR2 e_RVDR2 GmagCorr"
)
HUNT_REFFERT = (
    "Name ID GaiaDR3 Prob RA_ICRS DE_ICRS GLON GLAT pmRA e_pmRA pmDE e_pmDE Plx e_Plx Gmag "
    "BPmag RPmag BP-RP RV e_RV"
)
CANTAT_GAUDIN = "RA_ICRS DE_ICRS GLON GLAT Plx pmRA* pmDE Gmag BP-RP Proba Cluster GaiaDR2"
GAIA_DR2 = (
    "solution_id designation source_id ra ra_error dec dec_error parallax parallax_error pmra pmra_error "
    "pmdec pmdec_error phot_g_mean_mag phot_bp_mean_mag phot_rp_mean_mag bp_rp radial_velocity "
    "radial_velocity_error"
)
CANTAT_GAUDIN_2018 = (
    "RA_ICRS DE_ICRS Source Plx e_Plx pmRA* e_pmRA* pmDE e_pmDE RV e_RV o_Gmag Gmag BP-RP PMemb Cluster"
)
APOGEE = (
    "APOGEE_ID RA DEC J J_ERR VHELIO_AVG GAIAEDR3_SOURCE_ID GAIAEDR3_PARALLAX GAIAEDR3_PARALLAX_ERROR "
    "GAIAEDR3_PMRA GAIAEDR3_PMRA_ERROR GAIAEDR3_PHOT_G_MEAN_MAG GAIAEDR3_R_MED_GEO"
)
LAMOST = (
    "obsid designation snrg z rv rv_err ra dec ra_obs dec_obs gaia_source_id gaia_g_mean_mag "
    "ra_gaia dec_gaia parallax_gaia parallax_error_gaia"
)
SLOAN = "ra dec gmag rmag imag e_gmag Gmag BPmag RPmag Jmag Hmag Kmag"
WITH_UNITS = (
    "RA(deg)|DEC(deg)|parallax [mas]|e_Plx (mas)|pmRA_mas/yr|pmRA_error_mas/yr|pm_dec [mas yr^-1]|rv_kms|"
    "Gmag (mag)|BP-RP [mag]|Age (Gyr)|E(B-V)|Prob (%)"
)
UNIFIED = (
    "name Source RA_ICRS DE_ICRS GLON GLAT Plx e_Plx pmRA e_pmRA pmDE e_pmDE RV e_RV "
    "Gmag BP-RP e_Gmag e_BP-RP probs"
)
MAGNITUDES = {"phot_bp_mean_mag": "BPmag", "phot_rp_mean_mag": "RPmag"}
VELOCITIES = {"radial_velocity": "RV", "radial_velocity_error": "e_RV"}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            VIZIER_EDR3,
            ASTROMETRY
            | MAGNITUDES
            | {"source_id": "Source", "phot_g_mean_mag": "GmagCorr"}
            | {"radial_velocity": "RVDR2", "radial_velocity_error": "e_RVDR2"},
        ),
        (
            HUNT_REFFERT,
            ASTROMETRY
            | MAGNITUDES
            | VELOCITIES
            | {"source_id": "GaiaDR3", "phot_g_mean_mag": "Gmag", "membership_probability": "Prob"},
        ),
        (
            CANTAT_GAUDIN,
            {ours: theirs for ours, theirs in ASTROMETRY.items() if not ours.endswith("_error")}
            | {"pmra": "pmRA*", "source_id": "GaiaDR2", "cluster": "Cluster", "phot_g_mean_mag": "Gmag"}
            | {"membership_probability": "Proba"},
        ),
        (
            UNIFIED,
            ASTROMETRY
            | VELOCITIES
            | {"source_id": "Source", "phot_g_mean_mag": "Gmag", "membership_probability": "probs"},
        ),
        (GAIA_DR2, {name: name for name in GAIA_DR2.split() if name in OURS}),
        (
            CANTAT_GAUDIN_2018,
            ASTROMETRY
            | VELOCITIES
            | {"pmra": "pmRA*", "pmra_error": "e_pmRA*", "source_id": "Source", "cluster": "Cluster"}
            | {"phot_g_mean_mag": "Gmag", "membership_probability": "PMemb"},
        ),
    ],
)
def test_catalogues_are_recognized_whatever_their_case(names, expected):
    for change in (str, str.lower, str.upper):
        changed = {ours: change(theirs) for ours, theirs in expected.items()}
        assert column_names.match([change(name) for name in names.split()], OURS, {}) == changed


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            APOGEE.split(),
            {"source_id": "GAIAEDR3_SOURCE_ID", "ra": "RA", "dec": "DEC", "parallax": "GAIAEDR3_PARALLAX"}
            | {"parallax_error": "GAIAEDR3_PARALLAX_ERROR", "pmra": "GAIAEDR3_PMRA"}
            | {"pmra_error": "GAIAEDR3_PMRA_ERROR", "phot_g_mean_mag": "GAIAEDR3_PHOT_G_MEAN_MAG"}
            | {"radial_velocity": "VHELIO_AVG", "distance": "GAIAEDR3_R_MED_GEO"},
        ),
        (
            LAMOST.split(),
            {"source_id": "gaia_source_id", "ra": "ra", "dec": "dec", "phot_g_mean_mag": "gaia_g_mean_mag"}
            | {"radial_velocity": "rv", "radial_velocity_error": "rv_err"}
            | {"parallax": "parallax_gaia", "parallax_error": "parallax_error_gaia"},
        ),
        (SLOAN.split(), {"ra": "ra", "dec": "dec", "phot_g_mean_mag": "Gmag"} | MAGNITUDES),
        (["g_mag", "r_mag", "i_mag"], {}),
        (
            ["g_mag", "bp_mag", "rp_mag"],
            dict(zip(MAGNITUDES, ["bp_mag", "rp_mag"], strict=True)) | {"phot_g_mean_mag": "g_mag"},
        ),
        (
            WITH_UNITS.split("|"),
            {
                "ra": "RA(deg)",
                "dec": "DEC(deg)",
                "parallax": "parallax [mas]",
                "parallax_error": "e_Plx (mas)",
            }
            | {"pmra": "pmRA_mas/yr", "pmra_error": "pmRA_error_mas/yr", "pmdec": "pm_dec [mas yr^-1]"}
            | {"radial_velocity": "rv_kms", "phot_g_mean_mag": "Gmag (mag)", "bp_rp": "BP-RP [mag]"}
            | {"membership_probability": "Prob (%)"},
        ),
        (
            ["RA (J2000)", "Dec (h:m:s)", "Gaia DR3", "err_RV", "RV"],
            {
                "ra": "RA (J2000)",
                "dec": "Dec (h:m:s)",
                "source_id": "Gaia DR3",
                "radial_velocity": "RV",
                "radial_velocity_error": "err_RV",
            },
        ),
    ],
)
def test_joined_tables_and_names_with_units_are_recognized(names, expected):
    assert column_names.match(names, OURS, {}) == expected


@pytest.mark.parametrize(
    ("header", "ours", "factor"),
    [
        ("parallax [arcsec]", "parallax", 1000),
        ("pmRA (arcsec/yr)", "pmra", 1000),
        ("rv [m/s]", "radial_velocity", 1e-3),
        ("distance_kpc", "distance", 1000),
        ("Prob (%)", "membership_probability", 0.01),
        ("Gmag [Vegamag]", None, 1),
    ],
)
def test_units_in_names_count(header, ours, factor):
    found = check(**{header: np.linspace(0.3, 0.9, 20)})
    if ours is None:
        assert found.meta["unused"] == [header]
    else:
        np.testing.assert_allclose(found[ours], factor * np.linspace(0.3, 0.9, 20))
    hours = Table({"RA (hours)": np.linspace(1, 2, 20), "Dec [deg]": np.linspace(1, 2, 20)})
    np.testing.assert_allclose(member_list.check_member_list(hours, "here")["ra"], np.linspace(15, 30, 20))
    assert member_list.check_member_list(hours, "here").meta["is_unit_stated"]


def test_of_columns_with_the_same_values_the_most_complete_is_used():
    values = np.linspace(5, 6, 20)
    with_gap = np.where(np.arange(20) == 3, np.nan, np.round(values, 3))
    found = check(plx_1=with_gap, plx_2=values, plx_y=np.round(values, 4))
    np.testing.assert_array_equal(found["parallax"], values)
    assert found.meta["recognized"]["parallax"] == "plx_2 (the same as plx_y and plx_1)"
    assert found.meta["unused"] == []
    with pytest.raises(CatalogError, match="plx_1 and plx_2 could both be parallax"):
        check(plx_1=values, plx_2=values + 0.01)
    identities = 4611686018427387905 + np.arange(20)
    with pytest.raises(CatalogError, match="source_id_1 and source_id_2 could both be source_id"):
        check(source_id_1=identities, source_id_2=identities + 1)
    texts = identities.astype(str)
    assert "the same as" in check(source_id_1=texts, source_id_2=texts).meta["recognized"]["source_id"]


@pytest.mark.parametrize("unit", ["deg", "arcmin"])
def test_an_angle_is_no_distance(unit):
    distance = MaskedColumn(np.linspace(0.1, 0.9, 20), unit=unit)
    for found in (check(distance=distance), check(**{f"distance ({unit})": np.asarray(distance)})):
        assert "distance" not in found.colnames
        assert len(found.meta["unused"]) == 1


def test_endings_of_joined_tables_are_recognized_and_two_of_them_asked_for():
    assert column_names.match(["ra_1", "dec_x", "Plx_2"], OURS, {}) == {
        "ra": "ra_1",
        "dec": "dec_x",
        "parallax": "Plx_2",
    }
    with pytest.raises(CatalogError, match=r"^ra_1 and ra_2 could both be ra: .*\(--columns=ra=ra_1\)"):
        column_names.match(["ra_1", "ra_2", "dec"], OURS, {})
    assert column_names.match(["ra_1", "ra_2"], OURS, {"ra": "ra_2"}) == {"ra": "ra_2"}
    assert column_names.match(["ra", "ra_2"], OURS, {}) == {"ra": "ra"}
    with pytest.raises(CatalogError, match=r"^Prob and Pmemb could both be membership_probability"):
        column_names.match(["Prob", "Pmemb"], OURS, {})


def test_our_names_and_stated_ones_come_first():
    names = ["ra", "RA", "RA_ICRS", "alpha", "dec"]
    assert column_names.match(names, OURS, {}) == {"ra": "ra", "dec": "dec"}
    assert column_names.match(names, OURS, {"ra": "alpha"}) == {"ra": "alpha", "dec": "dec"}
    with pytest.raises(CatalogError, match=r"^Ra and RA could both be ra"):
        column_names.match(["Ra", "RA"], OURS, {})


def test_errors_are_those_of_the_column_that_is_used():
    assert "radial_velocity_error" not in column_names.match(["RV", "RVDR2", "e_RVDR2"], OURS, {})
    names = ["RV", "e_RV", "RV_APOGEE", "e_RV_APOGEE"]
    assert column_names.match(names, OURS, {"radial_velocity": "RV_APOGEE"}) == {
        "radial_velocity": "RV_APOGEE",
        "radial_velocity_error": "e_RV_APOGEE",
    }
    names, stated = ["parallax", "parallax_error", "plx_own"], {"parallax": "plx_own"}
    assert column_names.match(names, OURS, stated) == stated
    assert column_names.match(names[1:], OURS, stated) == stated | {"parallax_error": "parallax_error"}
    assert column_names.match(["pmra_1", "pmra_error_1", "pmra_error_2"], OURS, {}) == {
        "pmra": "pmra_1",
        "pmra_error": "pmra_error_1",
    }


def test_stated_columns_answer_the_question_and_choose_the_table(tmp_path):
    positions = {"ra_1": np.arange(12.0), "ra_2": np.arange(1, 13.0), "dec": np.arange(12.0)}
    Table(positions).write(tmp_path / "list.csv")
    with pytest.raises(
        CatalogError, match=r"list\.csv: ra_1 and ra_2 could both be ra: .*\(--columns=ra=ra_1\)$"
    ):
        member_list.read_member_list(tmp_path / "list.csv")
    assert len(member_list.read_member_list(tmp_path / "list.csv", {"ra": "ra_1"})) == 12
    stars = Table({"alpha": np.arange(12.0), "delta": np.arange(12.0)})
    tables = [fits.PrimaryHDU(), fits.table_to_hdu(Table({"start": [1.0, 2.0]})), fits.table_to_hdu(stars)]
    fits.HDUList(tables).writeto(tmp_path / "list.fits")
    found = member_list.read_member_list(tmp_path / "list.fits", {"ra": "alpha", "dec": "delta"})
    assert len(found) == 12


def test_errors_may_have_another_usual_name_than_their_column():
    for names in (["parallax", "e_Plx"], ["Plx", "parallax_error"], ["pmdec", "e_pmDE"]):
        value = "pmdec" if "pmdec" in names else "parallax"
        assert column_names.match(names, OURS, {}) == {value: names[0], f"{value}_error": names[1]}


def check(**columns):
    table = Table({"RA_ICRS": np.linspace(10, 11, 20), "DE_ICRS": np.linspace(50, 51, 20), **columns})
    return member_list.check_member_list(table, "members")


@pytest.mark.parametrize("ours", column_names.USUAL)
def test_all_names_of_published_columns_are_read(ours):
    values = np.linspace(0.1, 0.9, 12)
    positions = {"ra": values, "dec": values}
    others = {name: column for name, column in positions.items() if name != ours}
    for name in itertools.chain(*column_names.USUAL[ours]):
        table = Table({**others, name: values, f"e_{name}": values / 10})
        found = member_list.check_member_list(table, "members")
        if ours not in member_list.IDENTITIES:
            np.testing.assert_allclose(found[ours], values, err_msg=name)
        if f"{ours}_error" in OURS:
            np.testing.assert_allclose(found[f"{ours}_error"], values / 10, err_msg=name)


def test_units_at_the_end_of_names_count():
    found = check(RV_kms=np.linspace(1, 2, 20), distance_kpc=np.linspace(0.1, 0.2, 20))
    np.testing.assert_allclose(found["radial_velocity"], np.linspace(1, 2, 20))
    np.testing.assert_allclose(found["distance"], np.linspace(100, 200, 20))
    with pytest.raises(CatalogError, match=r"column RV_rad .* is in rad, which cannot be converted"):
        check(RV_rad=np.linspace(1, 2, 20))


def test_a_name_is_that_of_clusters_if_many_stars_share_it():
    shared = check(Name=["A"] * 10 + ["B"] * 10)
    assert list(member_list.split_clusters(shared)) == ["A", "B"]
    of_stars = check(Name=[f"star {i}" for i in range(20)])
    assert of_stars.meta["unused"] == ["Name"]
    assert of_stars.meta["recognized"] == {"ra": "RA_ICRS", "dec": "DE_ICRS"}
    for missing in ("", "--"):
        assert check(Name=[missing] * 15 + ["HD 1"] * 5).meta["unused"] == ["Name"]
    assert check(Name=np.ma.masked_all(20, "U4")).meta["unused"] == ["Name"]


def test_it_is_asked_whether_names_that_many_stars_share_are_of_clusters():
    note = "Do the values of OC name clusters? Then say so: --columns=cluster=OC."
    pair, constant = ["A"] * 10 + ["B"] * 10, ["A"] * 20
    shared = check(OC=pair, flag=pair, solution_id=constant, label=[f"star {i}" for i in range(20)])
    assert list(member_list.split_clusters(shared)) == ["members"]
    assert feature_notes.describe_columns(shared)[-1] == note
    for columns in ({"cluster": pair, "OC": pair}, {"OC": constant}, {}):
        assert not any("name clusters" in one for one in feature_notes.describe_columns(check(**columns)))
    incomplete = feature_notes.describe_columns(check(Name=["A"] * 10 + ["B"] * 9 + [""]))
    assert not any("name clusters" in one for one in incomplete)


def test_an_empty_column_does_not_hide_a_full_one():
    empty = np.full(20, np.nan)
    found = check(
        ra=empty, Plx=np.full(20, 5.0), parallax=np.ma.masked_all(20), GmagCorr=empty, Gmag=np.full(20, 9.0)
    )
    assert found.meta["recognized"] | {"phot_g_mean_mag": "Gmag"} == found.meta["recognized"]
    assert (found["ra"][0], found["parallax"][0]) == (10, 5)
    assert np.isnan(check(Gmag=empty)["phot_g_mean_mag"]).all()


def test_colours_are_taken_from_the_magnitudes_where_there_are_none():
    bp, rp, colour = np.full(20, 15.0), np.full(20, 14.25), np.full(20, 0.5)
    colour[3] = np.nan
    np.testing.assert_array_equal(check(BPmag=bp, RPmag=rp)["bp_rp"], 0.75)
    found = check(**{"BPmag": bp, "RPmag": rp, "BP-RP": colour})["bp_rp"]
    assert found[3] == 0.75
    assert (np.delete(found, 3) == 0.5).all()
    bp[5] = -999.0
    assert np.isnan(check(BPmag=bp, RPmag=rp)["bp_rp"][5])


def test_probabilities_in_percent_are_fractions():
    percent = np.linspace(0, 100, 20)
    np.testing.assert_allclose(check(Pmemb=percent)["membership_probability"], percent / 100)
    assert check(Pmemb=percent).meta["recognized"]["membership_probability"] == "Pmemb in percent"
    np.testing.assert_array_equal(check(Pmemb=percent / 100)["membership_probability"], percent / 100)


@pytest.mark.parametrize("fill", [99.99, 999.0, -99.0, np.nan])
@pytest.mark.parametrize("is_percent", [False, True])
@pytest.mark.parametrize("num_filled", [1, 15])
def test_fill_values_among_probabilities(fill, is_percent, num_filled):
    values = np.linspace(0.02, 0.98, 40)
    values[:num_filled] = np.nan
    listed = np.where(np.isnan(values), fill, values * (100 if is_percent else 1))
    table = Table({"ra": np.linspace(1, 2, 40), "dec": np.zeros(40), "Prob": listed})
    found = member_list.check_member_list(table, "here")["membership_probability"]
    np.testing.assert_allclose(found[num_filled:], values[num_filled:])
    # 99.99 % may be meant: it counts for as much as a missing value.
    assert (np.isnan(found[:num_filled]) | (found[:num_filled] > 0.999)).all()


def test_few_members_among_field_stars_are_in_percent():
    percent = np.r_[np.zeros(80), 0.2, 0.4, 55, 80, 98]
    table = Table({"ra": np.linspace(1, 2, 85), "dec": np.zeros(85), "Prob": percent})
    np.testing.assert_allclose(
        member_list.check_member_list(table, "here")["membership_probability"], percent / 100
    )


def test_a_probability_above_one_does_not_make_all_of_them_percent():
    fractions = np.full(20, 0.9)
    fractions[3] = 999.0
    found = check(Prob=fractions)["membership_probability"]
    assert np.isnan(found[3])
    assert (np.delete(found, 3) == 0.9).all()
    fractions[3] = 1 + 1e-7
    assert (np.delete(check(Prob=fractions)["membership_probability"], 3) == 0.9).all()
    fractions[3] = 50.0
    with pytest.raises(CatalogError, match=r"Prob .* is 50 in row 4, not between 0 and 1"):
        check(Prob=fractions)
