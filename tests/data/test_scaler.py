"""Scalers are those of scikit-learn, in numpy and inside jit, and are kept as plain numbers."""

import pickletools

import jax
import jax.numpy as jnp
import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starjax.data import scaler

EVERY_METHOD = pytest.mark.parametrize("method", scaler.METHODS)


@pytest.fixture(scope="module")
def tables(request):
    path = request.path.parent / "parity" / "scalers.npz"
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive}


@EVERY_METHOD
def test_numpy_equals_the_reference(method, tables):
    fitted = scaler.fit(method, tables["data"])
    scaled = fitted.transform(tables["data"])
    np.testing.assert_allclose(scaled, tables[f"transform/{method}"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(fitted.inverse(scaled), tables[f"inverse/{method}"], rtol=1e-6, atol=1e-6)


@EVERY_METHOD
def test_jit_equals_the_reference(method, tables, float64):
    fitted = scaler.fit(method, tables["data"])
    scaled = jax.jit(fitted.transform)(jnp.asarray(tables["data"]))
    np.testing.assert_allclose(scaled, tables[f"transform/{method}"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        jax.jit(fitted.inverse)(scaled), tables[f"inverse/{method}"], rtol=1e-6, atol=1e-6
    )


@EVERY_METHOD
def test_jit_in_float32_is_as_good_as_float32_allows(method, tables):
    fitted = scaler.fit(method, tables["data"])
    scaled = jax.jit(fitted.transform)(jnp.asarray(tables["data"], jnp.float32))
    assert scaled.dtype == jnp.float32
    # The normal curve is steep at its ends: there a rounding of the level is a step of the value.
    inner = np.abs(tables[f"transform/{method}"]) < 2.5
    expected = tables[f"transform/{method}"]
    np.testing.assert_allclose(np.asarray(scaled)[inner], expected[inner], rtol=1e-5, atol=3e-5)
    recovered = jax.jit(fitted.inverse)(jnp.asarray(expected, jnp.float32))
    np.testing.assert_allclose(recovered, tables[f"inverse/{method}"], rtol=1e-4, atol=1e-4)


# Not the power curve: where its exponent flattens a narrow range, no rounding leads back.
@pytest.mark.parametrize("method", [method for method in scaler.METHODS if method != "power"])
@given(values=st.lists(st.floats(0, 1e4), min_size=3, max_size=50, unique=True))
@settings(max_examples=25, deadline=None)
def test_there_and_back(method, values):
    values = np.array(values)
    if np.ptp(values) < 1e-2:
        return
    fitted = scaler.fit(method, values)
    np.testing.assert_allclose(
        fitted.inverse(fitted.transform(values)), values, rtol=1e-5, atol=1e-5 * np.ptp(values)
    )


@EVERY_METHOD
def test_a_constant_column_stays_finite(method):
    fitted = scaler.fit(method, np.full(20, 3.0))
    assert np.isfinite(fitted.transform(np.full(20, 3.0))).all()


def test_a_group_shares_one_scale():
    values = np.array([[0.0, 10.0], [2.0, 12.0]])
    bundle = scaler.fit_bundle(values, ("x", "y"), [(("x", "y"), "minmax")])
    np.testing.assert_allclose(bundle.transform(values, ("x", "y")), values / 12)
    np.testing.assert_allclose(bundle.inverse(values / 12, ("x", "y")), values)
    np.testing.assert_allclose(bundle.transform(values[:, ::-1], ("y", "x")), values[:, ::-1] / 12)


def test_bundle_comes_back_from_its_file_the_same(tmp_path, tables):
    bundle = scaler.ScalerBundle(tuple(((m,), scaler.fit(m, tables["data"])) for m in scaler.METHODS))
    scaler.save_bundle(tmp_path / "bundle.joblib", bundle)
    assert scaler.load_bundle(tmp_path / "bundle.joblib") == bundle


def test_bundle_file_names_nothing_but_plain_values(tmp_path, tables):
    path = tmp_path / "bundle.joblib"
    scaler.save_bundle(path, scaler.ScalerBundle(((("x",), scaler.fit("quantile", tables["data"])),)))
    opcodes = {opcode.name for opcode, *_ in pickletools.genops(path.read_bytes())}
    assert not opcodes & {"GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "INST", "OBJ"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "not a bundle"),
        ({"format": 99, "groups": []}, "format 99"),
        ({"format": 1, "groups": [{"keys": ["x"], "method": "magic", "params": {}}]}, "magic"),
        ({"format": 1, "groups": [{"keys": ["x"]}]}, "not a bundle"),
        ({"format": 1, "groups": np.ones(3)}, "numpy"),
    ],
)
def test_files_that_are_no_bundle_are_refused_by_name(tmp_path, content, said):
    path = tmp_path / "bundle.joblib"
    joblib.dump(content, path)
    with pytest.raises(scaler.ScalerError, match=said) as caught:
        scaler.load_bundle(path)
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
        scaler.fit_bundle(np.array(values)[:, None], ("mass",), [(("mass",), method)])


@pytest.mark.parametrize("groups", [[], [(("x",), "robust"), (("x",), "minmax")]])
def test_a_key_stands_in_one_group(groups):
    with pytest.raises(scaler.ScalerError, match="x should stand in one group"):
        scaler.fit_bundle(np.ones((3, 1)), ("x",), groups)
