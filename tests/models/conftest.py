"""Here compiled programs are those that users have."""

import jax
import pytest


@pytest.fixture(autouse=True)
def all_optimizations():
    before = jax.config.jax_disable_most_optimizations
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
