"""--config: which file it names, and what is wrong with that file or with a field that is set beside it."""

import inspect
import os
import re
import runpy
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from starjax.errors import ConfigError

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
    given = _with_own_configs(argv)
    try:
        rest = flags.FLAGS(given)
        flags.FLAGS["config"].value.keys()  # a file that cannot be read shows itself when it is used only
    except (LookupError, AttributeError, TypeError, ValueError, SyntaxError, OSError, flags.Error) as error:
        # In the file, which absl and ml_collections wrap beyond recognition, or else in a flag.
        _check_file(given)
        raise ConfigError(_told_of_flag(error, argv)) from error
    if rest[1:]:
        before = given[given.index(rest[1]) - 1]
        join = f"; with the flag before it: {before}={rest[1]}" if re.fullmatch(r"--[^=]+", before) else ""
        raise ConfigError(f"{rest[1]} is no flag, which begin with --, such as --config.name=NAME{join}")


def _check_file(argv: Sequence[str]) -> None:
    """Refuses a config file that gives no config, by what is wrong in it and where."""
    named = [argument for argument in argv if argument.startswith("--config=")]
    if not named:
        return
    path, *argument = named[-1].removeprefix("--config=").split(":", 1)
    if not path:
        raise ConfigError(
            f"--config names nothing, choose one of {', '.join(own_configs())}, or a file of your own"
        )
    try:
        get_config = runpy.run_path(path).get("get_config")
    except (OSError, ImportError) as error:
        if Path(path).is_file():
            raise  # of what it opens or imports
        reason = "it is a folder" if Path(path).is_dir() else getattr(error, "strerror", error)
        raise ConfigError(
            f"--config={path} cannot be loaded: {reason}; this is {os.getcwd()}. By name, without a path, there are "
            f"{', '.join(own_configs())}"
        ) from error
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        raise ConfigError(f"{error.filename or path}{line}: {error.msg}") from error
    if get_config is None:
        raise ConfigError(f"--config={path} is a file that defines no get_config()")
    try:
        inspect.signature(get_config).bind(*argument)
    except TypeError as error:
        mend = "leave it out, or name a config that does, such as common:deep_sets"
        raise ConfigError(
            f"--config takes no such thing after a colon ({error}): {mend}"
            if argument
            else f"--config={path} wants more, after a colon: {error}"
        ) from error
    try:
        config = get_config(*argument)
    except (AttributeError, KeyError, TypeError) as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if "ml_collections" not in frame.filename]
        if frames[-1] is own[-1]:
            raise
        raise ConfigError(f"{own[-1].filename}, line {own[-1].lineno}: {_told_of_field(error)[0]}") from error
    if not isinstance(config, ConfigDict):
        raise ConfigError(
            f"get_config() of {path} returns no config, but {config!r:.80}: let it end with `return config`"
        )


def _told_of_field(error: Exception) -> tuple[str, str]:
    """What ml_collections finds wrong with a field, and the field's name, where there is none of that name."""
    # In quotes, with line breaks and a suggestion.
    said = " ".join(str(error.args[0]).replace("\\n", " ").replace("\\'", "'").split()).strip("'\"")
    unknown = re.match(r'(?:Key ")?(\w+)', said)
    if isinstance(error, TypeError) or unknown is None:
        return said, ""
    meant = re.search(r"Did you mean \W?(\w+)", said)
    return f"the config has no field {unknown[1]}" + (
        f", did you mean {meant[1]}?" if meant else ""
    ), unknown[1]


def _told_of_flag(error: Exception, argv: Sequence[str]) -> str:
    """What is wrong with a flag."""
    of_fields = [argument for argument in argv if re.match(r"--?config[.\[]", argument)]
    if isinstance(error, flags.UnrecognizedFlagError):
        return f"{error}; fields of the config are set as --config.optim.learning_rate=1e-3, all else is told by --help"
    if isinstance(error, flags.Error):
        return f"{error}{': give --config first' if 'before a value for --config' in str(error) else ''}"
    if isinstance(error, AttributeError | KeyError):
        said, name = _told_of_field(error)
        named = [one for one in of_fields if re.match(rf"--?config\.([\w.]+\.)?{name}\b", one)]
        more = "" if "did you mean" in said else f"; {OWN_CONFIGS} has all fields"
        return f"{', '.join(named or of_fields)}: {said}{more}"
    return f"{', '.join(of_fields)}: {error}"


def own_configs() -> list[str]:
    """The configs that are part of starjax, by name."""
    return sorted(path.stem for path in OWN_CONFIGS.glob("[a-z]*.py"))


def _with_own_configs(argv: Sequence[str]) -> list[str]:
    """The same arguments, with the config as --config=FILE; of a name, possibly with `:ARGUMENT` after it, that of starjax's own."""

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

    found, rest = [], iter(argv)
    for argument in rest:
        flag, equals, value = argument.partition("=")
        if flag in ("--config", "-config"):
            value = value if equals else next(rest, "")
            argument = f"--config={file_of(value)}"
        found.append(argument)
    return found


def _help() -> str:
    """What --help says: the docstring of the command, and where the rest stands."""
    return (
        f"{sys.modules['__main__'].__doc__.strip()}\n\n"
        f"Every field with its meaning and default, to be set like these, is in\n{OWN_CONFIGS}\n"
        "A config of your own starts from one of those there. All flags: --helpfull."
    )
