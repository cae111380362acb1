"""What a command is told: configs by name or of one's own, wherever one is; and what --help says of it."""

import operator
import re
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags
from ml_collections import config_flags

from starjax import errors
from starjax.commands import config_flag, predict
from starjax.configs import common
from starjax.configs import dataset as dataset_config
from starjax.configs import grid as grid_config
from starjax.datasets import tfds_publisher
from starjax.inference import export
from starjax.nbody6 import splits
from starjax.reports import html_report, ranking
from tools import make_example_catalog

OF_MINE = """
from starjax.configs import common


def get_config(size="8"):
    config = common.get_config("deep_sets")
    config.ensemble.size = int(size)
    return config
"""


pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # of ml_collections


@pytest.fixture
def parse(monkeypatch, tmp_path):
    """`(arguments) -> config`, from a folder of one's own."""

    def parsed(*arguments):
        defined = flags.FlagValues()
        monkeypatch.chdir(tmp_path)
        sys.modules.pop("config_config", None)  # into which ml_collections would load the next one as well
        monkeypatch.setattr(flags, "FLAGS", defined)
        monkeypatch.setattr(sys, "argv", ["command", *arguments])  # where ml_collections looks for fields
        config = config_flags.DEFINE_config_file("config", None, "", flag_values=defined)
        flags.register_validator("config", lambda value: value is not None, "name one", flag_values=defined)
        config_flag.parse(sys.argv)
        return config.value

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
def test_a_config_of_starjax_is_named_and_one_of_mine_builds_on_it_wherever_i_am(named, tmp_path, parse):
    (tmp_path / "mine.py").write_text(OF_MINE)
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
            r"^get_config\(\) of mine\.py returns no config, but None: let it end with `return config`$",
        ),
        ("return config\n", "return config,\n", r"^get_config\(\) of mine\.py returns no config, but \("),
        ('size="8"', "size", r"^--config=mine\.py wants more, after a colon: missing .*'size'$"),
        ("def get_config(", "def get_config((", r"mine\.py, line 5: invalid syntax$"),
        (
            "get_config(size",
            "get_my_config(size",
            r"^--config=mine\.py is a file that defines no get_config\(\)$",
        ),
        ("deep_sets", "deep_set", r"choose one of summary_stats, deep_sets"),
    ],
)
def test_a_mistake_in_a_config_of_mine_is_told_by_file_and_line(tmp_path, parse, old, new, said):
    (tmp_path / "mine.py").write_text(OF_MINE.replace(old, new))
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
def test_a_bug_in_a_config_of_mine_keeps_its_traceback(tmp_path, parse, new, error, said):
    (tmp_path / "mine.py").write_text(OF_MINE.replace("int(size)", new))
    with pytest.raises(error, match=said) as caught:
        parse("--config=mine.py", "--config.ensemble.size=2")
    assert Path(caught.traceback[-1].path).name == "mine.py"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--config.optim.lr=3",),
            r"^--config\.optim\.lr=3: the config has no field lr; /.*/configs has all fields$",
        ),
        (("--config.foo.bar=3",), r"^--config\.foo\.bar=3: the config has no field foo; "),
        (
            ("--config.train.max_epoch=3",),
            r"^--config\.train\.max_epoch=3: the config has no field max_epoch, did you mean max_epochs\?$",
        ),
        (("--learning_rate=3",), r"flag 'learning_rate'; fields of the config are set as --config\.optim\."),
        (("more",), r"^more is no flag, which begin with --.*NAME$"),
        (("--config.resume", "false"), r"^false is no flag.*before it: --config\.resume=false$"),
        (("--config.optim.learning-rate=3",), r"^--config\.optim\.learning-rate=3: "),
        (("--config.data.target_keys[0]=time",), r"^--config\.data\.target_keys\[0\]=time: "),
        (("--config.model=deep_sets",), r"^flag --config\.model=deep_sets: Failed to parse"),
        (
            ("--config.data.target_keys=time, total mass",),
            r"^flag --config\.data\.target_keys=time, total mass: ",
        ),
        (("--config.train.max_epochs=three",), r"^flag --config\.train\.max_epochs=three: "),
    ],
)
def test_a_mistake_in_a_flag_is_told_with_the_flag(parse, arguments, said):
    with pytest.raises(errors.ConfigError, match=said):
        parse("--config=deep_sets", *arguments)


@pytest.mark.parametrize("argument", ["--config", "--config="])
def test_a_config_that_is_not_named_is_told(parse, argument):
    with pytest.raises(errors.ConfigError, match=r"^--config names nothing, choose one of common, dataset"):
        parse(argument)


def test_a_field_before_its_config_is_told(parse):
    with pytest.raises(errors.ConfigError, match=r"give --config first$"):
        parse("--config.train.max_epochs=3", "--config=deep_sets")


def fits_a_screen(text):
    """Whether a terminal of 80 columns and 24 rows shows all of it; paths are as long as they are."""
    lines = [line for line in text.splitlines() if not line.startswith("/")]
    return max(map(len, lines)) <= 80 and 5 < len(text.splitlines()) <= 24


@pytest.mark.parametrize(
    "module", [predict, ranking, html_report, export, splits, tfds_publisher, make_example_catalog]
)
def test_help_of_the_other_commands_fits_a_screen(module, capsys):
    with pytest.raises(SystemExit, match="0"):
        module.parse(["command", "--help"])
    said = capsys.readouterr().out
    assert fits_a_screen(said), said


@pytest.mark.parametrize(
    ("module", "config"), [("main", common), ("grid", grid_config), ("data.build", dataset_config)]
)
def test_help_fits_a_screen_and_names_fields_that_are_there(module, config):
    done = subprocess.run(
        [sys.executable, "-m", f"starjax.{module}", "--help"], capture_output=True, text=True, check=True
    )
    assert fits_a_screen(done.stdout), done.stdout
    if module == "main":
        own = set(config_flag.own_configs()) - {"common", "dataset", "grid"}
        assert own <= set(re.findall(r"\w+", done.stdout))
    named = re.findall(r"^    --([\w.]+)=", done.stdout, re.MULTILINE)
    assert len(named) == 5
    for name in named:
        if name.startswith("config."):
            operator.attrgetter(name.removeprefix("config."))(config.get_config())
