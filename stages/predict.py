"""A plain command: predict the masks of new images. `python -m stages.predict FOLDER MASKS`.

The masks are PNG files of the size of the images and of their names, 255 in the predicted mask. Masks of classes have a
palette: the number of a colour is the value of its class in the files that the network was trained on, or its place
where these are not different ones from 0 to 254; ``classes.csv`` names them.
"""

import argparse
from pathlib import Path

import numpy as np

from stages.drawing.palettes import save_mask, write_legend
from stages.learning.new_images import Mapper, find_images, read_arguments
from stages.pipeline.entry import run
from stages.pipeline.errors import UserError
from stages.pipeline.files import atomic
from stages.pipeline.progress import Progress
from stages.pipeline.workers import itself, workers


def main(words: list[str] | None = None) -> None:
    """Write a mask for each image of a folder into a folder that is not there yet."""
    parser = argparse.ArgumentParser(prog="predict", description="Predict the masks of new images.")
    folder, made, _ = read_arguments(parser, "masks", words)
    mapper = Mapper()
    paths = find_images(folder, mapper)
    targets = [Path(path).with_suffix(".png") for path in paths]
    if len(set(targets)) < len(targets):
        twice = next(target for target in targets if targets.count(target) > 1)
        raise UserError(f"{folder / twice}: two images would have this mask; rename one of them")
    with (
        atomic(made) as (masks,),
        workers(None, itself, mapper) as mapping,
        Progress("predict", len(paths), "image") as progress,
    ):
        found = mapping.map(_mask, ((folder, path) for path in paths))
        for done, (mask, target) in enumerate(zip(found, targets, strict=True), 1):
            (masks / target).parent.mkdir(parents=True, exist_ok=True)
            save_mask(mask, masks / target, mapper.classes)
            progress.show(done)
        if mapper.classes:
            write_legend(masks, mapper.classes)


def _mask(mapper: Mapper, image: tuple[Path, str]) -> np.ndarray:
    return mapper.map(*image).mask


if __name__ == "__main__":
    run("predict", main)
