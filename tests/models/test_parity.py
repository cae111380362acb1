"""The same weights give the same outputs and gradients as the reference models."""

import ast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from starjax.models import factory, heads

pytestmark = pytest.mark.usefixtures("all_optimizations")

CASES = (
    "summary_stats",
    "deep_sets_mean",
    "deep_sets_sum",
    "set_transformer_default",
    pytest.param("set_transformer_no_norm", marks=pytest.mark.weekly),
    pytest.param("set_transformer_readme", marks=pytest.mark.weekly),
)


def load(folder, case):
    with np.load(folder / f"{case}.npz", allow_pickle=False) as archive:
        reference = {name: archive[name] for name in archive}
    hparams = ast.literal_eval(str(reference["hparams"]))
    name = next(name for name in factory.MODELS if case.startswith(name))
    if "is_apply_layer_norm" in hparams:
        hparams["layer_norm"] = hparams.pop("is_apply_layer_norm")
        hparams["output_hidden_dims"] = hparams["output_hidden_dims"] or ()
    return reference, name, hparams


def linear(reference, kind, layer):
    """Return (out, in) weights of the reference as our (in, out) kernel."""
    return {"kernel": reference[f"{kind}/{layer}.weight"].T, "bias": reference[f"{kind}/{layer}.bias"]}


def mlp(reference, kind, layer):
    numbers = sorted(
        int(k.split(".")[-2]) for k in reference if k.startswith(f"{kind}/{layer}.") and k.endswith("weight")
    )
    return {"layers": {i: linear(reference, kind, f"{layer}.{n}") for i, n in enumerate(numbers)}}


def block(reference, kind, name):
    packed = reference[f"{kind}/{name}.mha.in_proj_weight"], reference[f"{kind}/{name}.mha.in_proj_bias"]
    kernels, biases = (np.split(array, 3) for array in packed)
    mha = {
        p: {"kernel": k.T, "bias": b}
        for p, k, b in zip(("query", "key", "value"), kernels, biases, strict=True)
    }
    mha["out"] = linear(reference, kind, f"{name}.mha.out_proj")
    tree = {p: linear(reference, kind, f"{name}.{p}") for p in ("fc_q", "fc_k", "fc_v")}
    tree |= {"mha": mha, "feed_forward": mlp(reference, kind, f"{name}.fc_o")}
    for ours, theirs in {"norm_attention": "norm_attn", "norm_feed_forward": "norm_ffn"}.items():
        if f"{kind}/{name}.{theirs}.weight" in reference:
            scale, bias = (reference[f"{kind}/{name}.{theirs}.{p}"] for p in ("weight", "bias"))
            tree[ours] = {"scale": scale, "bias": bias}
    return tree


def as_params(reference, kind, name, hparams):
    """Return the weights (or gradients) of the reference in the shape of our parameters."""
    if name == "summary_stats":
        return {"mlp": mlp(reference, kind, "mlp")}
    if name == "deep_sets":
        return {part: mlp(reference, kind, part) for part in ("phi", "rho")}
    return {
        "sabs": {i: block(reference, kind, f"sabs.{i}.mab") for i in range(hparams["num_sabs"])},
        "pool": block(reference, kind, "pma.mab"),
        "seeds": reference[f"{kind}/pma.seeds"][0],
        "decoder": mlp(reference, kind, "decoder"),
    }


def outputs_and_gradients(reference, name, hparams, dtype):
    model = factory.create_module(name, reference["inputs"].shape[-1], 1, jax.random.key(0), **hparams)
    initial, apply = factory.split_module(model)
    params = jax.tree.map(lambda x: jnp.asarray(x, dtype), as_params(reference, "weight", name, hparams))
    assert jax.tree.structure(params) == jax.tree.structure(initial)
    features, target = (jnp.asarray(reference[k], dtype) for k in ("inputs", "target"))
    is_filled = jnp.asarray(reference["mask"].any(axis=1))

    def loss(params):
        prediction = apply(params, features, jnp.asarray(reference["mask"]))
        huber = heads.huber(prediction, target[:, None], 1.0)
        return jnp.where(is_filled, huber, 0).sum() / is_filled.sum(), prediction[:, 0]

    (value, prediction), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    return value, prediction, gradient, sum(leaf.size for leaf in jax.tree.leaves(params))


def assert_gradients_close(gradient, expected, rtol):
    """Compare with the largest entry: the key bias has no effect on softmax, its gradient is rounding."""
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * largest), gradient, expected
    )


@pytest.mark.parametrize("case", CASES)
def test_float32(case, parity_folder):
    reference, name, hparams = load(parity_folder, case)
    value, prediction, gradient, num_params = outputs_and_gradients(reference, name, hparams, jnp.float32)
    assert prediction.dtype == jnp.float32
    assert num_params == reference["num_params"]
    np.testing.assert_allclose(prediction, reference["output"], rtol=1e-5)
    np.testing.assert_allclose(value, reference["huber_loss"], rtol=1e-5)
    assert_gradients_close(gradient, as_params(reference, "grad", name, hparams), 1e-4)


@pytest.mark.parametrize("case", CASES)
def test_float64(case, parity_folder, float64):
    reference, name, hparams = load(parity_folder, case)
    value, prediction, gradient, _ = outputs_and_gradients(reference, name, hparams, jnp.float64)
    assert prediction.dtype == jnp.float64
    np.testing.assert_allclose(prediction, reference["output"], rtol=1e-9)
    np.testing.assert_allclose(value, reference["huber_loss"], rtol=1e-9)
    assert_gradients_close(gradient, as_params(reference, "grad", name, hparams), 1e-9)
