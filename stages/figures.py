"""Plot data that the stages write for ``dvc plots``, and pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

BINS = np.round(np.arange(0, 1.2, 0.1), 1)  # the steps of the tiered IoU; scores of other kinds fall between


def distribution(scores: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    """Shares of pairs by score.

    Parameters
    ----------
    scores : mapping of str to ndarray, shape (n,)
        Scores of each kind of pairs; in [0, 1.1].

    Returns
    -------
    dict of str to list of float
        Columns of a table: score, the lower ends of steps of .1, and the shares of each kind.
    """
    columns: dict[str, list[float]] = {"score": BINS.tolist()}
    for name, values in scores.items():
        # A hair is added since .3 from a sum of floats may lie below the .3 of a step.
        steps = np.clip(np.floor(values * 10 + 1e-9).astype(int), 0, len(BINS) - 1)
        columns[name] = (np.bincount(steps, minlength=len(BINS)) / max(1, len(values))).tolist()
    return columns


def heat_map(path: Path, cells: Mapping[tuple[str, str], float], title: str) -> None:
    """Draw a table of numbers, each cell in a colour for its value.

    Parameters
    ----------
    path : Path
        The picture, a PNG file.
    cells : mapping of (str, str) to float
        Values by the names of row and column; cells that are missing stay blank.
    title : str
        What the values are.
    """
    from matplotlib.figure import Figure  # takes a second to load, which stages that draw nothing need not wait for

    rows, columns = (list(dict.fromkeys(names)) for names in zip(*cells, strict=True))
    values = np.full((len(rows), len(columns)), np.nan)
    for (row, column), value in cells.items():
        values[rows.index(row), columns.index(column)] = value
    figure = Figure(figsize=(2.5 + 1.1 * len(columns), 2 + 0.4 * len(rows)), layout="constrained")
    axes = figure.add_subplot(title=title)
    axes.imshow(values, cmap="cividis", aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=30, ha="right")
    axes.set_yticks(range(len(rows)), rows)
    for (row_number, column_number), value in np.ndenumerate(values):
        if np.isfinite(value):
            dark = value < (np.nanmin(values) + np.nanmax(values)) / 2
            axes.text(
                column_number, row_number, f"{value:.2g}", ha="center", va="center", color="white" if dark else "black"
            )
    figure.savefig(path, dpi=100, metadata={"Software": None})


def predictions(path: Path, images: Sequence[tuple[np.ndarray, np.ndarray]], titles: Sequence[str]) -> None:
    """Draw images and beside each what a network says of it.

    Parameters
    ----------
    path : Path
        The picture, a PNG file.
    images : sequence of (ndarray, ndarray)
        Images, uint8 or float32 of shape (h, w, c), and probabilities of shape (h, w), drawn from dark, 0, to light, 1.
    titles : sequence of str
        One for each.
    """
    from matplotlib.figure import Figure

    across = min(4, len(images))
    down = -(-len(images) // across)
    figure = Figure(figsize=(3.2 * across, 1.9 * down), layout="constrained")
    cells = figure.subplots(down, across, squeeze=False).ravel()
    for axes in cells:
        axes.set_axis_off()
    for axes, (image, probabilities), title in zip(cells, images, titles, strict=False):
        left, right = axes.inset_axes((0, 0, 0.49, 1)), axes.inset_axes((0.51, 0, 0.49, 1))
        left.imshow(image[:, :, 0] if image.shape[2] == 1 else image, cmap="gray", vmin=0)
        right.imshow(probabilities, cmap="cividis", vmin=0, vmax=1)
        for each in (left, right):
            each.set_axis_off()
        axes.set_title(title if len(title) <= 32 else f"…{title[-31:]}", fontsize=7)
    figure.savefig(path, dpi=100, metadata={"Software": None})
