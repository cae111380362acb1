"""The state of a run directory, and what may be done with it."""

import json
import re
from types import SimpleNamespace

import pytest

from starjax.configs import deep_sets, set_transformer
from starjax.io import directory_lock, files
from starjax.runs import integrity
from starjax.runs.config_record import config_to_record
from starjax.runs.directory import FORMAT, RunDirectory, RunDirectoryError
from starjax.runs.state import RunState, RunStatus, inspect
from starjax.runtime.paths import PathError

RECORD = {
    "format": FORMAT,
    "config": {"ensemble": {"num_fold": 2}},
    "dataset": {"fingerprint": "1", "left_out": None},
    "layout": None,
    "versions": {"scikit-learn": "1.9"},
}


@pytest.fixture
def run_dir(tmp_path):
    return RunDirectory(tmp_path / "run")


@pytest.fixture
def finished(run_dir):
    files.write_json(run_dir.config, RECORD)
    run_dir.metrics.write_text("epoch\n1\n")
    for epoch in ("1", "2"):
        (run_dir.checkpoints / epoch).mkdir(parents=True)
        (run_dir.checkpoints / epoch / "arrays").write_text(epoch)
    integrity.mark_finished(run_dir, {"best_epoch": 1})
    return run_dir


def test_a_directory_with_nothing_but_a_lock_and_a_partial_record_contains_no_run(run_dir):
    assert inspect(run_dir) == RunState(run_dir, RunStatus.ABSENT)
    run_dir.path.mkdir()
    (run_dir.path / directory_lock.LOCK).touch()
    files.temporary_name(run_dir.config).touch()
    state = inspect(run_dir)
    assert state.status is RunStatus.ABSENT
    state.check_trainable()
    with pytest.raises(RunDirectoryError, match="run holds no run: name a run directory"):
        state.finished_record()


def test_other_files_are_not_touched(run_dir):
    run_dir.path.mkdir()
    (run_dir.path / "thesis.tex").touch()
    state = inspect(run_dir)
    assert state.status is RunStatus.OCCUPIED
    with pytest.raises(RunDirectoryError, match="is not empty and holds no run"):
        state.check_trainable()
    with pytest.raises(RunDirectoryError, match="holds no run"):
        state.finished_record()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        (json.dumps(RECORD | {"dataset": {}}), "is damaged"),
        (json.dumps(RECORD | {"dataset": {"fingerprint": "1"}}), "is damaged"),
        (json.dumps(RECORD | {"versions": {}}), "is damaged"),
        (json.dumps(RECORD | {"format": 1}), "has format 1"),
    ],
)
def test_an_unreadable_record_is_named(run_dir, content, problem):
    run_dir.path.mkdir()
    run_dir.config.write_text(content)
    state = inspect(run_dir)
    assert state.status is RunStatus.UNREADABLE
    for check in (state.check_trainable, state.finished_record):
        with pytest.raises(RunDirectoryError, match=rf"config\.json {problem}"):
            check()


def test_an_unfinished_run_can_be_trained_and_not_used(run_dir):
    files.write_json(run_dir.config, RECORD)
    state = inspect(run_dir)
    assert (state.status, state.record) == (RunStatus.UNFINISHED, RECORD)
    state.check_trainable()
    with pytest.raises(RunDirectoryError, match="run is not finished"):
        state.finished_record()


def test_a_finished_run_is_used_until_a_file_changes(finished):
    state = inspect(finished)
    assert state.finished_record() == RECORD
    assert state.is_finished_on("1")
    assert not state.is_finished_on("2")
    finished.metrics.write_text("epoch\n2\n")
    state = inspect(finished)
    assert (state.status, state.damaged) == (RunStatus.DAMAGED, (finished.metrics,))
    assert not state.is_finished_on("1")
    with pytest.raises(RunDirectoryError, match=r"run: metrics\.csv missing or changed"):
        state.finished_record()


@pytest.mark.parametrize(
    ("damaged", "is_assembled", "lost"),
    [
        (["config.json"], True, "config.json"),
        (["metrics.csv"], True, None),
        (["metrics.csv"], False, "metrics.csv"),
        (["checkpoints/2/arrays"], False, None),
        (["checkpoints/1/arrays", "checkpoints/2/arrays"], False, "checkpoints"),
        (["checkpoints/1/arrays", "checkpoints/2/arrays"], True, None),
    ],
)
def test_a_run_is_rebuilt_unless_it_has_lost_what_nothing_else_contains(
    finished, damaged, is_assembled, lost
):
    for name in damaged:
        (finished.path / name).write_text(json.dumps(RECORD))
    state = inspect(finished)
    if lost is None:
        state.check_rebuildable(is_assembled=is_assembled)
    else:
        with pytest.raises(RunDirectoryError, match=f"run: {re.escape(lost)} missing or changed"):
            state.check_rebuildable(is_assembled=is_assembled)


def test_a_name_too_long_for_the_file_system_is_refused(tmp_path):
    state = inspect(RunDirectory(tmp_path / ("n" * 250)))
    with pytest.raises(RunDirectoryError, match=r"is too long by \d+ bytes"):
        state.check_trainable()


def test_among_many_differences_the_data_set_and_the_first_fields_are_named(run_dir):
    record = {"config": config_to_record(deep_sets.get_config()), "dataset": {"fingerprint": "other"}}
    state = RunState(run_dir, RunStatus.UNFINISHED, record)
    with pytest.raises(RunDirectoryError) as caught:
        state.check_same(set_transformer.get_config(), SimpleNamespace(fingerprint="this"))
    assert "another config: config.data.dataset: the files differ" in str(caught.value)
    assert str(caught.value).count(": stored ") == 5
    assert re.search(r"; and \d+ more\. Give the same values", str(caught.value))


def test_a_folder_that_is_not_in_utf8_is_refused_before_training(tmp_path):
    """Whoever named it: it may be the current one."""
    run_dir = RunDirectory(tmp_path / "pr\udce9d" / "run")
    with pytest.raises(PathError, match="is not in UTF-8"):
        RunState(run_dir, RunStatus.ABSENT).check_trainable()
