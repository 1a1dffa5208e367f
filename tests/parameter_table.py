"""The table in stages/PARAMETERS.md, made of their descriptions. `python -m tests.parameter_table` writes it."""

import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from stages.pipeline.params import choices
from stages.pipeline.params.validation import model_of
from stages.pipeline.params.yaml import read_yaml

PAGE = Path("stages/PARAMETERS.md")
PLACE = re.compile(r"(<!-- parameters -->\n).*?(<!-- end -->)", re.DOTALL)


def table() -> str:
    """The table in Markdown, a line a parameter, or several that mean the same."""
    strategies = tuple(read_yaml(choices.FILE)["strategies"])
    keys: dict[str, list[str]] = {}
    for key, meaning in _described(model_of(strategies)):
        keys.setdefault(meaning, []).append(f"`{key}`")
    lines = [f"| {', '.join(named)} | {meaning} |" for meaning, named in keys.items()]
    return "\n".join(["| parameter | meaning |", "|---|---|", *lines, ""])


def _described(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _described(field.annotation, f"{above}{name}.")
        else:
            yield f"{above}{name}", field.description or ""


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(PLACE.sub(lambda match: match[1] + table() + match[2], text), encoding="utf-8")
