"""Builds with worker processes, and two builds at the same time."""

import dataclasses
import os
from pathlib import Path

import pytest

from starjax.datasets import shard
from starjax.nbody6 import build, build_state, caches, simulation_shards


def end_at_once(*_):
    os._exit(1)


@pytest.mark.slow
def test_a_killed_worker_is_reported(config, monkeypatch):
    config.n_jobs = 2
    with monkeypatch.context() as patch:
        patch.setattr(simulation_shards, "make_shard", end_at_once)
        with pytest.raises(build.BuildError, match=r"memory ran out.*lower config\.n_jobs \(here 2\)"):
            build.build_dataset(config)
    assert build.build_dataset(config) == Path(config.out)


def test_workers_of_two_builds_write_the_same_part(config, monkeypatch, tmp_path):
    """The worker of a killed build may still run when the next build starts."""
    run_id, path = next(iter(caches.find_caches(config.caches).items()))
    selection = caches.Selection(("x", "y"), ("time",), 1, False)
    arguments = (path, run_id, [], tmp_path / "parts" / f"{run_id}.npz", selection)
    save, others = shard.save_shard, []

    def save_while_another_does(target, content):
        if not others:
            others.append(os.getpid() + 1)
            with monkeypatch.context() as patch:
                patch.setattr(os, "getpid", lambda: others[0])
                simulation_shards.make_shard(*arguments)
        save(target, content)

    monkeypatch.setattr(shard, "save_shard", save_while_another_does)
    part = simulation_shards.make_shard(*arguments)
    assert others
    assert simulation_shards.make_shard(*arguments) == part
    assert len(shard.load_shard(part.path).feature) == part.num_star


def test_a_part_replaced_by_a_worker_of_another_build_is_refused(caches_folder, tmp_path):
    """The other build was killed, and had another selection."""
    path = next(caches_folder.rglob("*-obs.joblib"))
    run_id, target = path.name.removesuffix("-obs.joblib"), tmp_path / "part.npz"
    selection = caches.Selection(("x", "vx"), ("time",), 10, False)
    part = simulation_shards.make_shard(path, run_id, [path.name], target, selection)
    assert simulation_shards.merge_shards([part]).num_snapshot == part.num_snapshot
    simulation_shards.make_shard(
        path, run_id, [path.name], target, dataclasses.replace(selection, feature_keys=("x", "vy"))
    )
    with pytest.raises(shard.ShardError, match="changed by another process meanwhile: start again"):
        simulation_shards.merge_shards([part])


def test_a_data_set_that_another_process_finishes_meanwhile_is_not_overwritten(config, monkeypatch):
    inspect = build_state.inspect

    def inspect_and_lose_the_race(out, settings):
        state = inspect(out, settings)
        monkeypatch.setattr(build_state, "inspect", inspect)
        other = config.copy_and_resolve_references()
        other.min_stars = 50
        build.build_dataset(other)
        return state

    monkeypatch.setattr(build_state, "inspect", inspect_and_lose_the_race)
    with pytest.raises(build.BuildError, match="changed by another process meanwhile: start again"):
        build.build_dataset(config)
    with pytest.raises(build.BuildError, match="other min_stars"):
        build.build_dataset(config)
