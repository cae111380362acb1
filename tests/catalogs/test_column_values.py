"""Units, numbers and identities of columns: converted exactly, or refused by name."""

import numpy as np
import pandas as pd
import pytest
from astropy import units as u
from astropy.table import MaskedColumn, Table

from starjax.catalogs import column_values, member_list
from tests.catalogs.member_lists import IDENTITIES, RADIAL, csv, stars, write


@pytest.mark.parametrize("kind", [".ecsv", ".fits", ".vot", ".parquet"])
def test_units_are_converted(tmp_path, kind):
    whole, other = stars(), stars()
    units = {
        "ra": u.rad,
        "dec": u.arcmin,
        "parallax": u.arcsec,
        "pmra": u.deg / u.yr,
        "radial_velocity": u.m / u.s,
    }
    for name, unit in units.items():
        other[name] = MaskedColumn(
            other[name].quantity.to_value(unit) if name != "radial_velocity" else RADIAL * 1e3
        )
        other[name].unit = unit
        other[name].mask = np.isnan(np.asarray(whole[name]))
    path = tmp_path / f"members{kind}"
    if kind == ".parquet":
        other.write(path, format="parquet")
    else:
        write(other, path)
    found = member_list.read_member_list(path)
    for name in units:
        np.testing.assert_allclose(found[name], np.ma.filled(whole[name], np.nan), rtol=1e-10)


@pytest.mark.parametrize(
    ("name", "unit", "said"),
    [
        ("parallax", "km", r"members\.ecsv: column parallax is in km, which cannot be converted to mas"),
        ("radial_velocity", "mas / yr", "column radial_velocity is in mas / yr.*km / s"),
        ("phot_g_mean_mag", "Jy", "column phot_g_mean_mag is in Jy"),
        ("log_L_L_sol", "solLum", "column log_L_L_sol is in solLum.*cannot be converted to log10 Lsun"),
        ("pmra", "furlong", "column pmra is in furlong"),
    ],
)
def test_units_of_another_kind_are_refused(tmp_path, name, unit, said):
    table = stars()
    table["log_L_L_sol"] = np.zeros(12)
    path = write(table, tmp_path / "members.ecsv")
    lines = [
        f"# - {{name: {name}, unit: {unit}, datatype: float64}}"
        if line.startswith(f"# - {{name: {name},")
        else line
        for line in path.read_text().splitlines()
    ]
    path.write_text("\n".join(lines))
    with pytest.raises(column_values.CatalogError, match=said):
        member_list.read_member_list(path)


@pytest.mark.parametrize("unit", [u.dex, u.dex(u.solLum), u.dimensionless_unscaled])
def test_logarithms_and_magnitudes_are_not_converted(unit):
    table = stars()
    table["log_L_L_sol"] = MaskedColumn(np.arange(12.0), unit=unit)
    table["phot_g_mean_mag"].unit = u.mag(u.AB)
    found = member_list.check_member_list(table, "here")
    np.testing.assert_array_equal(found["log_L_L_sol"], np.arange(12))
    np.testing.assert_array_equal(found["phot_g_mean_mag"], table["phot_g_mean_mag"])


def test_many_rows_are_abbreviated(tmp_path):
    with pytest.raises(column_values.CatalogError, match="rows 1, 2, 3, 4, 5 and 95 more"):
        member_list.read_member_list(csv(tmp_path, "ra,dec\n" + "1,x\n" * 100))


@pytest.mark.parametrize("kind", [".csv", ".parquet", ".fits", ".ecsv"])
def test_missing_identities_leave_the_others_exact(tmp_path, kind):
    table = stars()
    table["source_id"] = MaskedColumn(IDENTITIES, mask=np.arange(12) == 3)
    path = tmp_path / f"members{kind}"
    if kind == ".parquet":
        table.to_pandas(use_nullable_int=True).to_parquet(path)
    else:
        write(table, path)
    found = member_list.read_member_list(path)["source_id"]
    assert found.mask.tolist() == (np.arange(12) == 3).tolist()
    np.testing.assert_array_equal(found[~found.mask], np.delete(IDENTITIES, 3))


