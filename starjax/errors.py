"""Base classes of errors whose messages say what is wrong, where, and what to do."""


class StarjaxError(ValueError):
    """Base of every error whose message alone is enough for the user."""


class ConfigError(StarjaxError):
    """A config value that is not allowed, or that contradicts another."""
