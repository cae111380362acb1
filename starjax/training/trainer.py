"""Models, optimizer and steps, put together and compiled for the devices and the stars of a run."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from starjax import models
from starjax.datasets.dataset import Dataset
from starjax.models.ensemble import EnsembleMembers, map_members
from starjax.models.factory import split_module
from starjax.runs import run_config
from starjax.runtime import devices, memory
from starjax.sampling import augmentation, device_placement
from starjax.training import optimizer, step


@dataclasses.dataclass(frozen=True)
class Trainer:
    """Everything compiled or placed for one run, of one member or many.

    Attributes:
      members: which models are trained.
      mesh: the devices.
      initial_state: `{'params', 'opt_state'}`, members first.
      num_step: steps of an epoch.
      micro_batch_size: samples that a device sends through each of its members at a time.
      train_steps: `(state, members, stars, epoch, first_step, num_step) -> (state, sums)`, compiled (see
        `step.make_train_steps`); numbers are int32.
      average: `(state) -> params`: the averages of the members' parameters, which are what is validated,
        tested and predicted with.
      learning_rate: `(step) -> float64 (E,)`, of each member.
    """

    members: EnsembleMembers
    mesh: jax.sharding.Mesh
    initial_state: dict
    num_step: int
    micro_batch_size: int
    train_steps: Callable
    average: Callable[[dict], dict]
    learning_rate: Callable[[int], np.ndarray]


def abstract_arrays(config: ConfigDict, mesh: jax.sharding.Mesh) -> dict:
    """Shapes of what the checkpoints of a run hold (see `train.fit`), as it lies on the devices."""
    optimizer = _optimizer_of(config, num_step_per_epoch=1)(_hparams(config))
    seeds = run_config.members(config).seeds
    shapes = jax.eval_shape(lambda: _initial_states(run_config.model(config).new, optimizer, seeds))
    sharding = devices.member_sharding(mesh)
    arrays = {"state": shapes, "best": shapes["params"]}
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), arrays)


def create_trainer(
    config: ConfigDict, data: Dataset, source: device_placement.Source, most: int | None = None
) -> Trainer:
    """Initializes models and optimizer for the training samples of `source`, and compiles the steps.

    Args:
      most: samples at most that a device takes at a time where the config leaves it open ('auto').
    """
    members = run_config.members(config)
    steps_of, like = make_steps(config, data, source)
    micro_batch_size, train_steps = _compile(config, source.mesh, steps_of, like, most)
    schedule = _schedule(config, source.num_step)
    peak = np.array(members.each("learning_rate", config.optim.learning_rate))
    return Trainer(
        members,
        source.mesh,
        like[0],
        source.num_step,
        micro_batch_size,
        train_steps,
        jax.jit(functools.partial(_averaged, decay=config.optim.average_decay)),
        lambda number: peak * float(schedule(number)),
    )


def _schedule(config: ConfigDict, num_step_per_epoch: int) -> optax.Schedule:
    epochs = (config.train.max_epochs, config.optim.warmup_epochs)
    return optimizer.schedule_shape(*(num * num_step_per_epoch for num in epochs))


def _optimizer_of(config: ConfigDict, num_step_per_epoch: int) -> Callable:
    """The optimizer with the hyperparameters of a member."""
    schedule = _schedule(config, num_step_per_epoch)

    def optimizer_of(hparams):
        return optimizer.create_optimizer(
            hparams["learning_rate"],
            schedule,
            hparams["weight_decay"],
            config.optim.clip_norm,
            config.optim.average_decay,
        )

    return optimizer_of


def _hparams(config: ConfigDict) -> dict:
    """What all members share, where they have no values of their own."""
    return {
        "learning_rate": config.optim.learning_rate,
        "weight_decay": config.optim.weight_decay,
        "huber_delta": config.optim.huber_delta,
        "dropout": None,  # the model's own
    }


def _initial_states(new_model: Callable, optimizer: optax.GradientTransformation, seeds: Sequence[int]):
    def initial_state(key):
        params, _ = split_module(new_model(key))
        return {"params": params, "opt_state": optimizer.init(params)}

    @jax.jit
    def of_members(keys):
        # One after another, so that a member begins with the same bits whatever there is beside it.
        return jax.lax.map(initial_state, keys)

    return of_members(jnp.stack([jax.random.split(jax.random.key(seed))[0] for seed in seeds]))


def make_steps(config: ConfigDict, data: Dataset, source: device_placement.Source) -> tuple[Callable, tuple]:
    """The training steps of a run, jitted for its devices and not compiled yet.

    Returns:
      `(micro_batch_size) -> train_steps`, and what they are called with (see `Trainer`): the first states, members,
      and of the rest shapes and where it lies.
    """
    mesh, rotate, made = source.mesh, None, run_config.model(config)
    optimizer_of = _optimizer_of(config, source.num_step)
    if config.data.random_rotations:
        rotate = augmentation.random_rotation(config.data.feature_keys, data.feature_scalers)
    is_superlinear = models.model_class(config.model.name).IS_SUPERLINEAR
    steps_of = functools.partial(
        step.make_train_steps,
        made.apply,
        made.head,
        optimizer_of,
        run_config.sampler(config, data.feature_scalers),
        config.train.batch_size,
        _hparams(config),
        rotate,
        is_sharded=source.is_sharded,
    )
    slots = step.slot_choices(config.data.num_star_per_sample, is_superlinear)
    num_local = config.train.batch_size // devices.num_share(mesh)
    arguments = ("members", "members", "shares" if source.is_sharded else "same", "same", "same", "same")

    def jitted(micro_batch_size: int):
        # A single micro-batch has the largest sample in it.
        own_slots = slots if micro_batch_size < num_local else None
        function = steps_of(micro_batch_size=micro_batch_size, slots=own_slots)
        return devices.on_mesh(function, mesh, arguments=arguments, donate_argnums=0)

    members = run_config.members(config)
    state = _initial_states(made.new, optimizer_of(_hparams(config)), members.seeds)
    own = devices.shard_members((state, members.arrays()), mesh)
    return jitted, (*own, source.like, *[jax.ShapeDtypeStruct((), np.int32)] * 3)


def _compile(config: ConfigDict, mesh, steps_of: Callable, like: tuple, most: int | None):
    """The micro-batch size, and the steps compiled for it."""
    num_local = config.train.batch_size // devices.num_share(mesh)

    def compiled_with(micro_batch_size: int):
        return steps_of(micro_batch_size).lower(*like).compile()

    if config.train.micro_batch_size == "auto":
        return memory.largest_micro_batch(compiled_with, num_local, mesh, most)
    micro_batch_size = min(int(config.train.micro_batch_size), num_local)
    return micro_batch_size, compiled_with(micro_batch_size)


def _averaged(state: dict, decay: float) -> dict:
    def of_member(member):
        return optimizer.average(member["opt_state"], decay, member["params"])

    return map_members(of_member, state)
