"""A stored run directory predicts as it did when it was made.

`tests/data/run` is a small run (without events and figures), `run-prediction.csv` its prediction for
`members.ecsv` at that time. A change of the format stores a new run, made by the version that changes it.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from starjax import errors
from starjax.inference.loading import load_predictor
from starjax.reports.run_tables import read_run
from starjax.runs.directory import FORMAT, RunDirectory, read_record

RUN = Path(__file__).parents[1] / "data" / "run"


def test_a_stored_run_predicts_as_it_did(member_list_file):
    run = load_predictor(RUN)
    assert run.record["format"] == FORMAT
    now, then = run.predict(member_list_file).table, pd.read_csv(f"{RUN}-prediction.csv")
    assert list(now["cluster"]) == list(then["cluster"])
    for name in then.columns.drop("cluster"):
        np.testing.assert_allclose(now[name], then[name], rtol=1e-3, err_msg=name)


def test_a_stored_run_is_ranked():
    table = read_run(RUN)
    assert set(table["target"]) == {"time", "mass"}
    assert np.isfinite(table["snapshot_scaled_mae"]).all()


def test_another_format_is_refused_by_its_number(tmp_path):
    run_dir = RunDirectory(tmp_path)
    run_dir.config.write_text('{"format": 1000}')
    with pytest.raises(errors.StarjaxError, match=f"has format 1000; this version reads {FORMAT}"):
        read_record(run_dir)
