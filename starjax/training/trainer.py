"""Model, optimizer and training steps of a run, put together and compiled for its devices and stars."""

import dataclasses
import functools
import types
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from starjax.datasets.dataset import Dataset
from starjax.models import factory
from starjax.models.ensemble import EnsembleMembers, map_members
from starjax.runs import best_params, run_config
from starjax.runtime import devices, memory
from starjax.sampling import augmentation, device_placement
from starjax.sampling.sampler import Stars
from starjax.training import step
from starjax.training.optimizer import average, create_optimizer, schedule_shape

# No parameters to start from (see `create_trainer`).
RANDOM: Mapping[str, np.ndarray] = types.MappingProxyType({})


@dataclasses.dataclass(frozen=True)
class Trainer:
    """Everything that is compiled or placed for the training of a run, of one ensemble member or many.

    Attributes:
      members: the ensemble members.
      mesh: the devices.
      initial_state: `{'params', 'opt_state'}`, with members along the first axis of each array.
      num_step: steps of an epoch.
      micro_batch_size: samples that a device sends through each of its members at a time.
      train_steps: `(state, members, stars, epoch, first_step, num_step) -> (state, sums)`, compiled (see
        `step.train_steps`); numbers are int32.
      average: `(state) -> params`: the averaged parameters of the members, which are validated, tested and
        used for predictions.
      learning_rate: `(step) -> float64 (E,)`.
    """

    members: EnsembleMembers
    mesh: jax.sharding.Mesh
    initial_state: dict
    num_step: int
    micro_batch_size: int
    train_steps: Callable
    average: Callable[[dict], dict]
    learning_rate: Callable[[int], np.ndarray]


class StepArguments(NamedTuple):
    """Arguments of `Trainer.train_steps`: arrays, or their shapes and shardings."""

    state: dict
    members: dict
    stars: Stars
    epoch: jax.ShapeDtypeStruct
    first_step: jax.ShapeDtypeStruct
    num_step: jax.ShapeDtypeStruct


@dataclasses.dataclass(frozen=True)
class Steps:
    """The training steps of a run, not compiled yet.

    Attributes:
      jitted: `(micro_batch_size) -> function`, jitted for the devices.
      arguments: the initial state and the members, and shapes of all other arguments.
      max_micro_batch_size: a device's share of a batch.
    """

    jitted: Callable[[int], jax.stages.Wrapped]
    arguments: StepArguments
    max_micro_batch_size: int

    def compiled(self, micro_batch_size: int) -> jax.stages.Compiled:
        """Compile the steps."""
        return self.jitted(micro_batch_size).lower(*self.arguments).compile()


def create_trainer(
    config: ConfigDict,
    data: Dataset,
    source: device_placement.Source,
    max_micro_batch_size: int | None = None,
    initial_params: Mapping[str, np.ndarray] = RANDOM,
) -> Trainer:
    """Initialize models and optimizer for the training samples of `source`, and compile the steps.

    Args:
      max_micro_batch_size: upper limit for `config.train.micro_batch_size='auto'`; None: none.
      initial_params: parameters that members start from, by name and members first (see
        `best_params.flatten`); all others are random.
    """
    steps = make_steps(config, data, source, initial_params)
    micro_batch_size, train_steps = _compile(config, source.mesh, steps, max_micro_batch_size)
    members, schedule = run_config.members(config), _schedule(config, source.num_step)
    # For the log: the optimizer computes its own rates on the devices.
    peak_E = np.array(members.each("learning_rate", config.optim.learning_rate))
    return Trainer(
        members=members,
        mesh=source.mesh,
        initial_state=steps.arguments.state,
        num_step=source.num_step,
        micro_batch_size=micro_batch_size,
        train_steps=train_steps,
        average=jax.jit(functools.partial(_average, decay=config.optim.average_decay)),
        learning_rate=lambda number: peak_E * float(schedule(number)),
    )


