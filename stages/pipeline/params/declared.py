"""The keys that ``dvc.yaml`` declares for a stage, and parameters without the others."""

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, TypeVar

from stages.pipeline.params.choices import DEFAULTS, get, line_of
from stages.pipeline.params.sections import Params, Section

Kept = TypeVar("Kept", bound=Section)


def declared_keys(definition: Mapping[str, Any], values: Mapping[str, Any], item: str) -> set[str]:
    """The dotted keys of single parameters that a stage sees.

    Parameters
    ----------
    definition : mapping
        The stage in ``dvc.yaml``.
    values : mapping
        The parsed ``params.yaml``.
    item : str
        For a ``foreach`` stage the item it runs for.

    Returns
    -------
    set of str
        Keys as ``select.first_failure.max_epochs``; one that is null is there only if the line of stages/choices.yaml
        is declared, too, that gives it its value.
    """
    entries = definition.get("params", [])
    texts = [text for entry in entries for text in (chain(*entry.values()) if isinstance(entry, dict) else [entry])]
    names = {_filled(text, values, item) for text in texts}
    keys = {key for key in _keys(values) if any(f"{key}.".startswith(f"{name}.") for name in names)}
    hidden = {key for key in DEFAULTS if get(values, key) is None and line_of(key, values) not in names}
    return keys - hidden


def restrict(params: Params, keys: set[str]) -> Params:
    """The parameters of some keys alone."""
    return _restrict(params, "", keys)


def _filled(text: str, values: Mapping[str, Any], item: str) -> str:
    """A declaration with its templates filled in."""
    return re.sub(r"\$\{([^}]*)\}", lambda match: item if match[1] == "item" else str(get(values, match[1])), text)


def _keys(values: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _keys(value, f"{above}{name}.")
        else:
            yield f"{above}{name}"


def _restrict(section: Kept, above: str, keys: set[str]) -> Kept:
    kept: dict[str, Any] = {}
    for name, value in section:
        if isinstance(value, Section):
            kept[name] = _restrict(value, f"{above}{name}.", keys)
        elif f"{above}{name}" in keys:
            kept[name] = value
    return section.model_construct(**kept)
