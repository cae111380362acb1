"""A directory is locked by one process at a time, and the lock ends with its process."""

import contextlib
import errno
import importlib
import multiprocessing
import os
import sys
from unittest import mock

import filelock
import pytest

from starjax.io import directory_lock


def hold(directory, is_held, is_over):
    with directory_lock.locked(directory):
        is_held.set()
        is_over.wait()


@pytest.fixture
def owner(tmp_path):
    """Another process that holds the lock of `tmp_path` until `.kill()`."""
    context = multiprocessing.get_context("forkserver")
    is_held, is_over = context.Event(), context.Event()
    process = context.Process(target=hold, args=(tmp_path, is_held, is_over))
    process.start()
    assert is_held.wait(60)
    yield process
    process.kill()
    process.join()


def kill(process):
    process.kill()
    process.join()


def test_a_locked_directory_is_refused_and_the_message_names_the_owner(tmp_path, owner):
    said = f"in use by process {owner.pid} of .* on {os.uname().nodename}, since 20"
    with pytest.raises(directory_lock.LockError, match=said), directory_lock.locked(tmp_path):
        pass
    assert sorted(os.listdir(tmp_path)) == [directory_lock.LOCK, directory_lock.OWNER]


def test_the_lock_of_a_killed_process_is_taken_over_with_a_message(tmp_path, owner, capsys):
    kill(owner)
    with directory_lock.locked(tmp_path):
        assert f"stale lock of process {owner.pid}" in capsys.readouterr().out
    assert not os.listdir(tmp_path)
    with directory_lock.locked(tmp_path):
        assert capsys.readouterr().out == ""


def test_only_stale_lock_files_are_removed(tmp_path, owner):
    directory_lock.remove_stale(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [directory_lock.LOCK, directory_lock.OWNER]
    kill(owner)
    directory_lock.remove_stale(tmp_path)
    assert not os.listdir(tmp_path)
    directory_lock.remove_stale(tmp_path / "nowhere")
    assert not os.listdir(tmp_path)


def test_a_directory_created_for_the_lock_is_removed_if_it_stays_empty(tmp_path):
    (tmp_path / "existing").mkdir()
    for name in ("empty", "filled", "existing"):
        with directory_lock.locked(tmp_path / name):
            if name == "filled":
                (tmp_path / name / "file").touch()
    assert sorted(os.listdir(tmp_path)) == ["existing", "filled"]
    assert os.listdir(tmp_path / "filled") == ["file"]


def test_the_lock_is_released_after_an_error(tmp_path):
    with contextlib.suppress(ZeroDivisionError), directory_lock.locked(tmp_path):
        raise ZeroDivisionError
    assert not os.listdir(tmp_path)
    with directory_lock.locked(tmp_path):
        pass


@pytest.mark.parametrize("content", ["", "{", "[]", '{"process": 1}'])
def test_an_unreadable_owner_is_no_obstacle(tmp_path, content):
    for name in (directory_lock.LOCK, directory_lock.OWNER):
        (tmp_path / name).write_text(content)
    with directory_lock.locked(tmp_path):
        pass
    assert not os.listdir(tmp_path)


def test_a_lock_file_removed_by_its_owner_is_not_locked_by_a_waiting_process(tmp_path):
    """The other process has opened the file before its owner removes it, and locks it afterwards."""
    first, opened = contextlib.ExitStack(), []

    def open_then_release(*arguments, open=os.open, **options):
        descriptor = open(*arguments, **options)
        if str(arguments[0]).endswith(directory_lock.LOCK) and not opened:
            opened.append(descriptor)
            first.close()
        return descriptor

    first.enter_context(directory_lock.locked(tmp_path))
    with mock.patch("os.open", open_then_release), directory_lock.locked(tmp_path):
        assert opened
        with pytest.raises(directory_lock.LockError), directory_lock.locked(tmp_path):
            pass


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_gets_a_warning(tmp_path, monkeypatch, capsys, code):
    import fcntl

    monkeypatch.setattr(fcntl, "flock", mock.Mock(side_effect=OSError(code, os.strerror(code))))
    with directory_lock.locked(tmp_path / "new"):
        assert "this file system has no locks: make sure" in capsys.readouterr().out
    assert not os.listdir(tmp_path)


def test_other_errors_are_raised(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"), directory_lock.locked(tmp_path / "file"):
        pass
    error = OSError(errno.EIO, "failing disk")
    with (
        mock.patch.object(filelock.FileLock, "acquire", side_effect=error),
        pytest.raises(OSError, match="failing disk"),
        directory_lock.locked(tmp_path),
    ):
        pass


def test_the_module_is_imported_without_fcntl(monkeypatch):
    """As on Windows, which has none."""
    monkeypatch.setitem(sys.modules, "fcntl", None)
    importlib.reload(directory_lock)
