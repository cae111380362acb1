"""Bundles have one scaler per group; files that are not bundles are refused."""

import json
import pickletools

import joblib
import numpy as np
import pytest

from starjax.datasets.scalers import bundle, scaler
from starjax.datasets.scalers.fit import fit_scaler


def test_a_group_shares_one_scale():
    values = np.array([[0.0, 10.0], [2.0, 12.0]])
    scalers = bundle.fit_bundle(values, ("x", "y"), [(("x", "y"), "minmax")])
    np.testing.assert_allclose(scalers.transform(values, ("x", "y")), values / 12)
    np.testing.assert_allclose(scalers.inverse(values / 12, ("x", "y")), values)
    np.testing.assert_allclose(scalers.transform(values[:, ::-1], ("y", "x")), values[:, ::-1] / 12)


def test_a_bundle_is_read_as_it_was_written(tmp_path, tables):
    scalers = bundle.ScalerBundle(tuple(((m,), fit_scaler(m, tables["data"])) for m in scaler.METHODS))
    bundle.save_bundle(tmp_path / "bundle.joblib", scalers)
    assert bundle.load_bundle(tmp_path / "bundle.joblib") == scalers


def test_a_bundle_passes_through_json_unchanged(tables):
    scalers = bundle.ScalerBundle(tuple(((m,), fit_scaler(m, tables["data"])) for m in scaler.METHODS))
    content = json.loads(json.dumps(bundle.to_plain(scalers)))
    assert bundle.from_plain(content, "metadata.json") == scalers


@pytest.mark.parametrize(
    "value", [None, True, "1", float("nan"), float("inf"), 10**400, [], [2, 1], [1, 2], {"a": 1}]
)
def test_invalid_numbers_in_json_are_refused(value):
    params = {"center": 0.0, "scale": value}
    content = {"format": 1, "groups": [{"keys": ["x"], "method": "robust", "params": params}]}
    with pytest.raises(scaler.ScalerError, match=r"metadata\.json is not a bundle of scalers"):
        bundle.from_plain(json.loads(json.dumps(content)), "metadata.json")


def test_the_pickle_of_a_bundle_names_no_globals(tmp_path, tables):
    path = tmp_path / "bundle.joblib"
    bundle.save_bundle(path, bundle.ScalerBundle(((("x",), fit_scaler("quantile", tables["data"])),)))
    opcodes = {opcode.name for opcode, *_ in pickletools.genops(path.read_bytes())}
    assert not opcodes & {"GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "INST", "OBJ"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "not a bundle"),
        ({"format": 99, "groups": []}, "format 99"),
        ({"format": 1, "groups": [{"keys": ["x"], "method": "magic", "params": {}}]}, "magic"),
        ({"format": 1, "groups": [{"keys": ["x"]}]}, "not a bundle"),
        ({"format": 1, "groups": [{"keys": ["x"], "method": "robust", "params": {}}]}, "center"),
        ({"format": 1, "groups": [{"keys": ["x"], "method": ["robust"], "params": {}}]}, "not a bundle"),
        ({"format": 1, "groups": np.ones(3)}, "numpy"),
    ],
)
def test_files_that_are_not_bundles_are_refused_by_name(tmp_path, content, said):
    path = tmp_path / "bundle.joblib"
    joblib.dump(content, path)
    with pytest.raises(scaler.ScalerError, match=said) as caught:
        bundle.load_bundle(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("method", "values", "said"),
    [
        ("log10_standard", [1.0, -2.0, 3.0], "mass: .*1 of 3"),
        ("log1p_minmax", [-1.0, 0.0], "mass: .*1 of 2"),
        ("robust", [1.0, np.nan], "mass: .*1 of 2"),
        ("magic", [1.0, 2.0], "magic.*identity"),
    ],
)
def test_a_failed_fit_names_the_column(method, values, said):
    with pytest.raises(scaler.ScalerError, match=said):
        bundle.fit_bundle(np.array(values)[:, None], ("mass",), [(("mass",), method)])


@pytest.mark.parametrize("groups", [[], [(("x",), "robust"), (("x",), "minmax")]])
def test_a_column_must_be_in_one_group(groups):
    with pytest.raises(scaler.ScalerError, match="x should be in one group"):
        bundle.fit_bundle(np.ones((3, 1)), ("x",), groups)
