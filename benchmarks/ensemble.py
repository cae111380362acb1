"""Measure the time of an epoch of many ensemble members, relative to one.

python -m benchmarks.ensemble --size 8 32 --out=ensemble.json
"""

import statistics

from benchmarks import cases, report
from benchmarks import training as training_lib
from starjax.runtime import devices


def main() -> None:
    parser = report.parser(__doc__)
    parser.add_argument("--case", nargs="+", default=list(cases.CASES)[:3], choices=cases.CASES)
    parser.add_argument("--size", type=int, nargs="+", default=[8, 32], help="numbers of members, beside one")
    parser.add_argument("--num_run", type=int, default=5)
    options = parser.parse_args()
    devices.use_cores(512)
    rows = []
    for case in options.case:
        trainings = {}
        for size in sorted({1, *options.size}):
            config = cases.config(case)
            config.ensemble.size = size
            trainings[size] = training_lib.set_up(config)
        found = {size: [] for size in trainings}
        # In turns, so that changes of the speed of the machine affect all of them.
        for run in range(options.num_run + 1):
            for size, training in trainings.items():
                [seconds] = report.seconds(lambda t=training, r=run: t.epoch(r), num_run=1)
                found[size].append(seconds)
        one = statistics.median(found[1][1:])
        num_sample = (
            trainings[1].setup.data.shards["train"].num_snapshot * config.data.num_sample_per_snapshot
        )
        for size, seconds in found.items():
            median = statistics.median(seconds[1:])
            rows.append(
                {
                    "model": case,
                    "members": size,
                    "epoch_s": median,
                    "times_one": median / one,
                    "samples_per_s": size * num_sample / median,
                    "mesh": " x ".join(map(str, trainings[size].trainer.mesh.devices.shape)),
                }
            )
    report.show("ensembles: time of an epoch of all members", rows, options.out)


if __name__ == "__main__":
    main()
