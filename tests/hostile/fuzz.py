"""Coverage-guided fuzzing of the readers; see tests/README.md.

    pip install atheris
    python tests/hostile/fuzz.py KIND [seconds]

KIND is one of `readers.KINDS` (list.fits, r-obs.joblib, …), or `program` or `respelt` for pickles (see
`changes`). A finding stops it with a traceback and leaves a file `crash-…`, which can be given instead of the
seconds to repeat it.
"""

import collections
import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[2]))
with atheris.instrument_imports(include=["starjax", "joblib"]):
    from tests.hostile import changes, readers

PICKLES = {"program": changes.program, "respelt": changes.respelt}


def main() -> None:
    kind, given = sys.argv[1], (*sys.argv[2:], "60")[0]
    folder = Path(tempfile.mkdtemp(prefix="starjax-fuzz-"))
    counts = collections.Counter()

    def one_input(data: bytes) -> None:
        choices = changes.Choices(data)
        if kind in PICKLES:
            name, content = "any.joblib", PICKLES[kind](choices)
        elif data[:1] < b"\xc0":
            name, content = kind, changes.mutated(kind, choices)
        else:
            name, content = kind, data[1:]
        counts[readers.feed(name, content, folder)] += 1
        if counts.total() % 1000 == 0:
            print(f"{kind}: {counts.total()} inputs, {counts[True]} accepted", flush=True)

    limit = [f"-max_total_time={given}"] if given.isdecimal() else [given]
    atheris.Setup(
        [sys.argv[0], *limit, "-timeout=20", "-rss_limit_mb=4096", "-max_len=512", "-len_control=0"],
        one_input,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
