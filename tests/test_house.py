"""The folders of stages/: which imports which, and how large files and classes are.

`python -m tests.test_house` writes the table of arrows into stages/README.md.
"""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.imports import holds_code, imported
from tests.project import ROOT

README = ROOT / "stages/README.md"
TABLE = re.compile(r"(?<=<!-- arrows -->\n).*?(?=<!-- end -->)", re.DOTALL)
FILES = sorted(path.relative_to(ROOT) for path in (ROOT / "stages").rglob("*.py"))
ROOMS = (
    "stages", "studies", "forecasting", "drawing", "labelling", "strategies", "strategies/shared", "learning",
    "networks", "networks/shared", "datasets", "datasets/shared", "pairs", "pipeline",
)  # fmt: skip
# Each room may import from rooms that stand after it here, but for these, which have less to do with each other.
APART = {
    "studies": {"drawing", "pairs", "pipeline"},
    "forecasting": {"learning", "datasets/shared", "pairs", "pipeline"},
    "drawing": {"pairs", "pipeline"},
    "labelling": {"pairs", "pipeline"},
    "networks": {"networks/shared", "pairs", "pipeline"},
    "networks/shared": {"pairs", "pipeline"},
}
LINES_OF_FILE, LINES_OF_CLASS = 300, 200


def room_of(file: Path) -> str:
    """The folder below stages/ that a file belongs to; that of parameters is a part of the pipeline's."""
    name = "/".join(file.parent.parts[1:])
    return "pipeline" if name.startswith("pipeline/") else name or "stages"


def arrows() -> dict[str, set[str]]:
    """The other rooms that each room imports from."""
    found: dict[str, set[str]] = {room: set() for room in ROOMS}
    for file in FILES:
        if holds_code(ROOT / file):
            found[room_of(file)] |= {room_of(other) for other in imported(file, ROOT) if holds_code(ROOT / other)}
    return {room: others - {room} for room, others in found.items()}


def table() -> str:
    """The arrows in Markdown."""
    lines = ["| folder | imports from |", "|---|---|"]
    for room, others in arrows().items():
        names = [f"`{other}`" for other in ROOMS if other in others]
        label = "the files of `stages` itself" if room == "stages" else f"`{room}`"
        lines.append(f"| {label} | {', '.join(names) or 'none'} |")
    return "".join(f"{line}\n" for line in lines)


@pytest.mark.parametrize("room", ROOMS)
def test_a_folder_imports_from_folders_below_it(room: str) -> None:
    below = set(ROOMS[ROOMS.index(room) + 1 :])
    assert arrows()[room] - APART.get(room, below) == set()


def test_no_files_import_each_other_in_a_circle() -> None:
    TopologicalSorter({file: imported(file, ROOT) - {file} for file in FILES}).prepare()  # raises CycleError


def test_files_and_classes_can_be_read_at_once() -> None:
    texts = {file: (ROOT / file).read_text(encoding="utf-8") for file in FILES}
    assert [str(file) for file, text in texts.items() if text.count("\n") > LINES_OF_FILE] == []
    classes = [node for text in texts.values() for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef)]
    assert [node.name for node in classes if (node.end_lineno or 0) - node.lineno >= LINES_OF_CLASS] == []


def test_packages_hold_no_code_but_what_a_process_needs_first() -> None:
    packages = [file for file in FILES if file.name == "__init__.py" and holds_code(ROOT / file)]
    assert {str(file.parent) for file in packages} <= {"stages/pipeline", "stages/pipeline/params"}


def test_the_table_of_arrows_is_that_of_the_code() -> None:
    assert TABLE.findall(README.read_text(encoding="utf-8")) == [table()]


if __name__ == "__main__":
    README.write_text(TABLE.sub(lambda _: table(), README.read_text(encoding="utf-8")), encoding="utf-8")
