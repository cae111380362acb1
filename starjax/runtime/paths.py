"""Paths that users give: as an option, in a config, in the environment, or from Python."""

import os
import unicodedata

from starjax import errors

# Control characters, surrogates, and separators of lines and paragraphs. Python reads names that are not in
# UTF-8 as surrogates.
_NOT_ALLOWED = ("Cc", "Cs", "Zl", "Zp")


class PathError(errors.StarjaxError):
    """A path that cannot be used; the message says why."""


def expand(path: str) -> str:
    """Return a path with `~` and variables such as `$HOME` replaced; shells leave them as they are after `=`.

    Raises:
      PathError: it begins with a variable that is not set or a user who does not exist, or `check` refuses
        it.
    """
    expanded = os.path.expanduser(os.path.expandvars(path))
    if expanded.startswith(("~", "$")):
        raise PathError(
            f"{path!r} begins with a variable that is not set, or with a user who does not exist; for a name "
            f"that begins so, write ./{path}"
        )
    check(expanded)
    return expanded


def check(path: str) -> None:
    """Raise PathError for control characters, and for names in another encoding than UTF-8.

    Tables and lists of files, in which paths are recorded, could not be written or read again.
    """
    if any(unicodedata.category(character) in _NOT_ALLOWED for character in path):
        raise PathError(
            f"{path!r} contains a control character, or is not in UTF-8: rename it, or give another path"
        )
