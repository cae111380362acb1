"""What a command is told: configs by name or of one's own, wherever one is; and what --help says of it."""

import operator
import re
import subprocess
import sys

import pytest
from absl import flags
from ml_collections import config_flags

from starjax import command as command_lib
from starjax import export, predict, report, summary
from starjax.configs import common
from starjax.configs import dataset as dataset_config
from starjax.configs import grid as grid_config
from starjax.data import splits, tfds

OF_MINE = """
from starjax.configs import common


def get_config(size="8"):
    config = common.get_config("deep_sets")
    config.ensemble.size = int(size)
    return config
"""


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # of ml_collections
@pytest.mark.parametrize(
    "named",
    [
        ("--config=common:deep_sets", "--config.ensemble.size=3"),
        ("--config", "deep_sets", "--config.ensemble.size=3"),
        ("--config=mine.py:3",),
        ("--config=./mine.py", "--config.ensemble.size=3"),
    ],
)
def test_a_config_of_starjax_is_named_and_one_of_mine_builds_on_it_wherever_i_am(
    named, tmp_path, monkeypatch
):
    (tmp_path / "mine.py").write_text(OF_MINE)
    monkeypatch.chdir(tmp_path)
    defined = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, "", flag_values=defined)
    monkeypatch.setattr(flags, "FLAGS", defined)
    monkeypatch.setattr(sys, "argv", ["command", *named])  # where ml_collections looks for fields
    command_lib.parse_flags(sys.argv)
    assert defined.config.model.name == "deep_sets"
    assert defined.config.ensemble.size == 3


@pytest.mark.parametrize("module", [predict, summary, report, export, splits, tfds])
def test_help_of_the_other_commands_fits_a_screen(module, capsys):
    with pytest.raises(SystemExit, match="0"):
        module.parse(["command", "--help"])
    assert 5 < len(capsys.readouterr().out.splitlines()) <= 24


@pytest.mark.parametrize(
    ("module", "config"), [("main", common), ("grid", grid_config), ("data.build", dataset_config)]
)
def test_help_fits_a_screen_and_names_fields_that_are_there(module, config):
    done = subprocess.run(
        [sys.executable, "-m", f"starjax.{module}", "--help"], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert len(lines) <= 24
    named = re.findall(r"^    --([\w.]+)=", done.stdout, re.MULTILINE)
    assert len(named) == 5
    for name in named:
        if name.startswith("config."):
            operator.attrgetter(name.removeprefix("config."))(config.get_config())
