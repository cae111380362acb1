"""Run commands in processes of their own, one or several per run."""

import contextlib
import os
import socket
import subprocess
import sys
import time


def run_in_process(command, *arguments):
    """Run the command of a module of `starjax.commands` in this process."""
    command.main(command.parser().parse(arguments))


def command(dataset_folder, base, *more, program=("-m", "starjax.main")):
    """Return the command line of a small run, named `run` below `base`."""
    return [
        sys.executable,
        *program,
        "--config=deep_sets",
        f"--config.data.dataset={dataset_folder}",
        f"--config.output_base={base}",
        "--config.name=run",
        "--config.train.batch_size=32",
        *more,
    ]


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextlib.contextmanager
def at_work(lines, environments):
    """Start processes of these commands, with their output; none outlives the block."""
    processes = []
    try:
        for line, env in zip(lines, environments, strict=True):
            processes.append(
                subprocess.Popen(line, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            )
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@contextlib.contextmanager
def many_of(number, small, base, *more, program=("-m", "starjax.main"), num_device=2):
    """Start several processes of one run, or one process alone; none outlives the block.

    If `base` is a list, each process has its own, as if their machines did not share a folder.
    """
    address = f"127.0.0.1:{free_port()}"
    lines = []
    for i in range(number):
        others = (
            f"--coordinator_address={address}",
            f"--num_processes={number}",
            f"--process_id={i}",
        )
        own = base[i] if isinstance(base, list) else base
        lines.append(command(small, own, *more, *others[: 3 * (number > 1)], program=program))
    env = os.environ | {"JAX_NUM_CPU_DEVICES": str(num_device), "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    with at_work(lines, [env] * number) as processes:
        yield processes


def ended(processes, seconds=300):
    """Return the output and exit status of processes, once all have ended."""
    deadline = time.monotonic() + seconds
    printed = [process.communicate(timeout=deadline - time.monotonic())[0] for process in processes]
    return printed, [process.returncode for process in processes]


def wait_for(process, text):
    """Return the output of a process up to the first line that contains a text."""
    printed = []
    for line in process.stdout:
        printed.append(line)
        if text in line:
            break
    return "".join(printed)
