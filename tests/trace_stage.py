"""Run a stage as `python -m stages.NAME` does and print what it used: its code files and its parameters.

Usage: python trace_stage.py STAGE [ARGUMENT]
"""

import json
import runpy
import sys
from pathlib import Path

sys.path.insert(0, ".")

from stages import params

PARAMETERS = "stages/choices.yaml"  # of which dvc.yaml declares lines
NOTHING = "stages/none/"  # stands for files that a parameter names

read: set[str] = set()
opened: set[str] = set()  # files beside the code that the stage opens
prefixes = {params.Params: ""} | {
    field.annotation: f"{name}."
    for name, field in params.Params.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, params.Section)
}
plain_load = params.load
plain_getattribute = params.Section.__getattribute__


def recording_getattribute(section: params.Section, name: str) -> object:
    if name in type(section).model_fields:
        read.add(prefixes[type(section)] + name)
    return plain_getattribute(section, name)


def remember_opened(event: str, arguments: tuple[object, ...]) -> None:
    path = str(arguments[0]) if event == "open" else ""
    if path.startswith("stages/") and not path.startswith((PARAMETERS, NOTHING)) and not path.endswith((".py", ".pyc")):
        opened.add(path)


def load(stage: str, item: str = "") -> params.Params:
    """Load as the stage does; what validation read on the way is not what the stage uses."""
    loaded = plain_load(stage, item)
    read.clear()
    return loaded


def main() -> None:
    params.load = load
    params.Section.__getattribute__ = recording_getattribute  # type: ignore[assignment,method-assign]
    sys.addaudithook(remember_opened)
    stage, *arguments = sys.argv[1:]
    sys.argv = [stage, *arguments]
    runpy.run_module(f"stages.{stage}", run_name="__main__", alter_sys=True)
    files = [getattr(module, "__file__", None) for name, module in sys.modules.items() if name.startswith("stages")]
    code = {str(Path(file).relative_to(Path.cwd())) for file in files if file} | {f"stages/{stage}.py"} | opened
    sections = {prefix.rstrip(".") for prefix in prefixes.values()}
    print(json.dumps({"code": sorted(code), "params": sorted(read - sections)}))


main()
