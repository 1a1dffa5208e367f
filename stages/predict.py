"""A plain command: predict the masks of new images. `python -m stages.predict FOLDER MASKS`.

The masks are PNG files of the size of the images and of their names, 255 where the network finds what it was taught to.
"""

import argparse
from pathlib import Path

import numpy as np

from stages.entry import run, whole
from stages.errors import UserError
from stages.new_images import Mapper, find_images
from stages.progress import Progress

THRESHOLD = 0.5  # as in evaluation


def main(words: list[str] | None = None) -> None:
    """Write a mask for each image of a folder into a folder that is not there yet."""
    parser = argparse.ArgumentParser(prog="predict", description="Predict the masks of new images.")
    parser.add_argument("folder", type=Path, help="images, in it and below it")
    parser.add_argument("masks", type=Path, help="where to; must not be there yet")
    options = parser.parse_args(words)
    if options.masks.exists():
        raise UserError(f"{options.masks}: is there already; name a folder that is to be made")
    from PIL import Image

    mapper = Mapper()
    paths = find_images(options.folder, mapper.layout.image_shape[2])
    targets = [Path(path).with_suffix(".png") for path in paths]
    if len(set(targets)) < len(targets):
        twice = next(target for target in targets if targets.count(target) > 1)
        raise UserError(f"{options.folder / twice}: two images would have this mask; rename one of them")
    with whole(options.masks) as (masks,), Progress("predict", len(paths), "image") as progress:
        for done, (mapped, target) in enumerate(zip(mapper.map(options.folder, paths), targets, strict=True), 1):
            (masks / target).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((mapped.probabilities > THRESHOLD) * np.uint8(255)).save(masks / target)
            progress.show(done)


if __name__ == "__main__":
    run("predict", main)
