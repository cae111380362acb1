"""Load the config that --config names, and explain what is wrong with its file or with a field."""

import inspect
import os
import re
import runpy
import traceback
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

import starjax.configs
from starjax.commands import cli
from starjax.errors import ConfigError
from starjax.runtime import paths

# Fields of the configs of all commands that are paths.
PATH_FIELDS = ("output_base", "workdir", "init_from", "dataset", "caches", "split_manifest", "out")
OWN_CONFIGS = Path(starjax.configs.__path__[0])


def load(arguments: Sequence[str], example: str) -> ConfigDict:
    """Load a config.

    Args:
      arguments: the options that begin with `--config`, and their values.
      example: a name to suggest if none is given.

    Raises:
      ConfigError: the config or a field does not exist, or a field cannot have the value. Any other error
        within a config file is a bug of that file, and keeps its traceback.
    """
    given = _with_own_configs(arguments)
    if not any(argument.startswith("--config=") for argument in given):
        raise ConfigError(f"name a config, such as --config={example}. There are {', '.join(own_configs())}")
    # Flags of its own, since absl's global ones belong to a program that imports starjax.
    argv = ["starjax", *given]
    values = flags.FlagValues()
    config = config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
    try:
        rest = values(argv)
        config.value.keys()  # a file that cannot be read raises an error on first use
    except (LookupError, AttributeError, TypeError, ValueError, SyntaxError, OSError, flags.Error) as error:
        # The cause is the file, in which case absl and ml_collections have hidden it, or an option.
        _check_file(given)
        raise ConfigError(_describe_option_error(error, arguments)) from error
    if rest[1:]:
        raise ConfigError(f"{rest[1]} is not an option; write values as --config.name=VALUE")
    _expand_paths(config.value)
    return config.value


def _expand_paths(config: ConfigDict) -> None:
    """Replace `~` and variables in the fields that are paths, also in those of sections."""
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            _expand_paths(value)
        elif name in PATH_FIELDS:
            try:
                config[name] = paths.expand(value)
            except paths.PathError as error:
                raise ConfigError(f"config.{name}: {error}") from error


def _check_file(argv: Sequence[str]) -> None:
    """Raise a ConfigError that names file, line and reason if the config file gives no config."""
    [chosen] = [one for one in argv if one.startswith("--config=")]
    path, *argument = chosen.removeprefix("--config=").split(":", 1)
    if not path:
        raise ConfigError(f"--config is empty: choose one of {', '.join(own_configs())}, or your own file")
    try:
        get_config = runpy.run_path(path).get("get_config")
    except (OSError, ImportError) as error:
        if Path(path).is_file():
            raise  # the error of another file, which this one opens or imports
        reason = "it is a folder" if Path(path).is_dir() else getattr(error, "strerror", error)
        raise ConfigError(
            f"--config={path} cannot be loaded: {reason}; the current folder is {os.getcwd()}. By name, "
            f"without a path, there are {', '.join(own_configs())}"
        ) from error
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        raise ConfigError(f"{error.filename or path}{line}: {error.msg}") from error
    if get_config is None:
        raise ConfigError(f"--config={path}: the file defines no get_config()")
    try:
        inspect.signature(get_config).bind(*argument)
    except TypeError as error:
        raise ConfigError(
            f"--config={path} takes no argument after a colon ({error}): leave it out, or name a config that "
            "takes one, such as common:deep_sets"
            if argument
            else f"--config={path} needs an argument after a colon: {error}"
        ) from error
    try:
        config = get_config(*argument)
    except (AttributeError, KeyError, TypeError) as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if "ml_collections" not in frame.filename]
        # Raised by ml_collections, it is about a field; raised elsewhere, it is a bug of the file.
        if frames[-1] is own[-1]:
            raise
        raise ConfigError(
            f"{own[-1].filename}, line {own[-1].lineno}: {_describe_field_error(error)[0]}"
        ) from error
    if not isinstance(config, ConfigDict):
        raise ConfigError(
            f"get_config() of {path} returns {config!r:.80} instead of a ConfigDict: end it with "
            "`return config`"
        )


def _describe_field_error(error: Exception) -> tuple[str, str]:
    """Return what ml_collections reports about a field, and the field's name if it does not exist."""
    # The original message is quoted, with line breaks and a suggestion.
    message = " ".join(str(error.args[0]).replace("\\n", " ").replace("\\'", "'").split()).strip("'\"")
    unknown = re.match(r"""(?:Key ")?(\w+)(?:['"]|$)""", message)
    if isinstance(error, TypeError) or unknown is None:
        return message, ""
    meant = re.search(r"Did you mean \W?(\w+)", message)
    suggestion = f", did you mean {meant[1]}?" if meant else ""
    return f"the config has no field {unknown[1]}{suggestion}", unknown[1]


def _describe_option_error(error: Exception, argv: Sequence[str]) -> str:
    fields = [argument for argument in argv if re.match(r"--?(no)?config[.\[]", argument)]
    if isinstance(error, flags.Error):
        return str(error)
    for field in fields:
        name = field.split("=")[0]
        if not re.fullmatch(r"--?(no)?config(\.\w+|\[\d+\])+", name):
            meant = f", did you mean --{name.strip('-').replace('-', '_')}?" if "-" in name.strip("-") else ""
            return f"{field}: names of fields have letters, digits and underscores{meant}"
    if isinstance(error, AttributeError | KeyError):
        message, name = _describe_field_error(error)
        named = [one for one in fields if re.match(rf"--?(no)?config\.([\w.]+\.)?{name}\b", one)]
        more = "" if "did you mean" in message else f"; {OWN_CONFIGS / 'common.py'} lists all fields"
        return f"{', '.join(named or fields)}: {message}{more}"
    return f"{', '.join(fields)}: {error}"


def own_configs() -> list[str]:
    """Return the names of the configs that are part of starjax."""
    return sorted(path.stem for path in OWN_CONFIGS.glob("[a-z]*.py"))


def _with_own_configs(arguments: Sequence[str]) -> list[str]:
    """Return the options with --config=FILE first, and with the paths of named configs."""

    def file_of(value):
        name, *argument = value.split(":", 1)
        if not name.isidentifier():
            return paths.expand(value)
        if name not in own_configs():
            raise ConfigError(
                f"--config={name}: starjax has no config of that name{cli.did_you_mean(name, own_configs())} "
                f"There are {', '.join(own_configs())}; your own file needs a path, such as ./mine.py"
            )
        return ":".join([str(OWN_CONFIGS / f"{name}.py"), *argument])

    chosen, fields, rest = [], [], iter(arguments)
    for argument in rest:
        option, equals, value = argument.partition("=")
        if option in ("--config", "-config"):
            chosen.append(f"--config={file_of(value if equals else next(rest, ''))}")
        else:
            fields.append(argument)
    options = [one.split("=")[0] for one in (*chosen, *fields) if one.startswith("--")]
    if twice := next((option for option in options if options.count(option) > 1), None):
        raise ConfigError(f"{twice} is given twice")
    # ml_collections needs the file before the fields.
    return [*chosen, *fields]
