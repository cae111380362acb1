"""Run directories of every format that is read: each answers as it did when it was made.

`tests/data/runs/format-N` is a small run of that format (without events and figures), `format-N-prediction.csv` what it then said of
the packaged example. A new format adds one of its own, made by the version that brings it; none is ever made again.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from starjax import errors
from starjax.inference import predictor as predictor_module
from starjax.inference.predictor import load_predictor
from starjax.reports import run_tables
from starjax.runs.directory import FORMAT, READABLE, RunDirectory, read_record

RUNS = Path(__file__).parent / "data" / "runs"
EXAMPLE = Path(predictor_module.__file__).parent / "data" / "example" / "members.ecsv"
every_format = pytest.mark.parametrize("number", READABLE)


def test_every_format_that_is_read_has_a_run_of_it():
    assert {path.name for path in RUNS.iterdir() if path.is_dir()} == {f"format-{n}" for n in READABLE}
    assert max(READABLE) == FORMAT


@every_format
def test_a_run_of_any_format_answers_as_it_did(number):
    run = load_predictor(RUNS / f"format-{number}")
    assert run.record["format"] == number
    found, then = run.predict(EXAMPLE).table, pd.read_csv(RUNS / f"format-{number}-prediction.csv")
    assert list(found["cluster"]) == list(then["cluster"])
    for name in then.columns.drop("cluster"):
        np.testing.assert_allclose(found[name], then[name], rtol=1e-3, err_msg=name)


@every_format
def test_a_run_of_any_format_is_ranked(number, tmp_path):
    # Tables are called by the name that the run had.
    (tmp_path / "run").symlink_to(RUNS / f"format-{number}")
    table = run_tables.read_run(tmp_path / "run")
    assert set(table["target"]) == {"time", "mass"}
    assert np.isfinite(table["snapshot_scaled_mae"]).all()


def test_a_format_of_the_future_is_refused_by_its_number(tmp_path):
    place = RunDirectory(tmp_path)
    place.config.write_text('{"format": 1000}')
    with pytest.raises(errors.StarjaxError, match=f"has format 1000; this version reads 6 to {FORMAT}"):
        read_record(place)
