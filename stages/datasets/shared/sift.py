"""Sift the files of a data set: leave out those that are broken or odd, and take one side of the split.

A file is a tuple as in `Origins`: the path of an image, and that of its mask if the mask is a file of its own.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from stages.datasets.shared.classes import ClassRule
from stages.datasets.shared.find import File, LeftOut, examine, warn
from stages.datasets.shared.image import Range, choose_range, read_image, require_promised
from stages.datasets.shared.mask import Rule
from stages.datasets.shared.raster import Header
from stages.datasets.shared.split import side_of
from stages.pipeline.errors import UserError
from stages.pipeline.params.sections import DatasetParams
from stages.pipeline.stores import folder_at


def existing_folder(path: str, content: str) -> Path:
    """The folder that ``dataset.path`` names; ``content`` says what it should hold.

    Raises
    ------
    UserError
        If it is none.
    """
    folder = folder_at(path)
    if not folder.is_dir():
        raise UserError(f"dataset.path is {path!r}, allowed is a folder with {content}")
    return folder


def require_null(options: DatasetParams, *keys: str) -> None:
    """Raise if parameters are set that are for masks in files, where masks are none."""
    for key in keys:
        if getattr(options, key) is not None:
            raise UserError(
                f"dataset.{key} is {getattr(options, key)!r}, allowed is null: {options.name}'s masks are no files"
            )


def sound_files(
    files: Sequence[File], read: Callable[[File], Header], left_out: LeftOut, options: DatasetParams
) -> tuple[list[File], list[Header], Range]:
    """The files that can be used by their heads, these heads, and the range of values of all the images.

    Parameters
    ----------
    files : sequence of tuple of str, shape (n,)
        All files.
    read : callable
        Reads the head of a file's image, and raises UserError if it or what belongs to it is broken.
    left_out : LeftOut
        Files that are broken or have other channels than most are added.
    options : DatasetParams
        ``value_range`` is used.

    Raises
    ------
    UserError
        If all are broken; if ``strict``, also if any is to be left out.
    """
    kept, headers = left_out.odd(*left_out.broken(files, _tried(read, files)))
    turned = [image for (image, *_), header in zip(kept, headers, strict=True) if header.turned]
    if turned:
        warn(f"{len(turned)} images are turned as their orientation by EXIF or TIFF says, as {turned[0]}")
    return kept, headers, choose_range(options.value_range, [left_out.folder / image for image, *_ in kept], headers)


def files_of_side(
    item: str,
    files: Sequence[File],
    headers: Sequence[Header],
    values: Range,
    rule: Rule | ClassRule,
    left_out: LeftOut,
    options: DatasetParams,
) -> tuple[list[File], list[Header]]:
    """The files on one side of the split, and the heads of their images.

    Unless ``strict``, they are read whole, masks by a rule, so that it is known which are to be left out.

    Parameters
    ----------
    item : {"train", "test"}
        The side.
    files, headers, values
        From `sound_files`.
    rule : Rule or ClassRule
        For masks that are files.
    left_out : LeftOut
        Files that are broken are added.
    options : DatasetParams
        The parameters of the split, and ``strict``.

    Raises
    ------
    UserError
        If no file is on that side, or all are broken.
    """
    side = side_of(item, [image for image, *_ in files], options)
    header_of = {files[place]: headers[place] for place in side}

    def read(file: File) -> Header:
        header, (image, *masks) = header_of[file], (left_out.folder / path for path in file)
        for page in range(header.pages):
            require_promised(image, read_image(image, "uint8", values, page), header)
            for mask in masks:
                rule.read(mask, page)
        return header

    chosen = list(header_of)
    return (chosen, list(header_of.values())) if options.strict else left_out.broken(chosen, _tried(read, chosen))


def _tried(read: Callable[[File], Header], files: Sequence[File]) -> list[Header | UserError]:
    """What is read of each file, or the error that it ends in."""

    def result(place: int) -> Header | UserError:
        try:
            return read(files[place])
        except UserError as error:
            return error

    return examine(result, len(files))
