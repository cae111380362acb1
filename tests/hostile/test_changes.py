"""A changed file is read or refused with an error that names it, whatever the change."""

import hypothesis
import pytest
from hypothesis import strategies as st

from tests.hostile import changes, readers

BYTES = st.binary(max_size=64)
settings = hypothesis.settings(
    deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize("kind", readers.KINDS)
def test_valid_files_are_accepted(tmp_path, kind):
    for content in readers.KINDS[kind][1]:
        assert readers.feed(kind, content, tmp_path)


@pytest.mark.parametrize("kind", readers.KINDS)
@hypothesis.given(data=BYTES)
@hypothesis.settings(settings, max_examples=100)
def test_changed_files_are_read_or_refused(tmp_path, kind, data):
    readers.feed(kind, changes.mutated(kind, changes.Choices(data)), tmp_path)


@pytest.mark.parametrize("kind", readers.KINDS)
@hypothesis.given(data=BYTES)
@hypothesis.settings(settings, max_examples=20)
def test_random_bytes_are_read_or_refused(tmp_path, kind, data):
    readers.feed(kind, data, tmp_path)


@pytest.mark.parametrize("make", [changes.program, changes.respelt])
@hypothesis.given(data=st.binary(max_size=200))
@hypothesis.settings(settings, max_examples=300)
def test_random_pickles_are_read_or_refused(tmp_path, make, data):
    readers.feed("any.joblib", make(changes.Choices(data)), tmp_path)
