"""The command `starjax`: its help fits a screen and is quick, wrong names are corrected."""

import importlib
import operator
import os
import re
import subprocess
import sys

import pytest

from starjax.__main__ import COMMANDS
from starjax.commands import cli, config_flag, predict
from starjax.configs import common, dataset, grid
from starjax.inference.predictor import NUM_DRAWS


def starjax(*arguments):
    command = [sys.executable, "-m", "starjax", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def parser_of(command):
    return importlib.import_module(f"starjax.commands.{command}").parser()


def fits_a_screen(text):
    """Return whether a terminal of 80 columns and 24 rows shows all of it."""
    return max(map(len, text.splitlines())) <= 80 and 5 < len(text.splitlines()) <= 24


def test_help_lists_all_commands():
    for arguments in ([], ["--help"]):
        done = starjax(*arguments)
        assert done.returncode == 0
        assert fits_a_screen(done.stdout), done.stdout
        assert all(re.search(rf"^  {command} +\w", done.stdout, re.MULTILINE) for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_fits_a_screen(command):
    text = parser_of(command).format_help()
    # What is known of clusters needs more lines.
    assert fits_a_screen(text) or command == "predict", text
    assert max(map(len, text.splitlines())) <= 80
    assert text.startswith(f"usage: starjax {command}")


@pytest.mark.parametrize(("command", "config"), [("train", common), ("grid", grid), ("build", dataset)])
def test_help_names_fields_that_exist(command, config):
    text = parser_of(command).format_help()
    named = set(re.findall(r"--config\.([a-z_.]+)(?= )", text))
    assert len(named) >= 3
    for name in named:
        operator.attrgetter(name)(config.get_config())


def test_help_of_training_names_all_configs():
    own = set(config_flag.own_configs()) - {"common", "dataset", "grid"}
    assert own <= set(re.findall(r"\w+", parser_of("train").format_help()))


def test_help_of_prediction_states_the_number_of_draws():
    assert f"[{NUM_DRAWS}]" in predict.parser().format_help()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["predct"],
            "error: starjax has no command predct, did you mean predict? All commands: starjax --help",
        ),
        (["nothing"], "error: starjax has no command nothing. All commands: starjax --help"),
        (["predict", "--catlog=a"], "error: unknown option --catlog, did you mean --catalog?"),
        (["train", "--confg=deep_sets"], "error: unknown option --confg, did you mean --config?"),
        (["predict"], "error: name a catalogue, as in starjax predict members.csv. All options"),
        (["report", "--run=a", "stray"], "error: unrecognized arguments: stray"),
        (["predict", "a.csv", "--columns=ra=a", "--columns=ra=b"], "error: --columns is given twice."),
        (
            ["report", "--run=~no-such-user/a"],
            "error: argument --run: '~no-such-user/a' begins with a variable that is not",
        ),
    ],
)
def test_wrong_usage_ends_with_a_line_and_status_2(arguments, message):
    done = starjax(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith(message)


def test_the_version():
    import starjax as package

    assert starjax("--version").stdout == f"starjax {package.__version__}\n"


def test_help_without_docstrings_and_assertions():
    done = subprocess.run(
        [sys.executable, "-OO", "-m", "starjax", "--help"], capture_output=True, check=False
    )
    assert done.returncode == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_all_options_that_are_paths_are_expanded(command):
    for action in parser_of(command)._actions:
        is_path = action.metavar in ("DIR", "FILE") or "--run" in action.option_strings
        # Those of configs are expanded with the config.
        if is_path and "config" not in action.dest:
            assert action.type is cli.path, action.dest


@pytest.mark.parametrize("given", ["~/run", "$HOME/run"])
def test_paths_are_expanded_and_what_tables_cannot_contain_is_refused(given, monkeypatch, capsys):
    monkeypatch.setenv("HOME", "/home/me")
    assert parser_of("predict").parse([given, f"--run={given}"]).catalog == "/home/me/run"
    for path in ("am\udce9lie.csv", "crlf\r"):
        for option in ("", "--out="):
            with pytest.raises(SystemExit):
                parser_of("predict").parse([option + path])
            assert f"{path!r} contains a control character, or is not in UTF-8" in capsys.readouterr().err


def test_help_imports_nothing_slow():
    program = (
        "import sys, starjax.__main__, starjax.commands.predict as predict\n"
        "predict.parser().format_help()\n"
        "slow = {'jax', 'numpy', 'astropy', 'sklearn', 'matplotlib', 'pandas', 'scipy', 'absl'}\n"
        "print(sorted(slow & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("platforms", ["cuda", pytest.param("CPU", marks=pytest.mark.slow)])
def test_a_platform_that_is_not_there_is_reported_in_one_line(platforms):
    program = (
        "import jax\nfrom types import SimpleNamespace\nfrom starjax.commands import cli\n"
        "cli.run(SimpleNamespace(parser=lambda: cli.Parser('test', ''), main=lambda _: jax.devices()), [])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"JAX_PLATFORMS": platforms, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"error: JAX_PLATFORMS={platforms} names no device of this machine: unset it, or set it to cpu\n"
    )
