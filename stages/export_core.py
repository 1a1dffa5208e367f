"""A plain command: copy pairs out as files. `python -m stages.export_core FOLDER [--format …] [--of …] [--originals]`.

Without options it writes every chosen pair as two PNG files of one name, in ``images`` and ``masks``, as data set
``folder`` reads them; with ``--originals`` it copies the files that the pairs come from, whole, under their own names.
With the format of a labelling tool it writes ``images`` and that tool's file of their masks. ``--of suspects`` takes
the pairs whose masks are likeliest wrong in place of the core.
"""

import argparse
import json
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stages.datasets import airbus, coco
from stages.drawing.palettes import numbers_of, save_mask, write_legend
from stages.labelling.formats import FORMATS
from stages.labelling.items import Export, Item, labels_of
from stages.pairs.layout import IGNORED
from stages.pairs.read import Pairs
from stages.pairs.tables import read_lines, write_csv
from stages.pipeline import paths
from stages.pipeline.entry import run
from stages.pipeline.errors import UserError
from stages.pipeline.files import atomic, damaged_output, read_output
from stages.pipeline.stores import folder_at

FILES = "files"
SUSPECTS = 200
TABLE = "suspects.csv"
# Parameters that say which files are a set, and which parts of them; all of those that are written are one.
PARTS_OF_A_SET = (
    "images",
    "masks",
    "class_colors",
    "mask_threshold",
    "train_count",
    "test_count",
    "test_pattern",
    "group_pattern",
)
READ_BY = {FILES: "folder", "coco": "coco"}  # the data sets that read these formats


class Known(NamedTuple):
    """What the table of a pair's set says of it: its score, and by their names what a person can sort by, too."""

    score: float | None
    fields: Mapping[str, int | str]


def main(words: list[str] | None = None) -> None:
    """Write the core, or the suspects, into a folder that is not there yet."""
    parser = argparse.ArgumentParser(prog="export_core", description="Copy pairs out as files.")
    parser.add_argument("folder", type=Path, help="where to; must not be there yet")
    parser.add_argument("--format", choices=[FILES, *FORMATS], default=FILES, help="PNG files, or of a labelling tool")
    parser.add_argument("--of", choices=["core", "suspects"], default="core", help="which pairs; the core if not given")
    parser.add_argument("--count", type=int, help=f"most suspects; {SUSPECTS} if not given")
    parser.add_argument("--originals", action="store_true", help="copy the files that the pairs come from, whole")
    options = parser.parse_args(words)
    if options.originals and options.format != FILES:
        raise UserError(f"--originals copies whole files; --format {options.format} writes the pairs themselves")
    if options.count is not None and (options.of == "core" or options.count < 1):
        raise UserError(f"--count is {options.count}, allowed is at least 1, and with --of suspects alone")
    suspects: dict[int, Known] = {}
    if options.of == "core":
        pairs = Pairs(paths.CORE)
    else:
        pairs = Pairs(paths.POOL)
        suspects = read_output(paths.SUSPECTS, read_suspects, pairs, options.count or SUSPECTS)
        pairs = pairs.in_order(np.array(list(suspects), np.int64))
    if options.folder.exists():
        raise UserError(f"{options.folder}: is there already; name a folder that is to be made")
    with atomic(options.folder) as (folder,):
        if options.originals:
            count = copy_originals(pairs, folder)
        elif options.format == FILES:
            count = write_pairs(pairs, folder, list(suspects.values()))
        else:
            known = suspects or read_output(paths.CORE_TABLE, read_core, pairs.rows_of_source().tolist())
            count = write_for_tool(pairs, folder, options.format, list(known.values()))
    print(f"export_core: {len(pairs)} {'suspects' if suspects else 'chosen pairs'}, {count} files in {options.folder}")
    if options.format in READ_BY and not options.originals and pairs.layout.kind != "labels":
        print("read again by " + " ".join(f"-S {shlex.quote(each)}" for each in settings_of(pairs, options)))


def settings_of(pairs: Pairs, options: argparse.Namespace) -> list[str]:
    """The parameters that make the same pairs of the files, as far as those of the set are others."""
    numbers = numbers_of(pairs.classes) if options.format == FILES else []
    ignored = any((pairs.read([place])[1] == IGNORED).any() for place in range(len(pairs))) if numbers else False
    settings = {
        "name": READ_BY[options.format],
        "path": str(options.folder),
        "classes": [each.name for each in pairs.classes[1:]] or None,
        "mask_values": numbers[1:] or None,
        "ignore_value": IGNORED if ignored else None,
        "value_range": "auto",  # images are on the scale of their files by now
        **dict.fromkeys(PARTS_OF_A_SET),
    }
    parameters = {"value_range": "auto", **_parameters_of(pairs)}
    changed = {name: value for name, value in settings.items() if parameters.get(name) != value}
    changed["image_size"] = pairs.layout.image_shape[0]  # may have been another data set's default
    return [
        f"dataset.{name}={value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in changed.items()
    ]


def read_suspects(path: Path, pool: Pairs, count: int) -> dict[int, Known]:
    """The first pairs of the table of suspects; a reader for `read_output`.

    Parameters
    ----------
    path : Path
        The table, those first whose masks are likeliest wrong.
    pool : Pairs
        The pool.
    count : int
        How many of them, if there are as many.

    Returns
    -------
    dict
        What is known of each row, in that order.

    Raises
    ------
    UserError
        If it is not such a table, or holds no pairs.
    """
    known: dict[int, Known] = {}
    origins = pool.origins()
    for line in read_lines(path, "row", "score", "judged_by"):
        row, rank = line.of_import(line.row("row", len(pool)), origins), len(known) + 1
        known[row] = Known(line.score(), {"rank": rank, "row": row, "judged_by": line.texts["judged_by"]})
        if len(known) == count:
            break
    if not known:
        raise UserError(f"{path}: no suspects in it")
    return known


