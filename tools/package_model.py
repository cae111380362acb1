"""Make a packaged model from a finished run: what a prediction needs of it, and a card.

    python -m tools.package_model output/experiments/gaia gaia

The folder starjax/pretrained/NAME is then a run directory without what only training needs: the parameters
are in one file instead of checkpoints, and the training clusters in single precision. The same run gives the
same bytes. Of a card that exists, the part between the two marks is replaced; all else is written by hand.
"""

import argparse
import dataclasses
import importlib
import re
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

import flax.traverse_util
import numpy as np
from ml_collections import ConfigDict

from starjax import quantities
from starjax.commands import config_flag
from starjax.configs import common
from starjax.datasets.dataset import BUNDLES
from starjax.evaluation import out_of_distribution
from starjax.evaluation.calibration import LEVEL_NAMES
from starjax.evaluation.out_of_distribution import TrainingReference
from starjax.inference import pretrained_models
from starjax.inference.loading import load_predictor
from starjax.inference.predictor import Predictor
from starjax.inference.pretrained_models import ModelSummary
from starjax.io import files
from starjax.runs import best_params, integrity, pretrained
from starjax.runs.best_params import BestParams
from starjax.runs.config_record import config_to_record
from starjax.runs.directory import RunDirectory

BEGIN = "<!-- From here on tools/package_model.py writes this card. -->"
END = "<!-- Up to here. -->"


def package_model(run: Predictor, folder: Path) -> RunDirectory:
    """Write a run to a folder as a packaged model; what the folder contains, except its card, is replaced.

    Args:
      run: the run.
      folder: of the model, named as it.
    """
    temporary = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)  # of an attempt that failed
    temporary.mkdir(parents=True)
    new, old = RunDirectory(temporary), RunDirectory(folder)
    _strip(run, new)
    card = pretrained_models.read_card(old) if old.card.exists() else _new_card(folder.name, run)
    _write_card(new, card)
    # What is known without a person's help is read from the new folder, which shows that it can be read.
    _write_card(new, _replace_part(card, _facts(load_predictor(temporary), pretrained_models.summarize(new))))
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)
    return old


def _strip(run: Predictor, out: RunDirectory) -> None:
    """Write what a prediction needs of a run, and its test."""
    for name in ("config", "calibration", "coverage"):
        shutil.copyfile(getattr(run.run_dir, name), getattr(out, name))
    for name in BUNDLES.values():
        shutil.copyfile(run.run_dir.path / name, out.path / name)
    # All of them: the threshold is a distance between clusters, which grows if some are left out.
    known = run.reference.known.astype(np.float32)
    out_of_distribution.save(out.training_set, dataclasses.replace(run.reference, known=known))
    best_params.save_params(out.params, BestParams(run.checkpoint, run.epochs, run.params))
    integrity.mark_finished(out, files.read_json(run.run_dir.test_metrics))


def _new_card(name: str, run: Predictor) -> str:
    targets = " and ".join(quantities.short_name(key) for key in run.target_keys)
    purpose = f"Predicts {targets} of a star cluster from {', '.join(run.feature_keys)} of its stars."
    return f"# {name}\n\n{purpose}\n\n{BEGIN}\n{END}\n"


def _write_card(run_dir: RunDirectory, text: str) -> None:
    run_dir.card.write_text(text, encoding="utf-8", newline="\n")


def _replace_part(card: str, part: str) -> str:
    """Return a card with another part between the two marks."""
    before, begin, rest = card.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"the card should contain the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{part}\n{END}{after}"


def _facts(run: Predictor, summary: ModelSummary) -> str:
    """Return what is known of a packaged model without a person's help, in Markdown."""
    parts = [
        "## Training",
        f"```bash\n{training_command(run.config)}\n```",
        _origin(run, summary),
        "## Range of the training clusters",
        _ranges(run.reference),
        "## Test on simulations that it has not seen",
        _tests(summary),
    ]
    return "\n\n".join(parts) + "\n"


