"""The state of a data set directory is one of five."""

import json

import pytest

from starjax.nbody6 import build, build_state
from starjax.nbody6.build_state import BuildStatus


@pytest.fixture
def finished(config):
    """Return the directory of a finished data set and its settings."""
    out = build.build_dataset(config)
    return out, json.loads((out / "dataset_config.json").read_text())["settings"]


def test_a_new_directory_is_absent_until_a_part_is_written(tmp_path):
    out = tmp_path / "out"
    assert build_state.inspect(out, {}).status is BuildStatus.ABSENT
    (out / build_state.PARTS).mkdir(parents=True)
    assert build_state.inspect(out, {}).status is BuildStatus.ABSENT
    assert build_state.inspect(out, {"raw_shards": {}}).status is BuildStatus.UNFINISHED
    (out / build_state.PARTS / "a.npz").touch()
    assert build_state.inspect(out, {}).status is BuildStatus.UNFINISHED


def test_raw_shards_occupy_a_directory_unless_they_are_the_source(tmp_path):
    (tmp_path / "raw-val-shard.npz").touch()
    assert build_state.inspect(tmp_path, {"raw_shards": {}}).status is BuildStatus.ABSENT
    state = build_state.inspect(tmp_path, {})
    assert state.status is BuildStatus.OCCUPIED
    assert "raw-val-shard.npz, which no unfinished build wrote" in state.problem


def test_a_finished_data_set_is_finished_for_the_same_settings_only(finished):
    out, settings = finished
    state = build_state.inspect(out, settings)
    assert state.status is BuildStatus.FINISHED
    assert state.record_version == build_state.record_version(out)
    other = build_state.inspect(out, settings | {"min_stars": 1})
    assert other.status is BuildStatus.OCCUPIED
    assert "a data set with other min_stars" in other.problem


def test_a_changed_file_is_damaged(finished):
    out, settings = finished
    (out / "raw-val-shard.npz").write_bytes(b"")
    (out / "target_scaler_bundle.joblib").unlink()
    state = build_state.inspect(out, settings)
    assert state.status is BuildStatus.DAMAGED
    assert set(state.damaged) == {"raw-val-shard.npz", "target_scaler_bundle.joblib"}
