"""A plain command: copy the chosen pairs out as files. `python -m stages.export_core FOLDER [--originals]`.

Without options it writes every chosen pair as two PNG files of one name, in ``images`` and ``masks``, as data set
``folder`` reads them; with ``--originals`` it copies the files that the pairs come from, whole, under their own names.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np

from stages.datasets import airbus, coco
from stages.pairs.read import Pairs
from stages.pairs.tables import write_csv
from stages.pipeline import paths
from stages.pipeline.entry import run
from stages.pipeline.errors import UserError
from stages.pipeline.files import atomic


def main(words: list[str] | None = None) -> None:
    """Write the core into a folder that is not there yet."""
    parser = argparse.ArgumentParser(prog="export_core", description="Copy the chosen pairs out as files.")
    parser.add_argument("folder", type=Path, help="where to; must not be there yet")
    parser.add_argument("--originals", action="store_true", help="copy the files that the pairs come from, whole")
    options = parser.parse_args(words)
    core = Pairs(paths.CORE)
    if options.folder.exists():
        raise UserError(f"{options.folder}: is there already; name a folder that is to be made")
    with atomic(options.folder) as (folder,):
        count = copy_originals(core, folder) if options.originals else write_pairs(core, folder)
    print(f"export_core: {len(core)} chosen pairs, {count} files in {options.folder}")


def write_pairs(core: Pairs, folder: Path) -> int:
    """Write the pairs of a core as PNG files of 8 bits; where they have labels for masks, these as ``labels.csv``.

    Returns
    -------
    int
        Number of files.
    """
    from PIL import Image

    names, labels = _names(core), []
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for position, name in enumerate(names):
        (image,), (target,) = core.read([position])
        image = np.rint(image * (255 / core.layout.scale)).astype(np.uint8)
        Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(folder / f"images/{name}.png")
        if core.layout.classes:
            labels.append([name, int(target[0])])
        else:
            Image.fromarray(target[:, :, 0] * np.uint8(255)).save(folder / f"masks/{name}.png")
    if core.layout.classes:
        (folder / "masks").rmdir()
        write_csv(folder / "labels.csv", ["image", "label"], labels)
        return len(names) + 1
    return 2 * len(names)


def _names(core: Pairs) -> list[str]:
    """A name for each pair, made of its file and its place there, or of its row in the pool."""
    origins = core.origins()
    if origins is None:
        return [f"{row:08d}" for row in core.rows_of_source().tolist()]
    tiles = origins.tiles.tolist()
    stems = [Path(name).stem for name, *_ in origins.files]
    return ["_".join(map(str, [stems[file], top, left, *([page] if page else [])])) for file, top, left, page in tiles]


def copy_originals(core: Pairs, folder: Path) -> int:
    """Copy the files that the pairs of a core come from.

    Returns
    -------
    int
        Number of files.

    Raises
    ------
    UserError
        If the pairs come from no files, or one of the files is no longer there.
    """
    origins = core.origins()
    if origins is None:
        raise UserError(f"{core.path}: its pairs come from no files; without --originals they are written as files")
    parameters = core.attributes["core_of"]["parameters"]
    source = Path(parameters["path"])
    names = [name for names in origins.files for name in names]
    for name in names:
        if not (source / name).resolve().is_relative_to(source.resolve()):
            raise UserError(f"{core.path}: names {name!r}, which leads out of {source}")
        if not (source / name).is_file():
            raise UserError(f"{source / name}: missing; the core was chosen from it")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, folder / name)
    if parameters.get("name") == "coco":
        coco.copy_annotations(source, parameters.get("images"), parameters.get("masks"), names, folder)
        return len(names) + 1
    if parameters.get("name") != "airbus":
        return len(names)
    airbus.copy_table(source, parameters.get("masks"), names, folder)
    return len(names) + 1


if __name__ == "__main__":
    run("export_core", main)
