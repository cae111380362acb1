"""The diagrams of the documentation, as SVG: `python -m tools.diagrams` writes them to docs/images."""

import dataclasses
import html
import itertools
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "docs" / "images"
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
_COLOURS = {"data": "#e8eaf6", "network": "#c5cae9", "pool": "#ffe0b2", "result": "#c8e6c9"}


@dataclasses.dataclass(frozen=True)
class Box:
    """A labelled box; lines of its text are separated by a line break."""

    x: float
    y: float
    text: str
    kind: str = "data"
    width: float = 120
    height: float = 44

    def svg(self) -> str:
        """Return the box as SVG."""
        lines = self.text.split("\n")
        # Lines are 15 apart, and SVG places the baseline of a text, 4 below its middle.
        first = self.y + self.height / 2 - (len(lines) - 1) * 7.5 + 4
        middle = self.x + self.width / 2
        text = "".join(
            f'<text x="{middle}" y="{first + 15 * i}" text-anchor="middle">{html.escape(line)}</text>'
            for i, line in enumerate(lines)
        )
        return (
            f'<rect x="{self.x}" y="{self.y}" width="{self.width}" height="{self.height}" rx="6" '
            f'fill="{_COLOURS[self.kind]}" stroke="#5c6bc0"/>{text}'
        )


def arrow(start: Box, end: Box) -> str:
    """Return an arrow from the right side of a box to the left of another, or from its bottom to a top."""
    if end.x >= start.x + start.width:
        x1, y1 = start.x + start.width, start.y + start.height / 2
        x2, y2 = end.x - 2, end.y + end.height / 2  # short of the box, for the tip
        middle = (x1 + x2) / 2
        path = f"M{x1},{y1} C{middle},{y1} {middle},{y2} {x2},{y2}"
    else:
        x1, y1 = start.x + start.width / 2, start.y + start.height
        x2, y2 = end.x + end.width / 2, end.y - 2
        path = f"M{x1},{y1} L{x2},{y2}"
    return f'<path d="{path}" fill="none" stroke="#37474f" stroke-width="1.3" marker-end="url(#tip)"/>'


def picture(boxes: list[Box], arrows: list[tuple[Box, Box]]) -> str:
    """Return an SVG file of boxes and the arrows between them."""
    width = max(box.x + box.width for box in boxes) + 12
    height = max(box.y + box.height for box in boxes) + 12
    body = "\n".join([*(arrow(*pair) for pair in arrows), *(box.svg() for box in boxes)])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="{_FONT}" font-size="12.5" fill="#212121">\n'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="#37474f"/></marker></defs>\n'
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _chain(boxes: list[Box]) -> list[tuple[Box, Box]]:
    return list(itertools.pairwise(boxes))


def summary_stats() -> str:
    """Return the diagram of the summary statistics."""
    stars = Box(12, 12, "stars\nB × K × F", width=90, height=50)
    pool = Box(
        140, 12, "number of stars; mean, median, min,\nmax, std, quartiles of each feature", "pool", 250, 50
    )
    mlp = Box(428, 12, "MLP", "network", 70, 50)
    targets = Box(536, 12, "targets", "result", 90, 50)
    boxes = [stars, pool, mlp, targets]
    return picture(boxes, _chain(boxes))


def deep_sets() -> str:
    """Return the diagram of Deep Sets."""
    stars = [
        Box(12, 12 + 54 * i, text, width=80, height=40)
        for i, text in enumerate(("star 1", "star 2", "star n"))
    ]
    phis = [Box(130, star.y, "φ", "network", 60, 40) for star in stars]
    pool = Box(238, 58, "mean or sum over\nthe real stars", "pool", 140, 56)
    rho = Box(416, 58, "ρ", "network", 60, 56)
    targets = Box(514, 58, "targets", "result", 90, 56)
    arrows = [*zip(stars, phis, strict=True), *((phi, pool) for phi in phis), (pool, rho), (rho, targets)]
    return picture([*stars, *phis, pool, rho, targets], arrows)


def set_transformer() -> str:
    """Return the diagram of the Set Transformer."""
    stars = Box(12, 12, "stars\nB × K × F", width=90, height=66)
    block = Box(
        138, 12, "self-attention block\n× num_sabs: each star\nattends to all real stars", "network", 180, 66
    )
    pool = Box(354, 12, "learned seeds\nattend to the stars", "pool", 150, 66)
    mlp = Box(540, 12, "MLP", "network", 70, 66)
    targets = Box(646, 12, "targets", "result", 90, 66)
    boxes = [stars, block, pool, mlp, targets]
    return picture(boxes, _chain(boxes))


def soft_groups() -> str:
    """Return the diagram of soft groups."""
    star = Box(12, 76, "star", width=60, height=44)
    gate = Box(106, 76, "gate\nnetwork", "network", 80, 44)
    groups = Box(226, 12, "shares and moments of groups,\nquantiles, means", "pool", 220, 50)
    sums = Box(226, 134, "logarithms of sums over stars\nand of their number", "pool", 220, 50)
    mlp = Box(486, 12, "MLP", "network", 80, 50)
    linear = Box(486, 134, "linear", "network", 80, 50)
    added = Box(606, 76, "+", "pool", 40, 44)
    targets = Box(684, 76, "targets", "result", 90, 44)
    arrows = [(star, gate), (gate, groups), (gate, sums), (groups, mlp), (sums, linear)]
    arrows += [(mlp, added), (linear, added), (added, targets)]
    return picture([star, gate, groups, sums, mlp, linear, added, targets], arrows)


def data_flow() -> str:
    """Return the diagram of the flow from caches and catalogues to predictions."""
    caches = Box(12, 12, "simulation\ncaches", width=100, height=48)
    shards = Box(150, 12, "shards and\nscalers", width=100, height=48)
    sampler = Box(288, 12, "sampler on\nthe device", "network", 100, 48)
    model = Box(426, 12, "model and\ntraining", "network", 100, 48)
    run = Box(564, 12, "run\ndirectory", "result", 100, 48)
    catalogue = Box(12, 112, "member\ncatalogue", width=100, height=48)
    features = Box(150, 112, "the same features\nand scalers", "network", 238, 48)
    predict = Box(426, 112, "predict\nor export", "network", 100, 48)
    prediction = Box(564, 112, "posterior,\nscore, flags", "result", 100, 48)
    top, bottom = [caches, shards, sampler, model, run], [catalogue, features, predict, prediction]
    return picture([*top, *bottom], [*_chain(top), *_chain(bottom), (run, predict)])


DIAGRAMS = {
    "summary-stats": summary_stats,
    "deep-sets": deep_sets,
    "set-transformer": set_transformer,
    "soft-groups": soft_groups,
    "data-flow": data_flow,
}


def main() -> None:
    """Write all diagrams."""
    for name, diagram in DIAGRAMS.items():
        (FOLDER / f"{name}.svg").write_text(diagram())


if __name__ == "__main__":
    main()
