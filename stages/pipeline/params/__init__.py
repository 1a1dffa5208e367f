"""The typed, validated parameters of each stage.

``params.yaml`` is validated whole, so that a bad value stops the first stage and not the last. A stage then
gets the keys that ``dvc.yaml`` declares for it and no others: reading one that was not declared fails at once,
where it would otherwise serve a stale cache.
"""

from pathlib import Path

from stages.pipeline.params import choices, validation
from stages.pipeline.params.declared import declared_keys, restrict
from stages.pipeline.params.sections import Params
from stages.pipeline.params.yaml import read_yaml

PIPELINE = Path("dvc.yaml")


def load(stage: str, item: str = "") -> Params:
    """The parameters that ``dvc.yaml`` declares for a stage, nulls replaced by their defaults.

    Parameters
    ----------
    stage : str
        Name of the stage in ``dvc.yaml``.
    item : str
        For a ``foreach`` stage the item it runs for.

    Raises
    ------
    UserError
        If any value in ``params.yaml`` is wrong, declared or not.
    """
    values = read_yaml(validation.FILE)
    params = validation.validate(values, read_yaml(choices.FILE))
    definition = read_yaml(PIPELINE)["stages"][stage]
    return restrict(params, declared_keys(definition.get("do", definition), values, item))


def load_all() -> Params:
    """All parameters, for commands that are no stages.

    Raises
    ------
    UserError
        If any value in ``params.yaml`` is wrong.
    """
    return validation.validate(read_yaml(validation.FILE), read_yaml(choices.FILE))
