"""TODO runs.config_record."""

import hashlib
import json

import flax.traverse_util
from ml_collections import ConfigDict

# Where a run lies and how it starts, not what comes out of it.
LOCATION_FIELDS = ("output_base", "name", "workdir", "resume", "profile")


def config_from_record(content: dict) -> ConfigDict:
    """The config that `resolved` made `content` of, lists being tuples again; without its place."""

    def plain(value):
        if isinstance(value, dict):
            return {name: plain(inner) for name, inner in value.items()}
        return tuple(map(plain, value)) if isinstance(value, list) else value

    return ConfigDict(plain(content)).lock()


def config_to_record(config: ConfigDict) -> dict:
    """The config as plain JSON content, without its place."""
    content = json.loads(config.to_json())
    return {name: value for name, value in content.items() if name not in LOCATION_FIELDS}


def config_digest(config: ConfigDict) -> str:
    """Eight hexadecimal digits that tell configs apart, whatever their place."""
    return hashlib.sha256(json.dumps(config_to_record(config), sort_keys=True).encode()).hexdigest()[:8]


def config_differences(stored: dict, given: dict) -> list[str]:
    """The fields in which two resolved configs differ, as `config.field: stored …, given …`."""
    stored, given = (flax.traverse_util.flatten_dict(config, sep=".") for config in (stored, given))
    return [
        f"config.{name}: stored {stored.get(name)!r}, given {given.get(name)!r}"
        for name in sorted({*stored, *given})
        if stored.get(name) != given.get(name)
    ]
