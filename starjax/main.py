"""Train and test a model: `python -m starjax.main` is `starjax train`."""

import sys

from starjax.commands import cli, train

if __name__ == "__main__":
    cli.run(train, sys.argv[1:])
