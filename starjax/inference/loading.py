"""Finished runs and packaged models as predictors."""

import dataclasses
from pathlib import Path

import jax
import numpy as np

from starjax.datasets import split_manifest
from starjax.datasets.dataset import BUNDLES
from starjax.datasets.load import PACKAGED
from starjax.datasets.scalers import bundle
from starjax.datasets.scalers.bundle import ScalerBundle
from starjax.evaluation import calibration, out_of_distribution
from starjax.inference.predictor import Predictor, PredictorError
from starjax.runs import best_params, pretrained, run_config
from starjax.runs.config_record import config_from_record
from starjax.runs.directory import RunDirectory
from starjax.runs.state import read_finished_record
from starjax.runtime import devices
from starjax.training.trainer import abstract_arrays


def load_predictor(run: Path | str) -> Predictor:
    """Load a finished run, or a packaged model.

    Args:
      run: its directory, or the name of a packaged model (see `runs.pretrained.find_run`).

    >>> run = starjax.load(run_directory)
    >>> prediction = run.predict(catalog_file)  # or an astropy Table, or a data frame of pandas or polars
    >>> row = prediction.table.iloc[0]
    >>> bool(row["time_p2.5"] <= row["time_p16"] <= row["time"] <= row["time_p84"])
    True
    >>> print(prediction.members[row["cluster"]].notes[0])
    Left out because the proper motion is missing: 3 stars (rows 28, 103, 324).

    Raises:
      RunDirectoryError, PredictorError, BestParamsError, CheckpointError, ScalerError, CalibrationError,
        OutOfDistributionError: the directory holds no finished run, or one of its files cannot be used.
    """
    run_dir = pretrained.find_run(run)
    record = read_finished_record(run_dir)
    config = config_from_record(record["config"])
    if run_config.is_sweep(config) and config.ensemble.size > 1:
        raise PredictorError(
            f"{run_dir.path} is a sweep over hyperparameters: name its best run, {run_dir.path}-best"
        )
    mesh = devices.make_mesh(devices=jax.local_devices()[:1])
    best = best_params.load_best(run_dir, abstract_arrays(config, mesh))
    return Predictor(
        run_dir,
        record,
        config,
        best.path,
        best.epochs,
        best.params,
        feature_scalers=_scalers(run_dir, BUNDLES["feature"]),
        target_scalers=_scalers(run_dir, BUNDLES["target"]),
        calibrated=calibration.load(run_dir.calibration, config.data.target_keys),
        reference=_reference(run_dir, record["dataset"]["name"]),
    )


def _reference(run_dir: RunDirectory, dataset: str) -> out_of_distribution.TrainingReference:
    """Return the training clusters, with their range of metallicities if a packaged data set states it."""
    reference = out_of_distribution.load(run_dir.training_set)
    manifest = PACKAGED[dataset] / split_manifest.FILE if dataset in PACKAGED else None
    found = manifest and split_manifest.metallicity_range(manifest)
    if not found:
        return reference
    keys, ranges = (*reference.range_keys, "metallicity"), np.vstack([reference.ranges, found])
    return dataclasses.replace(reference, range_keys=keys, ranges=ranges)


def _scalers(run_dir: RunDirectory, name: str) -> ScalerBundle:
    """Return a scaler bundle of the run directory."""
    try:
        return bundle.load_bundle(run_dir.path / name)
    except FileNotFoundError as error:
        raise PredictorError(
            f"{run_dir.path / name} is missing: restore it, or train the run again"
        ) from error
