"""A fixture to check that a file is refused without using much memory."""

import tracemalloc

import pytest

from starjax import errors
from tests.hostile import readers

MAX_MEMORY = 2**26


@pytest.fixture
def refused(tmp_path):
    """Return a function that reads content as a file of a kind, checks the error, and returns its message."""

    def call(kind: str, content: bytes | str, said: str = "", name: str = "") -> str:
        path = tmp_path / (name or kind)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        tracemalloc.start()
        try:
            with pytest.raises(errors.StarjaxError, match=said) as caught:
                readers.KINDS[kind][0](path)
            assert tracemalloc.get_traced_memory()[1] < MAX_MEMORY
        finally:
            tracemalloc.stop()
        assert path.name in str(caught.value)
        return str(caught.value)

    return call
