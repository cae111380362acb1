"""The config of a run as JSON: how it is recorded, identified and compared."""

import hashlib
import json

import flax.traverse_util
from ml_collections import ConfigDict

# Fields that decide where a run is written and how it starts, and not its results.
LOCATION_FIELDS = ("output_base", "name", "workdir", "resume", "profile")


def config_from_record(content: dict) -> ConfigDict:
    """Return the config of a record, with tuples again instead of lists, and without LOCATION_FIELDS."""

    def plain(value):
        if isinstance(value, dict):
            return {name: plain(inner) for name, inner in value.items()}
        return tuple(map(plain, value)) if isinstance(value, list) else value

    return ConfigDict(plain(content)).lock()


def config_to_record(config: ConfigDict) -> dict:
    """Return the config as JSON content, without LOCATION_FIELDS."""
    content = json.loads(config.to_json())
    return {name: value for name, value in content.items() if name not in LOCATION_FIELDS}


def config_digest(config: ConfigDict) -> str:
    """Return eight hexadecimal digits that identify a config, whatever its LOCATION_FIELDS.

    They are short, for names; a run is resumed only if the whole configs agree.
    """
    return hashlib.sha256(json.dumps(config_to_record(config), sort_keys=True).encode()).hexdigest()[:8]


def config_differences(stored: dict, given: dict) -> list[str]:
    """Return the fields in which two recorded configs differ, as `config.field: stored …, given …`."""
    stored, given = (flax.traverse_util.flatten_dict(config, sep=".") for config in (stored, given))
    return [
        f"config.{name}: stored {stored.get(name)!r}, given {given.get(name)!r}"
        for name in sorted({*stored, *given})
        if stored.get(name) != given.get(name)
    ]
