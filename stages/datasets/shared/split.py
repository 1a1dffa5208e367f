"""The split: tell which images in files are for training and which for testing."""

import hashlib
import re
from collections.abc import Sequence

from stages.pipeline.errors import UserError
from stages.pipeline.params.sections import DatasetParams


def side_of(item: str, paths: Sequence[str], options: DatasetParams) -> list[int]:
    """Places of the images that are for training, or for testing.

    Parameters
    ----------
    item : {"train", "test"}
        The side of the split.
    paths : sequence of str, shape (n,)
        Paths of all images.
    options : DatasetParams
        ``test_pattern`` or else ``test_share`` and ``split_seed``; ``group_pattern`` for groups that stay together.

    Raises
    ------
    UserError
        If no image falls on that side, or one has no group.
    """
    testing = split(paths, options.test_share, options.split_seed, options.test_pattern, options.group_pattern)
    side = [place for place, tests in enumerate(testing) if tests == (item == "test")]
    if not side:
        key = "test_share" if options.test_pattern is None else "test_pattern"
        raise UserError(f"dataset.{key} is {getattr(options, key)!r}: of {len(paths)} images none is left to {item}")
    return side


def split(paths: Sequence[str], share: float, seed: int, pattern: str | None, group: str | None) -> list[bool]:
    """Tell for each image whether it is for testing.

    Parameters
    ----------
    paths : sequence of str, shape (n,)
        Paths of the images.
    share : float
        Share of the groups that is for testing, in [0, 1]; the nearest whole number of them is taken.
    seed : int
        Seed of the draw.
    pattern : str, optional
        A regular expression: groups with an image whose path it is found in are for testing, whatever the share.
    group : str, optional
        A regular expression with one group, which names images that stay together: of a patient, a scene, a flight.
        Without it each image is a group.

    Returns
    -------
    list of bool, shape (n,)

    Raises
    ------
    UserError
        If an image has no such group.
    """
    groups = [_group_of(path, group) for path in paths]
    if pattern is not None:
        chosen = {name for name, path in zip(groups, paths, strict=True) if re.search(pattern, path)}
    else:
        # By a hash of its name most groups stay on their side when others come and go.
        names = sorted(set(groups), key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
        chosen = set(names[: round(share * len(names))])
    return [name in chosen for name in groups]


def _group_of(path: str, pattern: str | None) -> str:
    if pattern is None:
        return path
    found = re.search(pattern, path)
    if found is None or found[1] is None:
        raise UserError(f"dataset.group_pattern is {pattern!r}, allowed is one that finds its group in {path!r}, too")
    return found[1]
