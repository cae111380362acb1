"""The exported program, read by jax alone, predicts what the run predicts, for any clusters."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

import starjax
from starjax.commands import export as export_command
from starjax.datasets.load import SAMPLE_DIRECTORY
from starjax.datasets.shard_files import load_split
from starjax.evaluation.posterior import PREDICTION_COLUMNS
from starjax.inference import export
from starjax.inference.predictor import Predictor
from starjax.training.run import train_and_test
from tests.processes import run_in_process

# The script of a user without starjax: jax, an exported program, and columns of stars.
READER = """
import sys

import jax
import numpy as np

sys.modules["starjax"] = None
program = jax.export.deserialize(bytearray(open(sys.argv[1], "rb").read()))
clusters = dict(np.load(sys.argv[2]))
found = program.call({key: value for key, value in clusters.items() if key != "mask"}, clusters["mask"])
np.savez(sys.argv[3], **found)
"""


# Clusters with more stars than fit into a sample are drawn repeatedly, smaller ones once.
RUNS = {
    "mixture of two members": {"head": "mixture", "ensemble.size": 2, "data.num_star_per_sample": 100},
    # Not centred: its predictions for observed clusters should not be trusted.
    "points in bfloat16": {"data.num_star_per_sample": 100, "data.centred": False, "model.dtype": "bfloat16"},
}


@pytest.fixture(
    scope="module",
    params=["mixture of two members", pytest.param("points in bfloat16", marks=pytest.mark.weekly)],
)
def run(request, answering_config, tmp_path_factory):
    base = tmp_path_factory.mktemp("exported")
    return starjax.load(train_and_test(answering_config(base, name="run", **RUNS[request.param])).path)


@pytest.fixture(scope="module")
def clusters(run):
    """Physical features of test clusters by name, of 13 to some 300 stars, the smallest first."""
    shard = load_split(SAMPLE_DIRECTORY, "raw", "test").select(run.feature_keys, run.target_keys)
    chosen = np.argsort(np.diff(shard.ptr), kind="stable")[::60]
    return {str(i): shard.feature[shard.ptr[i] : shard.ptr[i + 1]] for i in chosen}


def scattered(clusters):
    """Return features (B, N, F) and mask (B, N), with stars in order at random positions, NaN elsewhere."""
    rng = np.random.default_rng(0)
    most = max(map(len, clusters.values())) + 7
    num_feature = next(iter(clusters.values())).shape[1]
    features = np.full((len(clusters), most, num_feature), np.nan, np.float32)
    mask = np.zeros((len(clusters), most), bool)
    for row, stars in enumerate(clusters.values()):
        positions = np.sort(rng.permutation(most)[: len(stars)])
        features[row, positions], mask[row, positions] = stars, True
    return features, mask


@pytest.mark.slow
@pytest.mark.parametrize("is_large", [False, pytest.param(True, marks=pytest.mark.weekly)])
def test_jax_alone_predicts_what_the_run_predicts(run, clusters, is_large, tmp_path):
    num_star = run.config.data.num_star_per_sample
    clusters = {name: stars for name, stars in clusters.items() if is_large or len(stars) <= num_star}
    assert len(clusters) > 1
    assert (max(map(len, clusters.values())) > num_star) == is_large
    features, mask = scattered(clusters)
    # Also a cluster without stars, and one with a missing value.
    features = np.concatenate([features, np.zeros_like(features[:1]), features[:1]])
    mask = np.concatenate([mask, np.zeros_like(mask[:1]), mask[:1]])
    features[-1, np.argmax(mask[-1]), 0] = np.nan
    by_key = dict(zip(run.feature_keys, np.moveaxis(features, -1, 0), strict=True))
    np.savez(tmp_path / "clusters.npz", mask=mask, **by_key)
    export.write(run, tmp_path / "run.jaxexport")
    files = [tmp_path / name for name in ("run.jaxexport", "clusters.npz", "found.npz")]
    environment = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    subprocess.run(
        [sys.executable, "-c", READER, *files], check=True, cwd=tmp_path, timeout=300, env=environment
    )

    found, expected = np.load(tmp_path / "found.npz"), run.posterior(clusters).table
    names = {"novelty"}
    for key in run.target_keys:
        of_key = expected[expected["target_key"] == key]
        np.testing.assert_allclose(found["novelty"][:-2], of_key["novelty"], rtol=1e-4)
        scale = of_key["prediction_physical"].max()
        for end, column in PREDICTION_COLUMNS.items():
            names.add(f"{key}{end}")
            np.testing.assert_allclose(
                found[f"{key}{end}"][:-2], of_key[column], rtol=1e-4, atol=1e-5 * scale
            )
        assert found[f"{key}_spread_draws"][:-2].any() == is_large
    assert set(found) == names
    assert (found["novelty"][-2:] == np.inf).all()
    assert all(np.isfinite(found[name][-2]) for name in names - {"novelty"})


@pytest.mark.slow
def test_the_program_is_lowered_for_every_platform_and_names_its_arguments(run):
    made = export.exported(run)
    assert made.platforms == ("cpu", "cuda", "tpu")
    features, mask = jax.tree.unflatten(made.in_tree, made.in_avals)[0]
    assert set(features) == set(run.feature_keys) == {"y", "z", "vy", "vz", "log_L_L_sol"}
    assert {str(shape) for shape in (mask.shape, *(one.shape for one in features.values()))} == {
        "(num_cluster, num_star)"
    }


def test_the_command_prints_what_it_wrote_and_replaces_a_file_only_with_overwrite(
    mixture, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "program"
    arguments = [f"--run={mixture.path}", f"--out={out}"]
    out.write_bytes(b"of mine")
    with pytest.raises(export.ExportError, match="exists: name another --out, or add --overwrite"):
        run_in_process(export_command, *arguments)
    assert out.read_bytes() == b"of mine"
    monkeypatch.setattr(Predictor, "caveats", ("not centred",))
    run_in_process(export_command, *arguments, "--overwrite")
    printed = capsys.readouterr()
    assert "features   y, z, vy, vz, log_L_L_sol" in printed.out
    assert "time_p16" in printed.out
    assert "should not be trusted: not centred" in printed.out + printed.err
    assert jax.export.deserialize(bytearray(out.read_bytes())).fun_name == "starjax_mixture"
