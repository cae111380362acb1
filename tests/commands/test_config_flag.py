"""The option --config: configs of starjax by name, own ones by path, and errors in them."""

import sys
from pathlib import Path

import pytest

from starjax import errors
from starjax.commands import config_flag, train
from starjax.configs import common, dataset

OWN_CONFIG = """
from starjax.configs import common


def get_config(size="8"):
    config = common.get_config("deep_sets")
    config.ensemble.size = int(size)
    return config
"""


pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # of ml_collections


@pytest.fixture
def parse(monkeypatch, tmp_path):
    """Return `(arguments) -> config`, called in a folder of its own."""

    def parsed(*arguments):
        monkeypatch.chdir(tmp_path)
        sys.modules.pop("config_config", None)  # into which ml_collections would load the next one as well
        return train.parser().parse(arguments).config

    return parsed


@pytest.mark.parametrize(
    "named",
    [
        ("--config=common:deep_sets", "--config.ensemble.size=3"),
        ("--config", "deep_sets", "--config.ensemble.size=3"),
        ("--config=mine.py:3",),
        ("--config=./mine.py", "--config.ensemble.size=3"),
    ],
)
def test_configs_of_starjax_have_names_and_own_configs_paths(named, tmp_path, parse):
    (tmp_path / "mine.py").write_text(OWN_CONFIG)
    config = parse(*named)
    assert config.model.name == "deep_sets"
    assert config.ensemble.size == 3


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "ensemble.size",
            "ensemble.sise",
            r"mine\.py, line 7: the config has no field sise, did you mean size\?$",
        ),
        (
            "int(size)",
            "[size]",
            r"mine\.py, line 7: Could not override field 'size'.* casted to type <class 'int'>$",
        ),
        (
            "    return config\n",
            "",
            r"^get_config\(\) of mine\.py returns None instead of a ConfigDict: end it with `return config`$",
        ),
        ("return config\n", "return config,\n", r"^get_config\(\) of mine\.py returns \("),
        ('size="8"', "size", r"^--config=mine\.py needs an argument after a colon: missing .*'size'$"),
        ("def get_config(", "def get_config((", r"mine\.py, line 5: invalid syntax$"),
        (
            "get_config(size",
            "get_my_config(size",
            r"^--config=mine\.py: the file defines no get_config\(\)$",
        ),
        ("deep_sets", "deep_set", r"choose one of summary_stats, deep_sets"),
    ],
)
def test_a_mistake_in_an_own_config_is_reported_with_file_and_line(tmp_path, parse, old, new, said):
    (tmp_path / "mine.py").write_text(OWN_CONFIG.replace(old, new))
    with pytest.raises(errors.ConfigError, match=said):
        parse("--config=mine.py", "--config.ensemble.size=2", "--config.train.patience=3")


@pytest.mark.parametrize(
    ("new", "error", "said"),
    [
        ("len(3)", TypeError, "has no len"),
        ("{}[size]", KeyError, "8"),
        ("json.loads(size)", NameError, "json"),
        ("open(size)", FileNotFoundError, "'8'"),
    ],
)
def test_a_bug_in_an_own_config_keeps_its_traceback(tmp_path, parse, new, error, said):
    (tmp_path / "mine.py").write_text(OWN_CONFIG.replace("int(size)", new))
    with pytest.raises(error, match=said) as caught:
        parse("--config=mine.py", "--config.ensemble.size=2")
    assert Path(caught.traceback[-1].path).name == "mine.py"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--config.optim.lr=3",),
            r"^--config\.optim\.lr=3: the config has no field lr; /.*/configs/common\.py lists all fields$",
        ),
        (("--config.foo.bar=3",), r"^--config\.foo\.bar=3: the config has no field foo; "),
        (
            ("--config.train.max_epoch=3",),
            r"^--config\.train\.max_epoch=3: the config has no field max_epoch, did you mean max_epochs\?$",
        ),
        (("--config.resume", "false"), r"^false is not an option"),
        (
            ("--config.optim.learning-rate=3",),
            r"^--config\.optim\.learning-rate=3: names of .*, did you mean --config\.optim\.learning_rate\?$",
        ),
        (("--config.train.=3",), r"^--config\.train\.=3: names of fields have .* underscores$"),
        (("--config.train.patience.x=3",), r"^--config\.train\.patience\.x=3: .* lookup: train\.patience\.x"),
        (("--config.data.target_keys[0]=time",), r"^--config\.data\.target_keys\[0\]=time: "),
        (("--config.model=deep_sets",), r"^flag --config\.model=deep_sets: Failed to parse"),
        (
            ("--config.data.target_keys=time, total mass",),
            r"^flag --config\.data\.target_keys=time, total mass: ",
        ),
        (("--config.train.max_epochs=three",), r"^flag --config\.train\.max_epochs=three: "),
    ],
)
def test_a_mistake_in_an_option_is_reported_with_the_option(parse, arguments, said):
    with pytest.raises(errors.ConfigError, match=said):
        parse("--config=deep_sets", *arguments)


def test_paths_are_expanded(parse, tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("OUTPUT_BASE", "~/runs")
    (home / "mine.py").write_text(OWN_CONFIG)
    config = parse("--config=~/mine.py", "--config.workdir=$HOME/run", "--config.data.dataset=~/data")
    assert (config.output_base, config.workdir, config.data.dataset) == (
        *(f"{home}/runs", f"{home}/run", f"{home}/data"),
    )


def test_fields_that_are_paths_exist_in_a_config_of_starjax():
    fields = [*common.get_config(), *common.get_config().data, *dataset.get_config()]
    assert set(config_flag.PATH_FIELDS) <= set(fields)


@pytest.mark.parametrize("value", ["~no-such-user/x", "$NOT_SET/x", "crlf\r", "pr\udce9d"])
def test_a_path_that_cannot_be_used_is_refused(parse, value):
    for field in ("output_base", "init_from", "data.dataset"):
        with pytest.raises(errors.ConfigError, match=rf"^config\.{field.split('.')[-1]}: "):
            parse("--config=deep_sets", f"--config.{field}={value}")


@pytest.mark.parametrize("option", ["--config=deep_sets", "--config.train.patience=3"])
def test_an_option_given_twice_is_an_error(parse, option):
    with pytest.raises(errors.ConfigError, match=f"^{option.split('=')[0]} is given twice$"):
        parse("--config=deep_sets", "--config.train.patience=4", option)


@pytest.mark.parametrize("argument", ["--config", "--config="])
def test_an_empty_config_is_an_error(parse, argument):
    with pytest.raises(errors.ConfigError, match=r"^--config is empty: choose one of common, dataset"):
        parse(argument)


def test_a_field_may_come_before_its_config(parse):
    assert parse("--config.train.max_epochs=3", "--config=deep_sets").train.max_epochs == 3


@pytest.mark.parametrize("argument", ["--noconfig.resume", "--config.resume=False"])
def test_a_field_that_is_true_or_false(parse, argument):
    assert parse("--config=deep_sets", argument).resume is False
