"""What the server of `killing` imports once."""

import starjax.data.build
import starjax.grid
import starjax.main  # noqa: F401
