"""What the server of `killing` imports once."""

import starjax.nbody6.build
import starjax.training.grid  # noqa: F401
