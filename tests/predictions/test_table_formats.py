"""Tables of a prediction: the same values, units and descriptions in each format; samples of all clusters."""

import dataclasses
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
from astropy.io import fits, votable
from astropy.io.votable.ucd import check_ucd
from astropy.table import Table

from starjax import quantities
from starjax.catalogs import member_list
from starjax.inference.loading import load_predictor
from starjax.predictions import prediction_columns, prediction_files, table_formats

ROOT = Path(__file__).parents[2]
NAMES = ("Köhler 1", "½ ± β")


@pytest.fixture(scope="module")
def run():
    return load_predictor(ROOT / "tests" / "data" / "run")


@pytest.fixture(scope="module")
def found(run, member_list_file):
    """A prediction for two clusters of equal stars; a mass of the second is not known."""
    stars = member_list.read_member_list(member_list_file).to_pandas().drop(columns="source_id")
    both = pd.concat([stars.assign(cluster=NAMES[0]), stars.assign(cluster=NAMES[1], ra=stars["ra"] + 30)])
    prediction = run.predict(both)
    table = prediction.table.copy()
    table.loc[1, "mass_wolf"] = np.nan
    return dataclasses.replace(prediction, table=table)


@pytest.fixture(scope="module")
def out(run, found, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    prediction_files.write_prediction(found, run, folder, num_samples=50, figures="none")
    return folder


@pytest.mark.parametrize("ending", ["ecsv", "vot", "fits", "parquet"])
def test_astropy_reads_what_was_written(found, out, ending):
    read = Table.read(out / f"prediction.{ending}")
    read.convert_bytestring_to_unicode()
    assert read.colnames == list(found.table)
    columns = prediction_columns.all_columns(found.posterior.target_keys)
    for name in read.colnames:
        column, expected = columns[name], found.table[name].to_numpy()
        assert (read[name].unit or "") == column.unit
        assert read[name].description == column.description
        assert read[name].meta["ucd"] == column.ucd
        if expected.dtype == object:
            # FITS takes ASCII only.
            plain = [one.replace("±", "+/-").encode("ascii", "backslashreplace").decode() for one in expected]
            expected = plain if ending == "fits" else expected
        # Readers mask empty text and NaN.
        values = (
            read[name].filled(np.nan if read[name].dtype.kind == "f" else "")
            if np.ma.is_masked(read[name])
            else read[name]
        )
        np.testing.assert_array_equal(values, expected)
    assert str(read["time"].unit) == "Myr"
    assert str(read["mass_virial_error"].unit) == "solMass"


def test_other_readers_find_units_and_descriptions(found, out):
    votable.parse(out / "prediction.vot", verify="exception")
    field = votable.parse_single_table(out / "prediction.vot").get_field_by_id_or_name("cluster")
    assert (field.datatype, field.ucd) == ("unicodeChar", "meta.id;meta.main")
    header = fits.getheader(out / "prediction.fits", 1)
    assert (header["TTYPE3"], header["TUNIT3"]) == ("time_p16", "Myr")
    assert header["TCOMM3"] == "age: lower bound of 68 % interval"
    assert header["TUCD3"] == "time.age;stat.min"
    assert np.isnan(fits.getdata(out / "prediction.fits")["mass_wolf"][1])
    schema = pyarrow.parquet.read_schema(out / "prediction.parquet")
    assert schema.field("distance_pc").metadata == {
        b"unit": b"pc",
        b"ucd": b"pos.distance",
        b"description": b"distance of the cluster, as used",
    }
    pd.testing.assert_frame_equal(pd.read_parquet(out / "prediction.parquet"), found.table)


def test_each_column_has_a_ucd_and_is_on_the_page():
    columns = prediction_columns.COLUMNS | prediction_columns.target_columns("KEY")
    page = (ROOT / "docs/reference/prediction.md").read_text()
    rows = re.findall(r"^\| (`.*?) \|", page.partition("## Columns")[2].partition("\n## ")[0], re.M)
    assert sorted(columns) == sorted(name for row in rows for name in re.findall(r"`(.+?)`", row))
    targets = [key for key, one in quantities.QUANTITIES.items() if one.kind == "target"]
    for name, column in prediction_columns.all_columns(targets).items():
        assert column.description.isascii()
        assert check_ucd(column.ucd, check_controlled_vocabulary=True, has_colon=False), name


def test_samples_are_those_of_each_cluster(found, tmp_path, monkeypatch):
    path = tmp_path / "samples.parquet"
    monkeypatch.setattr(table_formats, "_NUM_ROW", 50)
    table_formats.write_samples(found.posterior, path, 50)
    assert pyarrow.parquet.ParquetFile(path).num_row_groups == 2
    samples = pd.read_parquet(path)
    assert list(samples) == ["cluster", "sample", *found.posterior.target_keys]
    assert list(samples["sample"]) == [*range(50)] * 2
    for name in NAMES:
        read = samples[samples["cluster"] == name][list(found.posterior.target_keys)]
        expected = found.samples(name, 50).astype(np.float32)
        pd.testing.assert_frame_equal(read.reset_index(drop=True), expected)
    read = Table.read(path)["time"]
    assert (str(read.unit), read.description) == ("Myr", "age: sample of the posterior")


def test_without_samples_there_is_no_file_of_them(run, found, tmp_path):
    written = prediction_files.write_prediction(found, run, tmp_path, num_samples=0, figures="none")
    assert {path.name for path in written} == {path.name for path in tmp_path.iterdir()}
    assert table_formats.SAMPLES not in {path.name for path in written}


def test_arviz_takes_the_samples(found):
    pytest.importorskip("xarray")
    samples = found.to_xarray(20)
    assert samples["time"].dims == ("chain", "draw", "cluster")
    assert samples["time"].attrs["units"] == "Myr"
    own = samples["time"].sel(cluster=NAMES[1], chain=0)
    np.testing.assert_array_equal(own, found.samples(NAMES[1], 20)["time"])
    arviz = pytest.importorskip("arviz")
    assert len(arviz.summary(samples, kind="stats")) == 2 * len(found.posterior.target_keys)


def test_without_xarray_the_error_says_what_to_install(found, monkeypatch):
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(ImportError, match="pip install arviz"):
        found.to_xarray()