def _origin(run: Predictor, summary: ModelSummary) -> str:
    """Return the table of what the model is, and what it was made from."""
    rows = {
        "Model": f"{summary.num_member} members of `{summary.architecture}`",
        "Parameters of a member": f"{summary.num_param:,}",
        "Features": " ".join(f"`{key}`" for key in run.feature_keys),
        "Targets": " ".join(f"`{key}`" for key in run.target_keys),
        "Data set": f"`{summary.dataset}`, fingerprint `{summary.fingerprint}`",
        "Best epochs": ", ".join(map(str, run.epochs)),
        "Versions": ", ".join(f"{package} {number}" for package, number in run.record["versions"].items()),
        "SHA-256 of `SHA256SUMS`": f"`{files.sha256(run.run_dir.path / files.SUMS)}`",
    }
    if run.config.init_from:
        rows["SHA-256 of the run it started from"] = f"`{run.record['init_from_sha256']}`"
    return _table(("", ""), list(rows.items()))


def _ranges(reference: TrainingReference) -> str:
    rows = [
        (f"`{key}`", f"{low:z,.0f}", f"{high:z,.0f}")
        for key, (low, high) in zip(reference.range_keys, reference.ranges.tolist(), strict=True)
    ]
    return _table(("Quantity", "From", "To"), rows)


def _tests(summary: ModelSummary) -> str:
    rows = []
    for key, test in summary.tests.items():
        covered = zip(test.coverage, test.coverage_error, strict=True)
        rows.append(
            (
                f"`{key}` [{quantities.unit(key)}]",
                f"{test.mae:.3g}",
                f"{test.rmse:.3g}",
                f"{test.r2:.3f}",
                *(f"{100 * fraction:.1f} ± {100 * error:.1f} %" for fraction, error in covered),
            )
        )
    levels = (f"within {level} % intervals" for level in LEVEL_NAMES)
    return _table(("Target", "Mean error", "Rms error", "R²", *levels), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def training_command(config: ConfigDict) -> str:
    """Return the shortest command that trains the config of a run."""
    wanted = _fields(config)
    configs = {name: _config_file(name) for name in config_flag.own_configs() if name != "common"}
    configs[f"common:{config.model.name}"] = common.get_config(config.model.name)
    differing = {
        name: {key: value for key, value in wanted.items() if given[key] != value}
        for name, given in ((name, _fields(one)) for name, one in configs.items())
        if set(given) == set(wanted)  # configs of other commands and models have other fields
    }
    name = min(differing, key=lambda one: len(differing[one]))
    options = [shlex.quote(f"--config.{key}={_value(value)}") for key, value in differing[name].items()]
    return " \\\n    ".join([f"starjax train --config={name}", *options])


def _config_file(name: str) -> ConfigDict:
    return importlib.import_module(f"starjax.configs.{name}").get_config()


def _fields(config: ConfigDict) -> dict:
    """Return the fields that decide the results of a run, by dotted names."""
    return flax.traverse_util.flatten_dict(config_to_record(config), sep=".")


def _value(value) -> str:
    """Return a recorded value as an option states it."""
    return repr(_tuples(value)) if isinstance(value, list) else str(value)


def _tuples(value):
    """Return the tuples of a config, which its record has as lists."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("run", metavar="RUN", help="directory of a finished run")
    options.add_argument("name", metavar="NAME", help="name of the model")
    arguments = options.parse_args(argv)
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", arguments.name):
        options.error(f"NAME={arguments.name} should be small letters, digits, - and _")
    out = package_model(load_predictor(Path(arguments.run)), pretrained.FOLDER / arguments.name)
    print(pretrained_models.describe(pretrained_models.summarize(out)))
    print(f"wrote {out.path}: say in {out.card.name} what it is for, and what it cannot do")


if __name__ == "__main__":
    main()
