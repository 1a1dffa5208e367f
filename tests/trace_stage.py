"""`python` for the stages of a small project, which runs them as ever and records the code and parameters they use.

Usage: python trace_stage.py RECORDS -m stages.NAME [ITEM]
"""

import importlib
import json
import runpy
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel

CHOICES = "stages/choices.yaml"  # of which dvc.yaml declares lines
NOTHING = "stages/none/"  # stands for files that a parameter names

read: set[str] = set()  # parameters
opened: set[str] = set()  # files beside the code
by_name: set[str] = set()  # modules that a parameter chose
validating = False
validated: set[str] = set()  # modules that were first imported to validate parameters
sections: dict[int, tuple[str, BaseModel]] = {}  # by their identity: where they stand, as `select.budget.`


def modules() -> set[str]:
    return {name for name in sys.modules if name.split(".")[0] == "stages"}


def files(names: set[str]) -> list[str]:
    paths = [file for name in names if (file := sys.modules[name].__file__)]
    return sorted(str(Path(path).relative_to(Path.cwd())) for path in paths)


def remember_sections(section: BaseModel, place: str = "") -> None:
    sections[id(section)] = place, section
    for name, value in vars(section).items():
        if isinstance(value, BaseModel):
            remember_sections(value, f"{place}{name}.")


def trace(folder: Path, name: str, arguments: list[str]) -> None:
    """Run a stage and write what it used to STAGE.json or STAGE@ITEM.json."""
    plain_import, plain_getattribute = importlib.import_module, BaseModel.__getattribute__

    def import_module(name: str, package: str | None = None) -> ModuleType:
        if name.startswith("stages.") and not validating:
            by_name.add(name)
        return plain_import(name, package)

    importlib.import_module = import_module
    from stages.pipeline import params

    plain_load = params.load

    def load(*stage: str) -> Any:
        global validating
        before, validating = modules(), True
        loaded = plain_load(*stage)
        validating = False
        validated.update(modules() - before)
        remember_sections(loaded)
        return loaded

    def recording_getattribute(model: BaseModel, name: str) -> Any:
        value = plain_getattribute(model, name)
        if id(model) in sections and name in type(model).model_fields and not isinstance(value, BaseModel):
            read.add(sections[id(model)][0] + name)
        return value

    def remember_opened(event: str, arguments: tuple[Any, ...]) -> None:
        path = str(arguments[0]) if event == "open" else ""
        if (
            path.startswith("stages/")
            and not path.startswith((CHOICES, NOTHING))
            and not path.endswith((".py", ".pyc"))
        ):
            opened.add(path)

    params.load = load  # type: ignore[assignment]
    BaseModel.__getattribute__ = recording_getattribute  # type: ignore[method-assign,assignment]
    sys.addaudithook(remember_opened)
    sys.argv = [name, *arguments]
    runpy.run_module(name, run_name="__main__", alter_sys=True)
    used = {
        "imported": files(modules()),
        "validated": files(validated),
        "by_name": files(by_name),
        "opened": sorted(opened),
        "parameters": sorted(read),
    }
    (folder / f"{'@'.join([name.removeprefix('stages.'), *arguments])}.json").write_text(json.dumps(used))


if __name__ == "__main__":
    sys.path[0] = str(Path.cwd())  # as `python -m` has it
    records, _, stage, *items = sys.argv[1:]
    trace(Path(records), stage, items)
