"""--config: which file it names, and what is wrong with that file or with a field that is set beside it."""

import os
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from starjax.errors import ConfigError, StarjaxError

OWN_CONFIGS = Path(__file__).parent / "configs"


def define(example: str) -> flags.FlagHolder:
    """Defines --config, one of starjax's own by name, such as `example`, or a Python file; it has to be given."""
    # No default: a flag's default is read before what is wrong with it can be told.
    config = config_flags.DEFINE_config_file("config", None, f"The configuration, such as {example}.")
    flags.register_validator(
        "config", lambda value: value is not None, f"name one, such as --config={example}"
    )
    return config


def parse(argv: Sequence[str]) -> None:
    """Parses absl flags; with --help, says what the main module's docstring does, and ends the process.

    Raises:
      ConfigError: a flag, a config field or a config file is not there, or has a value that cannot be. What
        else goes wrong inside a config file is that file's bug, and keeps its traceback.
    """
    if any(argument in ("--help", "-help", "-h", "-?") for argument in argv):
        print(_help())
        sys.exit(0)
    try:
        rest = flags.FLAGS(_with_own_configs(argv))
        flags.FLAGS["config"].value.keys()  # a file that cannot be read shows itself when it is used only
    except OSError as error:
        reason = str(error.__cause__ or error).splitlines()[-1].strip()
        raise ConfigError(
            f"--config cannot be loaded: {reason}; this is {os.getcwd()}. By name, without a path, there are "
            f"{', '.join(own_configs())}"
        ) from error
    except SyntaxError as error:
        raise ConfigError(f"--config: {error.filename}, line {error.lineno}: {error.msg}") from error
    except (AttributeError, KeyError) as error:
        if "ml_collections" not in traceback.extract_tb(error.__traceback__)[-1].filename:
            raise
        raise ConfigError(_told_of_field(error, argv)) from error
    except flags.Error as error:
        raise ConfigError(_told_of_flag(error, argv)) from error
    if rest[1:]:
        raise ConfigError(f"{rest[1]} is no flag: flags begin with --, such as --config.name=NAME")


def _told_of_field(error: BaseException, argv: Sequence[str]) -> str:
    """What is wrong with a field, and where it is set: by a flag, or in a line of a config file."""
    # Texts of ml_collections may be in quotes, with line breaks and a suggestion.
    said = " ".join(str(error.args[0]).replace("\\n", " ").replace("\\'", "'").split()).strip("'\"")
    if "get_config" in said:
        return "--config names a file that defines no get_config()"
    unknown = re.match(r'Key "(\w+)"|(\w+)\W*(Did you mean|$)', said)
    if unknown:
        name, meant = unknown[1] or unknown[2], re.search(r"Did you mean \W?(\w+)", said)
        said = f"the config has no field {name}" + (f", did you mean {meant[1]}?" if meant else "")
        for argument in argv:
            if re.match(rf"--?config\.([\w.]+\.)?{name}\b", argument):
                return f"{argument}: {said}{'' if meant else f'; {OWN_CONFIGS} has all fields'}"
    line = _line_of_config(error)
    return f"{line.filename}, line {line.lineno}: {said}" if line else said


def _line_of_config(error: BaseException) -> traceback.FrameSummary | None:
    """Where in a config file an error was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    libraries = {"absl", "ml_collections"}
    outside = [f for f in frames if f.filename != __file__ and not libraries & set(Path(f.filename).parts)]
    return outside[-1] if outside else None


def _told_of_flag(error: flags.Error, argv: Sequence[str]) -> str:
    """What is wrong with a flag, or what was raised in a config file, which absl wraps."""
    chain: list[BaseException] = [error]
    while chain[-1].__context__ is not None:
        chain.append(chain[-1].__context__)
    if isinstance(chain[-1], TypeError) and str(chain[-1]).startswith("get_config()"):
        return (
            f"--config takes no such thing after a colon ({chain[-1]}): leave it out, or name a config that does, such as "
            "common:deep_sets"
        )
    for one in reversed(chain):
        if isinstance(one, StarjaxError):
            return str(one)
        if _line_of_config(one):
            return _told_of_field(one, argv)
    said = str(error)
    if said.startswith("flag --config=None") and any(re.match("--?config(=|$)", one) for one in argv):
        return "the get_config() of --config returned nothing: let it end with `return config`"
    if "before a value for --config" in said:
        return f"{said}: give --config first"
    if isinstance(error, flags.UnrecognizedFlagError):
        return f"{said}; fields of the config are set as --config.optim.learning_rate=1e-3, all else is told by --help"
    return said


def own_configs() -> list[str]:
    """The configs that are part of starjax, by name."""
    return sorted(path.stem for path in OWN_CONFIGS.glob("[a-z]*.py"))


def _with_own_configs(argv: Sequence[str]) -> list[str]:
    """The same arguments; where `--config` is a name, possibly with `:ARGUMENT` after it, the file of starjax's own that has it."""

    def file_of(value):
        name, *argument = value.split(":", 1)
        if not name.isidentifier():
            return value
        if name not in own_configs():
            raise ConfigError(
                f"--config={name}: starjax has no config of that name, choose one of {', '.join(own_configs())}; or give the "
                "path of a file of your own, such as ./mine.py"
            )
        return ":".join([str(OWN_CONFIGS / f"{name}.py"), *argument])

    found = list(argv)
    for place, argument in enumerate(argv):
        flag, equals, value = argument.partition("=")
        if flag in ("--config", "-config") and equals:
            found[place] = f"{flag}={file_of(value)}"
        elif flag in ("--config", "-config") and place + 1 < len(argv):
            found[place + 1] = file_of(argv[place + 1])
    return found


def _help() -> str:
    """What --help says: the docstring of the command, and where the rest stands."""
    return (
        f"{sys.modules['__main__'].__doc__.strip()}\n\n"
        f"Every field with its meaning and default, to be set like these, is in\n{OWN_CONFIGS}\n"
        "A config of your own starts from one of those there. All flags: --helpfull."
    )
