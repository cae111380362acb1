"""The configs of `configs/` in a clone. A wheel holds those files in this folder instead."""

from pathlib import Path

__path__ = [str(Path(__file__).parents[2] / "configs")]
