"""Commands in processes of their own, one or two of one run."""

import os
import socket
import subprocess
import sys
import time


def command(dataset_folder, base, *more, program=("-m", "starjax.main")):
    """A small run of its own process, named `run` below `base`."""
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


def pair_of(small, base, *more, program=("-m", "starjax.main")):
    """Two processes of one run, started, with two devices each."""
    port = free_port()
    return [
        subprocess.Popen(
            command(
                small,
                base,
                *more,
                f"--coordinator_address=127.0.0.1:{port}",
                "--num_processes=2",
                f"--process_id={i}",
                program=program,
            ),
            env=os.environ | {"JAX_NUM_CPU_DEVICES": "2"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(2)
    ]


def ended(pair, seconds=300):
    """What two processes print, and their statuses, once both have ended."""
    deadline = time.monotonic() + seconds
    printed = [process.communicate(timeout=deadline - time.monotonic())[0] for process in pair]
    return printed, [process.returncode for process in pair]


def wait_for(process, text):
    """What a process prints up to a line that holds a text."""
    printed = []
    for line in process.stdout:
        printed.append(line)
        if text in line:
            break
    return "".join(printed)