def read_core(path: Path, rows: Sequence[int]) -> dict[int, Known]:
    """What the table of the core says of its rows, in their order; a reader for `read_output`."""
    found = {
        line.value("row", int, "a row"): Known(
            line.score(), {name: line.value(name, int, "a whole number") for name in ("row", "order", "epochs")}
        )
        for line in read_lines(path, "row", "order", "score", "epochs")
    }
    if missing := [row for row in rows if row not in found]:
        raise damaged_output(path, f"no line of row {missing[0]}, which {paths.CORE} holds")
    return {row: found[row] for row in rows}


def write_pairs(pairs: Pairs, folder: Path, suspects: Sequence[Known] = ()) -> int:
    """Write pairs as PNG files of 8 bits; where they have labels for masks, these as ``labels.csv``.

    Masks of classes have palettes, and ``classes.csv`` names what stands for each. The order of suspects, and what is
    known of them, becomes a table.

    Returns
    -------
    int
        Number of files.
    """
    names, labels, classes = names_of(pairs), [], pairs.classes
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for position, name in enumerate(names):
        (image,), (target,) = pairs.read([position])
        _save(image, pairs, folder / f"images/{name}.png")
        if pairs.layout.kind == "labels":
            labels.append([name, int(target[0])])
        else:
            save_mask(target[:, :, 0], folder / f"masks/{name}.png", classes)
    if pairs.layout.kind == "labels":
        (folder / "masks").rmdir()
        write_csv(folder / "labels.csv", ["image", "label"], labels)
    if classes:
        write_legend(folder, classes)
    if suspects:
        lines = [[name, known.score, *known.fields.values()] for name, known in zip(names, suspects, strict=True)]
        write_csv(folder / TABLE, ["image", "score", *suspects[0].fields], lines)
    return sum(path.is_file() for path in folder.rglob("*"))


def write_for_tool(pairs: Pairs, folder: Path, tool: str, known: Sequence[Known]) -> int:
    """Write pairs as images, and as the files of a labelling tool.

    Returns
    -------
    int
        Number of files.

    Raises
    ------
    UserError
        If the pairs have labels in place of masks.
    """
    if pairs.layout.kind == "labels":
        raise UserError(f"{pairs.path}: its pairs have labels; the files of labelling tools are for masks")
    export = Export(labels_of(pairs.classes), "images", predicted=False)
    (folder / "images").mkdir(parents=True)

    def items() -> Iterator[Item]:
        for position, (name, (score, fields)) in enumerate(zip(names_of(pairs), known, strict=True)):
            (image,), (mask,) = pairs.read([position])
            _save(image, pairs, folder / f"images/{name}.png")
            yield Item(f"{name}.png", mask[:, :, 0], score, fields)

    FORMATS[tool](folder, items(), export)
    return sum(path.is_file() for path in folder.rglob("*"))


def _save(image: np.ndarray, pairs: Pairs, path: Path) -> None:
    """Write an image (h, w, c) of a set as a PNG of 8 bits."""
    from PIL import Image

    pixels = np.rint(image * (255 / pairs.layout.scale)).astype(np.uint8)
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(path)


def names_of(pairs: Pairs) -> list[str]:
    """A name for each pair, made of its file and its place there, or of its row in the pool."""
    origins = pairs.origins()
    if origins is None:
        rows = pairs.rows_of_source()[pairs.order] if "core_of" in pairs.attributes else pairs.order
        return [f"{row:08d}" for row in rows.tolist()]
    tiles = origins.tiles[pairs.order].tolist()
    stems = [Path(name).stem for name, *_ in origins.files]
    if len(set(stems)) < len(stems):  # as with coco, whose images may have the same name in several folders
        stems = [name.replace("/", "_").replace(".", "_") for name, *_ in origins.files]
    names = ["_".join(map(str, [stems[file], top, left, *([page] if page else [])])) for file, top, left, page in tiles]
    if len(set(names)) < len(names):  # as a page of a.tif and a tile of a_0.tif may have
        return [f"{position:08d}_{name}" for position, name in enumerate(names)]
    return names


def copy_originals(pairs: Pairs, folder: Path) -> int:
    """Copy the files that pairs come from.

    Returns
    -------
    int
        Number of files.

    Raises
    ------
    UserError
        If the pairs come from no files, or one of the files is no longer there.
    """
    origins = pairs.origins()
    if origins is None:
        raise UserError(f"{pairs.path}: its pairs come from no files; without --originals they are written as files")
    parameters = _parameters_of(pairs)
    source = folder_at(parameters["path"])
    names = [name for names in origins.of(pairs.order).files for name in names]
    for name in names:
        if not (source / name).resolve().is_relative_to(source.resolve()):
            raise UserError(f"{pairs.path}: names {name!r}, which leads out of {source}")
        if not (source / name).is_file():
            raise UserError(f"{source / name}: missing; the core was chosen from it")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with (source / name).open("rb") as original, (folder / name).open("wb") as copy:
            shutil.copyfileobj(original, copy)
    images, masks = parameters.get("images"), parameters.get("masks")
    match parameters.get("name"):
        case "coco":
            coco.copy_annotations(source, images, masks, names, folder)
        case "airbus":
            airbus.copy_table(source, masks, names, folder)
        case _:
            return len(names)
    return len(names) + 1


def _parameters_of(pairs: Pairs) -> Mapping[str, Any]:
    """The section ``dataset`` of the parameters by which the pool was made, without those that are null."""
    parameters: Mapping[str, Any] = pairs.attributes.get("core_of", pairs.attributes)["parameters"]
    return parameters


if __name__ == "__main__":
    run("export_core", main)
