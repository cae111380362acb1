"""Configs are locked, every field is used, and impossible values are refused by field."""

import inspect
import re
from pathlib import Path

import pytest

import starjax
from starjax.configs import (
    common,
    deep_sets,
    gaia,
    posterior,
    posterior_incomplete,
    set_transformer,
    summary_stats,
)
from starjax.errors import ConfigError
from starjax.models import factory
from starjax.runtime import environment
from starjax.training.validate_config import check_config

MODEL_CONFIGS = {"summary_stats": summary_stats, "deep_sets": deep_sets, "set_transformer": set_transformer}


@pytest.mark.parametrize("name", MODEL_CONFIGS)
def test_defaults_are_those_of_the_model_and_are_valid(name):
    config = MODEL_CONFIGS[name].get_config()
    assert dict(config.model) == {"name": name, **factory.hyperparameters(name)}
    check_config(config, num_device=4)


def test_an_unknown_field_is_refused():
    config = common.get_config()
    with pytest.raises(AttributeError, match="learning_rate"):
        config.optim.learning_rat = 1.0
    with pytest.raises(AttributeError):
        deep_sets.get_config().model.num_heads = 2


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("seed", -1, "seed=-1"),
        ("data.feature_keys", (), "feature_keys=()"),
        ("data.feature_keys", (1, 2), "at least one name"),
        ("data.target_keys", ("time", "time"), "none twice"),
        ("data.target_keys", (1,), "at least one name"),
        ("data.feature_clip", 0.0, "positive"),
        ("data.num_star_per_sample", 0, "at least 1"),
        ("data.num_star_per_sample", 2**31, r"less than 2\*\*31"),
        ("data.num_sample_per_snapshot", 0, "at least 1"),
        ("data.drop_probability", 1.5, "between 0 and 1"),
        ("data.drop_ratio_range", (0.9, 0.1), "the lower first"),
        ("data.drop_ratio_range", (0.1,), "two fractions"),
        ("data.drop_ratio_range", ("a", "b"), "two fractions"),
        ("data.hidden_keys", ("q",), "some of data.feature_keys"),
        ("data.faint_limit_range", (-3.0, -1.0), "with log_L_L_sol among"),
        ("data.faint_limit_range", (-1.0,), "the fainter first"),
        ("data.faint_limit_range", (-3.0, "bright"), "two luminosities"),
        ("data.missing_fraction_range", (0.0, 0.5), "with data.faint_limit_range"),
        ("data.fold", (1, 1, 0), "the number of folds, at least 2"),
        ("data.fold", (5, 5, 0), "a fold's number from 0 on"),
        ("data.fold", (0, 5), "and the seed that divides the simulations"),
        ("ensemble.num_fold", 1, "0, for none, or from 2 on and a divisor of config.ensemble.size=1"),
        ("head", "gaussian", "point or mixture"),
        ("mixture.num_component", 0, "at least 1"),
        ("mixture.min_scale", 0.0, "positive"),
        ("mixture.min_scale", float("inf"), "positive and finite"),
        ("mixture.means", "median", "likelihood or huber"),
        ("data.placement", "somewhere", "auto, replicated, sharded, streamed"),
        ("optim.learning_rate", 0.0, "positive"),
        ("optim.learning_rate", float("inf"), "positive and finite"),
        ("optim.weight_decay", -1.0, "0 or positive"),
        ("optim.weight_decay", float("inf"), "0 or positive, and finite"),
        ("optim.huber_delta", 0.0, "positive"),
        ("optim.clip_norm", 0.0, "positive"),
        ("optim.average_decay", 1.0, "below 1"),
        (
            "optim.warmup_epochs",
            14,
            "below train.max_epochs=14; for none, add --config.optim.warmup_epochs=0",
        ),
        ("name", "of/mine", "a name of a folder, without /"),
        ("name", "windows\r", "without control characters"),
        ("train.batch_size", 510, "multiple of the 4 devices"),
        ("train.micro_batch_size", "0", "'auto' or a number from 1 on"),
        ("train.max_epochs", 0, "at least 1"),
        ("train.patience", 0, "at least 1"),
        ("model.dropout", 1.0, "to 0.99"),
        ("model.name", "perceptron", "perceptron.*set_transformer"),
        ("model.name", "deep_sets", "no hyperparameter .*num_heads.* --config=common:deep_sets"),
    ],
)
def test_an_invalid_value_is_refused_by_field(field, value, said):
    config = set_transformer.get_config()
    with config.unlocked():
        config.update_from_flattened_dict({field: value})
    with pytest.raises(ValueError, match=said) as caught:
        check_config(config, num_device=4)
    assert field in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("ensemble.size", 7, r"config.ensemble.num_fold=5 should be 0.* a divisor of config.ensemble.size=7"),
        (
            "ensemble.num_fold",
            3,
            r"config.ensemble.num_fold=3 should be 0.* a divisor of config.ensemble.size=10",
        ),
        (
            "data.fold",
            (0, 2, 0),
            r"config.data.fold=\(0, 2, 0\) should be .*\(\) with config.ensemble.num_fold, which",
        ),
        (
            "sweep.seed",
            tuple(range(10)),
            r"config.ensemble.num_fold=5 and config.sweep: .* leave config.sweep out",
        ),
    ],
)
def test_folds_of_unequal_size_nested_folds_and_sweeps_are_refused(field, value, said):
    config = posterior.get_config()
    check_config(config, num_device=2)
    config.update_from_flattened_dict({field: value})
    with pytest.raises(ValueError, match=said):
        check_config(config, num_device=2)


