"""Builds with workers, and two builds at once."""

import dataclasses
import os
from pathlib import Path

import pytest

from starjax.datasets import shard
from starjax.nbody6 import build, build_state, caches, simulation_shards


def end_at_once(*_):
    os._exit(1)


def test_a_worker_that_the_system_ends_is_told(config, monkeypatch):
    config.n_jobs = 2
    with monkeypatch.context() as patch:
        patch.setattr(simulation_shards, "make_shard", end_at_once)
        with pytest.raises(build.BuildError, match=r"want of memory.*lower config\.n_jobs \(here 2\)"):
            build.build_dataset(config)
    assert build.build_dataset(config) == Path(config.out)


def test_a_worker_that_outlived_its_build_does_not_disturb_the_next(config, monkeypatch, tmp_path):
    """Both write the part of a run at the same time."""
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


def test_a_part_that_a_worker_of_another_build_made_meanwhile_is_refused(caches_folder, tmp_path):
    """It outlives its build, which was killed, and whose selection is another one."""
    path = next(caches_folder.rglob("*-obs.joblib"))
    run_id, place = path.name.removesuffix("-obs.joblib"), tmp_path / "part.npz"
    wanted = caches.Selection(("x", "vx"), ("time",), 10, False)
    part = simulation_shards.make_shard(path, run_id, [path.name], place, wanted)
    assert simulation_shards.merge_shards([part]).num_snapshot == part.num_snapshot
    simulation_shards.make_shard(
        path, run_id, [path.name], place, dataclasses.replace(wanted, feature_keys=("x", "vy"))
    )
    with pytest.raises(shard.ShardError, match="changed by another process meanwhile: start again"):
        simulation_shards.merge_shards([part])


def test_a_data_set_that_another_process_finishes_meanwhile_is_not_overwritten(config, monkeypatch):
    check_free = build_state.check_writable

    def check_free_and_lose_the_race(out, is_raw_given):
        check_free(out, is_raw_given)
        monkeypatch.setattr(build_state, "check_writable", check_free)
        other = config.copy_and_resolve_references()
        other.min_stars = 50
        build.build_dataset(other)

    monkeypatch.setattr(build_state, "check_writable", check_free_and_lose_the_race)
    with pytest.raises(build.BuildError, match="changed by another process meanwhile: start again"):
        build.build_dataset(config)
    with pytest.raises(build.BuildError, match="other min_stars"):
        build.build_dataset(config)