def make_steps(
    config: ConfigDict,
    data: Dataset,
    source: device_placement.Source,
    initial_params: Mapping[str, np.ndarray] = RANDOM,
) -> Steps:
    """Return the training steps of a run for the training samples of `source` (see `create_trainer`)."""
    model, members, mesh = run_config.model(config), run_config.members(config), source.mesh
    spec = _step_spec(config, data, source)
    is_superlinear = factory.model_class(config.model.name).IS_SUPERLINEAR
    is_observed = spec.sampler.observed is not None
    lengths = step.padded_lengths(config.data.num_star_per_sample, is_superlinear, is_observed)
    num_local = config.train.batch_size // devices.num_share(mesh)

    def jitted(micro_batch_size: int) -> jax.stages.Wrapped:
        # One micro-batch alone contains the largest sample: shorter lengths would never be used.
        padded_lengths = lengths if micro_batch_size < num_local else None
        own_spec = dataclasses.replace(spec, micro_batch_size=micro_batch_size, padded_lengths=padded_lengths)
        stars = "shares" if source.is_sharded else "same"
        return devices.on_mesh(
            functools.partial(step.train_steps, own_spec),
            mesh,
            arguments=("members", "members", stars, "same", "same", "same"),
            donate_argnums=0,  # the new state takes the memory of the old one
        )

    optimizer = spec.create_optimizer(spec.hparams)
    initial_state = _initial_state(model.new, optimizer, members.seeds, initial_params)
    state, member_arrays = devices.shard_members((initial_state, members.arrays()), mesh)
    number = jax.ShapeDtypeStruct((), np.int32)
    return Steps(jitted, StepArguments(state, member_arrays, source.like, number, number, number), num_local)


def abstract_arrays(config: ConfigDict, mesh: jax.sharding.Mesh) -> dict:
    """Return shapes and shardings of the arrays in the checkpoints of a run (see `loop.TrainState`)."""
    # The schedule does not change the shapes of the optimizer's state.
    optimizer = _optimizer_of_hparams(config, num_step_per_epoch=1)(_shared_hparams(config))
    seeds = run_config.members(config).seeds
    state = jax.eval_shape(lambda: _initial_state(run_config.model(config).new, optimizer, seeds))
    sharding = devices.member_sharding(mesh)
    arrays = {"state": state, "best": state["params"]}
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), arrays)


def _step_spec(config: ConfigDict, data: Dataset, source: device_placement.Source) -> step.StepSpec:
    model, rotate = run_config.model(config), None
    if config.data.random_rotations:
        rotate = augmentation.random_rotation(config.data.feature_keys, data.feature_scalers)
    return step.StepSpec(
        apply=model.apply,
        head=model.head,
        create_optimizer=_optimizer_of_hparams(config, source.num_step),
        sampler=run_config.sampler(config, data.feature_scalers),
        batch_size=config.train.batch_size,
        hparams=_shared_hparams(config),
        rotate=rotate,
        is_sharded=source.is_sharded,
    )


def _schedule(config: ConfigDict, num_step_per_epoch: int) -> optax.Schedule:
    return schedule_shape(
        config.train.max_epochs * num_step_per_epoch, config.optim.warmup_epochs * num_step_per_epoch
    )


def _optimizer_of_hparams(config: ConfigDict, num_step_per_epoch: int) -> Callable:
    """Return `(hparams) -> optimizer`."""
    schedule = _schedule(config, num_step_per_epoch)
    return lambda hparams: create_optimizer(
        config.optim.name,
        hparams["learning_rate"],
        schedule,
        hparams["weight_decay"],
        config.optim.clip_norm,
        config.optim.average_decay,
    )


def _shared_hparams(config: ConfigDict) -> dict:
    """Return the hyperparameters of members that have none of their own."""
    return {
        "learning_rate": config.optim.learning_rate,
        "weight_decay": config.optim.weight_decay,
        "huber_delta": config.optim.huber_delta,
        "dropout": None,  # that of the model
    }


def _initial_state(
    new_model: Callable,
    optimizer: optax.GradientTransformation,
    seeds: Sequence[int],
    initial_params: Mapping[str, np.ndarray] = RANDOM,
):
    """Return the state of all members before the first step."""

    def of_member(key, given):
        params, _ = factory.split_module(new_model(key))
        params = best_params.replace(params, given)
        return {"params": params, "opt_state": optimizer.init(params)}

    # One after another, so that a member starts from the same bits whatever members there are beside it.
    of_members = jax.jit(lambda *arguments: jax.lax.map(lambda one: of_member(*one), arguments))
    # The other half of a seed's key draws the samples of the member (see `EnsembleMembers.arrays`).
    keys = jnp.stack([jax.random.split(jax.random.key(seed))[0] for seed in seeds])
    return of_members(keys, dict(initial_params))


def _compile(config: ConfigDict, mesh: jax.sharding.Mesh, steps: Steps, limit: int | None):
    """Return the micro-batch size, at most `limit` if it is chosen here, and the steps compiled for it."""
    if config.train.micro_batch_size == "auto":
        return memory.largest_micro_batch(steps.compiled, steps.max_micro_batch_size, mesh, limit)
    micro_batch_size = min(int(config.train.micro_batch_size), steps.max_micro_batch_size)
    return micro_batch_size, steps.compiled(micro_batch_size)


def _average(state: dict, decay: float) -> dict:
    return map_members(lambda member: average(member["opt_state"], decay, member["params"]), state)
