"""The machines that train together, as TensorFlow's environment variable ``TF_CONFIG`` names them."""

import json
import os
from dataclasses import dataclass

from stages.pipeline.errors import UserError


@dataclass(frozen=True)
class Cluster:
    """The number of machines that train together, and this one's place among them, from 0 on."""

    count: int
    index: int


def machines() -> Cluster:
    """The machines that the environment variable ``TF_CONFIG`` names; this one alone if it is not set.

    Raises
    ------
    UserError
        If it does not name workers, and this machine as one of them.
    """
    text = os.environ.get("TF_CONFIG", "")
    if not text:
        return Cluster(1, 0)
    try:
        config = json.loads(text)
        (names,), task = config["cluster"].values(), config["task"]
        found = Cluster(len(names), range(len(names)).index(task["index"]))
        if [*config["cluster"], task["type"]] != ["worker", "worker"]:
            raise ValueError
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        raise UserError(
            f"environment variable TF_CONFIG is {text!r}, allowed is "
            '{"cluster": {"worker": ["HOST:PORT", …]}, "task": {"type": "worker", "index": 0}}'
        ) from None
    return found