def test_a_run_with_folds_cannot_be_profiled():
    config = posterior.get_config()
    config.profile = 2
    with pytest.raises(ValueError, match=r"profile=2 should be 0.*; 0 with config.ensemble.num_fold"):
        check_config(config, num_device=2)


def test_a_survey_selection_needs_both_of_its_fields():
    check_config(posterior.get_config(), num_device=2)
    config = posterior_incomplete.get_config()
    check_config(config, num_device=2)
    config.data.missing_fraction_range = ()
    with pytest.raises(ValueError, match=r"missing_fraction_range=\(\) should be two fractions"):
        check_config(config, num_device=2)
    config.data.missing_fraction_range = (0.0, 0.0)
    config.data.faint_limit_range = (-1.0, -2.0)
    with pytest.raises(ValueError, match="the fainter first"):
        check_config(config, num_device=2)


def test_every_field_is_used():
    """No field exists that no module mentions."""
    package = Path(starjax.__file__).parent
    source = "\n".join(path.read_text() for path in package.rglob("*.py") if path.name != "config.py")
    # A module of the same name is not a use of the field.
    source = re.sub(r"^ *(from|import) .*|starjax\.data\.\w+", "", source, flags=re.MULTILINE)

    def leaves(config):
        for name, value in config.items():
            yield from leaves(value) if hasattr(value, "items") else [name]

    config = common.get_config()
    with config.unlocked():
        del config.model
        # Read by the names in run_config.HPARAMS: tests/models/test_ensemble.py tries each of them.
        del config.sweep
    sections = "|".join(["config", *(name for name, value in config.items() if hasattr(value, "items"))])
    unread = [name for name in leaves(config) if not re.search(rf"({sections})\.{name}\b", source)]
    assert not unread
    for name in factory.MODELS:
        body = inspect.getsource(factory.model_class(name)).split('"""')[2]
        assert not [h for h in factory.hyperparameters(name) if len(re.findall(rf"\b{h}\b", body)) < 2]


def test_the_environment_precedes_a_dotenv_file_which_precedes_the_default(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OUTPUT_BASE", raising=False)
    assert common.get_config().output_base == "output"
    (tmp_path / ".env").write_text("OUTPUT_BASE=/from/file\n")
    assert common.get_config().output_base == "/from/file"
    monkeypatch.setenv("OUTPUT_BASE", "/from/environment")
    assert common.get_config().output_base == "/from/environment"
    assert environment.default("NOT_SET_ANYWHERE", "otherwise") == "otherwise"


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("observer.distance_range_pc", (0.0, 100.0), "two numbers, the lower first, positive"),
        ("observer.faint_limit_range_mag", (20.0, 17.0), "the lower first"),
        ("observer.missing_fraction_range", (0.0, 1.0), "below 1"),
        ("observer.field_fraction_range", (-0.1, 0.1), "from 0 to below 1"),
        ("observer.resolution_arcsec", -1.0, "0 or positive"),
        ("observer.colour_error", (0.1,), "2 numbers that are 0 or positive"),
        ("observer.velocity_dispersion_kms", (1.0, -1.0, 0.0), "3 numbers that are 0 or positive"),
        ("observer.radial_velocity_probability", 2.0, "between 0 and 1"),
        ("data.random_rotations", True, "False with config.observer"),
        ("data.centred", True, "False with config.observer"),
        ("data.drop_probability", 0.5, "0.0 with config.observer"),
        ("data.feature_keys", ("y", "log_L_L_sol"), "features that the observer derives"),
    ],
)
def test_contradictions_with_the_observer_are_refused(field, value, said):
    config = gaia.get_config()
    check_config(config, num_device=1)
    with config.unlocked():
        config.model.fourier_columns = ()
        config.update_from_flattened_dict({field: value})
    with pytest.raises(ConfigError, match=said):
        check_config(config, num_device=1)
