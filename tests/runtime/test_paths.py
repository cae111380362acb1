"""Paths that users give."""

import os

import pytest

from starjax.errors import ConfigError
from starjax.runtime import environment, paths


@pytest.fixture(autouse=True)
def home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("NOT_SET", raising=False)


@pytest.mark.parametrize(
    ("given", "expanded"),
    [
        ("~", "/home/me"),
        ("~/a/~b", "/home/me/a/~b"),
        ("$HOME/a", "/home/me/a"),
        ("tfds:${HOME}/a", "tfds:/home/me/a"),
        ("a~$1.csv", "a~$1.csv"),
        ("./~a", "./~a"),
        ("gaia", "gaia"),
        ("日本　データ/é", "日本　データ/é"),
        ("", ""),
    ],
)
def test_home_and_variables_are_replaced(given, expanded):
    assert paths.expand(given) == expanded


@pytest.mark.parametrize("given", ["~no-such-user/a", "$NOT_SET/a"])
def test_an_unknown_user_or_variable_is_not_a_name(given):
    with pytest.raises(paths.PathError, match=r"for a name that begins so, write \./"):
        paths.expand(given)


@pytest.mark.parametrize("given", ["a\r", "a\nb", "a\u2028b", "a\0", os.fsdecode(b"am\xe9lie")])
def test_names_that_no_table_can_contain_are_refused(given):
    with pytest.raises(paths.PathError, match="contains a control character, or is not in UTF-8"):
        paths.expand(given)


def test_paths_of_the_environment_are_expanded_and_named(monkeypatch):
    monkeypatch.setenv("OUTPUT_BASE", "~/runs")
    assert environment.default("OUTPUT_BASE", "output") == "/home/me/runs"
    monkeypatch.setenv("OUTPUT_BASE", "runs\r")
    with pytest.raises(ConfigError, match=r"^OUTPUT_BASE: "):
        environment.default("OUTPUT_BASE", "output")
