"""A plain command: predict the masks of new images. `python -m stages.predict FOLDER MASKS`.

The masks are PNG files of the size of the images and of their names, 255 in the predicted mask. Masks of classes have a
palette: the number of a colour is the value of its class in the files that the network was trained on, or its place
where these are not different ones from 0 to 255; ``classes.csv`` names them.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stages.learning.new_images import Mapper, find_images, read_arguments
from stages.pairs.layout import PixelClass
from stages.pairs.tables import write_csv
from stages.pipeline.entry import run
from stages.pipeline.errors import UserError
from stages.pipeline.files import atomic
from stages.pipeline.progress import Progress


def main(words: list[str] | None = None) -> None:
    """Write a mask for each image of a folder into a folder that is not there yet."""
    folder, made = read_arguments("predict", "Predict the masks of new images.", "masks", words)
    mapper = Mapper()
    paths = find_images(folder, mapper.layout.image_shape[2])
    targets = [Path(path).with_suffix(".png") for path in paths]
    if len(set(targets)) < len(targets):
        twice = next(target for target in targets if targets.count(target) > 1)
        raise UserError(f"{folder / twice}: two images would have this mask; rename one of them")
    numbers = numbers_of(mapper.classes)
    with atomic(made) as (masks,), Progress("predict", len(paths), "image") as progress:
        for done, (mapped, target) in enumerate(zip(mapper.map(folder, paths), targets, strict=True), 1):
            (masks / target).parent.mkdir(parents=True, exist_ok=True)
            save_mask(mapped.mask, masks / target, mapper.classes, numbers)
            progress.show(done)
        if mapper.classes:
            lines = [(number, *each[::2]) for number, each in zip(numbers, mapper.classes, strict=True)]
            write_csv(masks / "classes.csv", ["value", "name", "color"], lines)


def numbers_of(classes: Sequence[PixelClass]) -> list[int]:
    """The number of each class in the files of masks."""
    values = [each.value for each in classes]
    usable = all(0 <= value <= 255 for value in values) and len(set(values)) == len(values)
    return values if usable else [*range(len(classes))]


def save_mask(mask: np.ndarray, path: Path, classes: Sequence[PixelClass], numbers: Sequence[int]) -> None:
    """Write a mask: white on black, or of classes in their colours.

    Parameters
    ----------
    mask : ndarray of uint8, shape (h, w)
        0 and 1, or places of classes.
    path : Path
        The PNG file.
    classes : sequence of PixelClass
        None for a mask of 0 and 1.
    numbers : sequence of int
        Of the classes in the file.
    """
    from PIL import Image

    if not classes:
        Image.fromarray(mask * np.uint8(255)).save(path)
        return
    picture = Image.fromarray(np.array(numbers, np.uint8)[mask]).convert("P")
    palette = np.zeros((256, 3), np.uint8)
    palette[numbers] = [list(bytes.fromhex(each.color[1:])) for each in classes]
    picture.putpalette(palette.tobytes())
    picture.save(path)


if __name__ == "__main__":
    run("predict", main)
