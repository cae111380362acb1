"""The config of a run as JSON: its digest, and differences between configs."""

import json

from starjax.configs import common
from starjax.runs.config_record import (
    config_differences,
    config_digest,
    config_from_record,
    config_to_record,
)


def test_the_digest_depends_on_everything_but_the_location():
    first, other, moved = common.get_config(), common.get_config(), common.get_config()
    other.optim.learning_rate = 1e-4
    moved.output_base, moved.name, moved.workdir, moved.resume = "elsewhere", "n", "w", False
    assert config_digest(first) == config_digest(moved) != config_digest(other)


def test_a_recorded_config_is_restored():
    record = json.loads(json.dumps(config_to_record(common.get_config())))
    assert config_to_record(config_from_record(record)) == config_to_record(common.get_config())
    assert isinstance(config_from_record(record).data.feature_keys, tuple)


def test_differences_name_the_field_and_both_values():
    stored = json.loads(json.dumps(config_to_record(common.get_config())))
    given = common.get_config()
    given.optim.learning_rate = 1e-4
    assert config_differences(stored, config_to_record(given)) == [
        "config.optim.learning_rate: stored 0.003, given 0.0001"
    ]
