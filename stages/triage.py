"""A plain command: which new images to label next. `python -m stages.triage FOLDER RANKING [--format …]`.

Images without masks are ranked by how well the core's network expects to do on them, judged by its own probabilities:
the worst first, since it learns most from these. RANKING gets ``ranking.csv`` and a picture of the first twenty; with
the format of a labelling tool also its file, with the predicted masks to start from.
"""

import argparse
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from stages.drawing import pictures
from stages.labelling.formats import FORMATS
from stages.labelling.items import Export, Item, labels_of
from stages.learning.new_images import Mapper, find_images, read_arguments
from stages.learning.scores import tier
from stages.pairs.tables import write_csv
from stages.pipeline.entry import run
from stages.pipeline.files import atomic
from stages.pipeline.progress import Progress
from stages.pipeline.workers import itself, workers

SHOWN = 20
HEADER = ["file", "expected_tiered_iou", "expected_iou", "mean_probability"]
RANKING = "ranking"
Line = tuple[str, float, float, float]
Mask = tuple[tuple[int, ...], bytes]  # shape, and compressed pixels


def main(words: list[str] | None = None) -> None:
    """Write the ranking into a folder that is not there yet."""
    parser = argparse.ArgumentParser(prog="triage", description="Rank new images by how badly a label is needed.")
    parser.add_argument(
        "--format", choices=[RANKING, *FORMATS], default=RANKING, help="also write the file of a labelling tool"
    )
    folder, made, arguments = read_arguments(parser, "ranking", words)
    tool = arguments.format
    mapper = Mapper()
    paths = find_images(folder, mapper)
    lines: list[Line] = []
    # Masks are wanted in an order that is known once all are predicted, and shrink a hundredfold until then.
    masks: dict[str, Mask] = {}
    with atomic(made) as (ranking,):
        with workers(None, itself, mapper) as mapping, Progress("triage", len(paths), "image") as progress:
            for line, mask in mapping.map(_rank, ((folder, path, tool != RANKING) for path in paths)):
                lines.append(line)
                if mask:
                    masks[line[0]] = mask
                progress.show(len(lines))
        lines.sort(key=lambda line: line[2])
        ranking.mkdir()
        write_csv(ranking / "ranking.csv", HEADER, lines)
        if tool != RANKING:
            export = Export(labels_of(mapper.classes), folder.resolve().name, predicted=True)
            FORMATS[tool](ranking, _items(lines, masks), export)
        worst = (mapper.map(folder, line[0]) for line in lines[:SHOWN])
        titles = [f"{path}: {overlap:.2f}" for path, _, overlap, _ in lines[:SHOWN]]
        shown = [(each.image, each.mask[:, :, None] if mapper.classes else each.probabilities) for each in worst]
        pictures.draw_masks(ranking / "worst.png", shown, titles, mapper.classes)
    print(f"triage: {len(lines)} images in {made / 'ranking.csv'}, the first to label is {lines[0][0]}")


def _rank(mapper: Mapper, image: tuple[Path, str, bool]) -> tuple[Line, Mask | None]:
    """The line of an image, and its mask if that is wanted."""
    from stages.learning.measures import expected_ious  # imports TensorFlow: bad input need not wait for that

    folder, path, with_mask = image
    mapped = mapper.map(folder, path)
    found = expected_ious(mapped.probabilities[None]).numpy()
    found = found[np.isfinite(found)]
    line = path, float(tier(found).mean()), float(found.mean()), float(foreground(mapped.probabilities).mean())
    return line, (mapped.mask.shape, zlib.compress(mapped.mask.tobytes())) if with_mask else None


def _items(lines: Sequence[Line], masks: Mapping[str, Mask]) -> Iterator[Item]:
    """The ranked images, the first to label first; by expected IoU, since tools allow scores from 0 to 1 alone."""
    for rank, (path, score, expected, mean) in enumerate(lines, 1):
        shape, compressed = masks[path]
        mask = np.frombuffer(zlib.decompress(compressed), np.uint8).reshape(shape)
        yield Item(path, mask, expected, {"rank": rank, "expected_tiered_iou": score, "mean_probability": mean})


def foreground(probabilities: np.ndarray) -> np.ndarray:
    """Probability of each pixel not to be background; from (h, w, 1 or classes) to (h, w)."""
    return probabilities[:, :, 0] if probabilities.shape[2] == 1 else 1 - probabilities[:, :, 0]


if __name__ == "__main__":
    run("triage", main)
