"""How a file is shown to be refused at little cost."""

import tracemalloc

import pytest

from starjax import errors
from tests.hostile import readers

MOST_MEMORY = 2**26


@pytest.fixture
def refused(tmp_path):
    """A call that reads content as a file of some kind, which is to be refused, and gives the message."""

    def call(kind: str, content: bytes | str, said: str = "", name: str = "") -> str:
        path = tmp_path / (name or kind)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        tracemalloc.start()
        try:
            with pytest.raises(errors.StarjaxError, match=said) as caught:
                readers.KINDS[kind][0](path)
            assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
        finally:
            tracemalloc.stop()
        assert path.name in str(caught.value)
        return str(caught.value)

    return call
