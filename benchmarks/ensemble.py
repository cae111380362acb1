"""Many members at once against one: the time of an epoch.

python -m benchmarks.ensemble --size 1 8 32 --out=ensemble.json
"""

import statistics

from benchmarks import cases, report
from benchmarks import training as training_lib
from starjax import distributed


def main() -> None:
    parser = report.parser(__doc__)
    parser.add_argument("--case", nargs="+", default=list(cases.CASES)[:3], choices=cases.CASES)
    parser.add_argument("--size", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--num_run", type=int, default=5)
    options = parser.parse_args()
    distributed.use_cores(512)
    rows = []
    for case in options.case:
        trainings = {}
        for size in options.size:
            config = cases.config(case)
            config.ensemble.size = size
            trainings[size] = training_lib.set_up(config)
        found = {size: [] for size in options.size}
        for run in range(
            options.num_run + 1
        ):  # in turns, so that a change of the machine's speed meets all of them
            for size, training in trainings.items():
                [seconds] = report.seconds(lambda t=training, r=run: t.epoch(r), num_run=1)
                found[size].append(seconds)
        one = statistics.median(found[options.size[0]][1:])
        for size, seconds in found.items():
            median = statistics.median(seconds[1:])
            num_sample = trainings[size].trainer.num_step * 512 * size
            rows.append(
                {
                    "model": case,
                    "members": size,
                    "epoch_s": median,
                    "times_one": median / one,
                    "samples_per_s": num_sample / median,
                    "mesh": " x ".join(map(str, trainings[size].trainer.mesh.devices.shape)),
                }
            )
    report.show("ensembles: seconds an epoch of all members", rows, options.out)


if __name__ == "__main__":
    main()
