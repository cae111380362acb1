"""Bundles: one scaler a group, kept as plain numbers, refused when they are something else."""

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


def test_bundle_comes_back_from_its_file_the_same(tmp_path, tables):
    scalers = bundle.ScalerBundle(tuple(((m,), fit_scaler(m, tables["data"])) for m in scaler.METHODS))
    bundle.save_bundle(tmp_path / "bundle.joblib", scalers)
    assert bundle.load_bundle(tmp_path / "bundle.joblib") == scalers


def test_bundle_comes_back_from_json_the_same(tables):
    scalers = bundle.ScalerBundle(tuple(((m,), fit_scaler(m, tables["data"])) for m in scaler.METHODS))
    content = json.loads(json.dumps(bundle.to_plain(scalers)))
    assert bundle.from_plain(content, "metadata.json") == scalers


@pytest.mark.parametrize(
    "value", [None, True, "1", float("nan"), float("inf"), 10**400, [], [2, 1], {"a": 1}]
)
def test_numbers_of_json_that_are_none_are_refused(value):
    """What JSON can hold and a pickle of a bundle cannot."""
    params = {"center": 0.0, "scale": value}
    content = {"format": 1, "groups": [{"keys": ["x"], "method": "robust", "params": params}]}
    with pytest.raises(scaler.ScalerError, match=r"metadata\.json is not a bundle of scalers"):
        bundle.from_plain(json.loads(json.dumps(content)), "metadata.json")


def test_bundle_file_names_nothing_but_plain_values(tmp_path, tables):
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
def test_files_that_are_no_bundle_are_refused_by_name(tmp_path, content, said):
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
def test_what_cannot_be_fitted_is_refused_naming_the_key(method, values, said):
    with pytest.raises(scaler.ScalerError, match=said):
        bundle.fit_bundle(np.array(values)[:, None], ("mass",), [(("mass",), method)])


@pytest.mark.parametrize("groups", [[], [(("x",), "robust"), (("x",), "minmax")]])
def test_a_key_stands_in_one_group(groups):
    with pytest.raises(scaler.ScalerError, match="x should stand in one group"):
        bundle.fit_bundle(np.ones((3, 1)), ("x",), groups)
