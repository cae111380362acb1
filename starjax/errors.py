"""Base classes of errors whose messages say what is wrong, where, and what to do."""

from collections.abc import Sequence


def first_of(items: Sequence[object], most: int = 5) -> str:
    """Return items for a message: the first of many, and the number of the others."""
    named = ", ".join(map(str, items[:most]))
    return named if len(items) <= most else f"{named} and {len(items) - most:,} more"


class StarjaxError(ValueError):
    """Base of every error whose message alone is enough for the user."""


class ConfigError(StarjaxError):
    """A config value that is not allowed, or that contradicts another."""