@pytest.mark.parametrize("kind", [".parquet", ".csv", ".fits"])
def test_identities_that_lost_digits_are_not_used(tmp_path, kind):
    table = Table({"ra": [1.0, 2.0], "dec": [1.0, 2.0], "source_id": [4.6e18, np.nan]})
    found = member_list.read_member_list(write(table, tmp_path / f"a{kind}"))
    assert "source_id" not in found.colnames
    [remark] = found.meta["remarks"]
    assert f"a{kind}: column source_id holds floating-point numbers, which lost the last digits" in remark


def test_short_identities_may_be_floating_point_numbers():
    frame = pd.DataFrame({"ra": [1.0, 2.0], "dec": [1.0, 2.0], "source_id": [12345.0, np.nan]})
    assert member_list.check_member_list(frame, "here")["source_id"].tolist() == [12345, None]


@pytest.mark.parametrize("release", ["Gaia DR3", "Gaia EDR3", "gaia dr2", "GaiaDR3"])
def test_designations_are_numbers(tmp_path, release):
    text = f"ra,dec,Gaia\n1,2,{release} {IDENTITIES[0]}\n3,4,{release} {IDENTITIES[1]}\n5,6,\n"
    found = member_list.read_member_list(csv(tmp_path, text))["source_id"]
    assert found.tolist() == [*IDENTITIES[:2].tolist(), None]


def test_identities_may_be_names(tmp_path):
    found = member_list.read_member_list(csv(tmp_path, "ra,dec,source_id\n1,2,HD 1\n3,4,\n"))
    assert found["source_id"].tolist() == ["HD 1", None]


def test_unsigned_identities_beyond_64_bits_with_a_sign_stay_as_they_are():
    table = stars()
    table["source_id"] = np.arange(12, dtype=np.uint64) + np.uint64(2**63)
    found = member_list.check_member_list(table, "here")["source_id"]
    assert found.tolist() == [str(2**63 + i) for i in range(12)]


@pytest.mark.parametrize("values", [np.zeros((12, 2)), np.zeros(12, bool)])
def test_columns_need_one_number_per_star(values):
    table = stars()
    table["pmra"] = values
    with pytest.raises(column_values.CatalogError, match="column pmra holds"):
        member_list.check_member_list(table, "here")


@pytest.mark.parametrize(
    ("name", "spelled", "factor"),
    [
        ("ra", "degrees", 1),
        ("ra", "Angle[deg]", 1),
        ("ra", "DEG", 1),
        ("ra", "h", 15),
        ("ra", "hours", 15),
        ("parallax", "milliarcsec", 1),
        ("pmra", "mas/year", 1),
        ("pmra", "[mas/yr]", 1),
        ("pmra", "mas/julianyear", 1),
        ("pmra", "arcsec per year", 1000),
        ("radial_velocity", "km/sec", 1),
        ("phot_g_mean_mag", "mag(Vega)", 1),
        ("membership_probability", "%", 0.01),
    ],
)
def test_spellings_of_units(name, spelled, factor):
    table = Table({"ra": np.array([12.0, 13.0]), "dec": [1.0, 2.0], name: np.array([12.0, 13.0])})
    table[name].unit = u.Unit(spelled, parse_strict="silent")
    found = member_list.check_member_list(table, "here")
    np.testing.assert_allclose(found[name], np.array([12, 13]) * factor)


@pytest.mark.parametrize("texts", [["0", "-1", "5", "6"], ["unmatched", "Unknown", "HD 5", "HD 6"]])
def test_placeholders_are_no_identities(tmp_path, texts):
    lines = [f"{i},2,{text}\n" for i, text in enumerate(texts)]
    found = member_list.read_member_list(csv(tmp_path, "ra,dec,source_id\n" + "".join(lines)))["source_id"]
    assert np.ma.getmaskarray(found).tolist() == [True, True, False, False]
    numbers = Table({"ra": [1.0, 2.0], "dec": [1.0, 2.0], "source_id": [0, 5]})
    assert member_list.check_member_list(numbers, "here")["source_id"].mask.tolist() == [True, False]
