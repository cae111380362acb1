"""An extension of griffe, which reads docstrings for the site: an entry each for `y, z: positions [pc]`."""

import re

import griffe

_GROUP = re.compile(r"^(\s+)((?:\w+, )+\w+): (.*)$")


def split_groups(docstring: str) -> str:
    """Return a docstring in which each name of a grouped entry has an entry, with the text of the group."""
    lines: list[str] = []
    rest = docstring.split("\n")
    while rest:
        line = rest.pop(0)
        group = _GROUP.match(line)
        if not group:
            lines.append(line)
            continue
        indent, names, text = group.groups()
        continued = []
        while rest and rest[0].startswith(f"{indent} "):
            continued.append(rest.pop(0))
        for name in names.split(", "):
            lines += [f"{indent}{name}: {text}", *continued]
    return "\n".join(lines)


class DocstringGroups(griffe.Extension):
    """Splits the grouped entries of all docstrings."""

    def on_object(self, *, obj, **kwargs):
        """Split those of one object's docstring."""
        if obj.docstring:
            obj.docstring.value = split_groups(obj.docstring.value)
