"""Every command that README.md shows is run, on a small project, and what it points to is there."""

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.project import ROOT, metrics, restore, stages_run, succeed

README = (ROOT / "README.md").read_text(encoding="utf-8")
PROGRAMS = re.compile(r"(dvc|make|python|git|source|cd|pip|TRAINCORE_\w+=\S+ dvc) ")
PLACEHOLDERS = re.compile(
    r"…|NAME$|^(git add|dvc cache dir|dvc plots|dvc exp run)$"
)  # about commands, without being one that can be run
QUEUE_SECONDS = 300

# Run as they stand, in this order, in a project after its first run.
AS_THEY_ARE = [
    "dvc repro",
    "dvc params diff --all",
    "dvc plots show",
    "dvc repro --force --single-item generate@train",
    "git checkout params.yaml",
    "git checkout metrics",
    "python -m stages.export_core FOLDER",
    "python -m stages.predict FOLDER MASKS",
    "python -m stages.triage FOLDER RANKING",
    "dvc config cache.type reflink,hardlink,symlink",
    "dvc checkout --relink",
    "dvc config cache.shared group",
    "dvc remote add --default store /mnt/store",
    "dvc push",
    "dvc checkout",
    "dvc pull",
    "dvc gc --workspace",
    "dvc cache dir /big/cache",
]

# Experiments, each with the stages that have to run.
EXPERIMENTS = {
    "dvc exp run -S select.order_seed=1": ["train_seed", "select", "evaluate", "report"],
    "dvc exp run -S network.name=bn_unet": ["train_seed", "select", "evaluate", "report"],
    "dvc exp run -S select.strategy=k_center -S select.size=300": ["train_seed", "select", "evaluate", "report"],
    "dvc exp run -S dataset.train_count=600 -S dataset.test_count=200 -S dataset.image_size=64 "
    "-S network.base_filters=8": [
        "generate@train", "generate@test", "audit", "train_seed", "select", "evaluate", "report",
    ],
}  # fmt: skip

QUEUED = [
    "dvc exp run --queue -S select.order_seed=1,2",
    "TRAINCORE_THREADS=1 dvc queue start --jobs 2",
    "dvc queue status",
]

COMPARED = [
    "dvc exp save --name this",
    "dvc exp run --name stricter -S precision=0.9",
    "dvc metrics diff this stricter",
    "dvc plots diff this stricter",
    "dvc exp show --only-changed",
    "dvc exp apply this",
]

# What other tests run, or CI, or nobody but a person; with who does, or why not.
ELSEWHERE = {
    "git clone <this repository> traincore": "CI starts with it",
    "cd traincore": "CI starts with it",
    "make setup": "CI starts with it",
    "source .venv/bin/activate": "the tests run in that environment",
    "make repro": "dvc repro after make setup",
    "make test": "it runs these tests",
    "make lint": "CI runs it",
    "make torture ROUNDS=20": "CI runs three rounds",
    "make studies": "tests/test_variants.py, on a study of its own",
    "make bench": "minutes of full load",
    "python -m tests.benchmarks airbus": "minutes of full load",
    "python -m tests.benchmarks policy": "hours of full load",
    "python -m tests.benchmarks triage": "needs the full run",
    "dvc plots diff": "the same with names",
    "dvc exp show": "the same with an option",
    "dvc exp run -S precision=0.9": "the same with a name",
    "dvc exp run -S network.name=mine": "tests/test_variants.py",
    "dvc exp run -S select.exclude=kept/core.csv": "tests/test_variants.py",
    "dvc exp run -S select.start_from=kept -S dataset.train_count=20000": "tests/test_variants.py",
    "dvc exp run -S select.passes=until_certified": "tests/test_pipeline.py",
    "git checkout dvc.lock": "tests/torture.py",
    "dvc exp run -S dataset.interference=triangle": "tests/test_ellipses.py, and the study of triangles",
    "dvc exp run -S dataset.name=folder -S dataset.path=membrane -S dataset.image_size=128 "
    "-S 'dataset.mask_values=[0]' \\": "minutes, of images that are not here; tests/test_folder.py has the options",
    "dvc exp run -S dataset.name=folder -S dataset.path=my_images": "tests/test_variants.py",
    "dvc exp run -S dataset.name=folder -S dataset.path=my_images -S dataset.image_size=128": "tests/test_variants.py",
    "dvc exp run -S dataset.name=fashion_mnist -S network.name=cnn -S select.strategy=everything": (
        "tests/test_fashion_mnist.py and tests/test_variants.py, on images of their own"
    ),
}


def shown() -> set[str]:
    """Lines of code that are commands, and commands between backticks."""
    blocks = re.findall(r"^    (.+)$", README, re.MULTILINE)
    quoted = re.findall(r"`([^`\n]+)`", re.sub(r"^    .+$", "", README, flags=re.MULTILINE))
    found = {line.strip() for line in [*blocks, *quoted]}
    studies = "python -m stages.studies"  # each is named where its table stands
    return {line for line in found if PROGRAMS.match(line) and not line.startswith((studies, "pip "))}


def test_every_command_is_run_by_a_test_or_it_is_said_why_not() -> None:
    commands = {line for line in shown() if not PLACEHOLDERS.search(line)}
    assert commands == {*AS_THEY_ARE, *EXPERIMENTS, *COMPARED, *QUEUED, *ELSEWHERE}


def small(command: str, folder: Path) -> str:
    """A command with few and small pairs, and with folders that a test may write to."""
    for full, few in (
        ("precision=0.9", "precision=0.35"),
        ("train_count=600", "train_count=44"),
        ("test_count=200", "test_count=10"),
        ("image_size=64", "image_size=32"),
        ("size=300", "size=8"),
        ("base_filters=8", "base_filters=4"),
        ("/mnt/store", str(folder / "store")),
        ("/big/cache", str(folder / "cache")),
        ("FOLDER RANKING", "exported/images ranking"),
        ("FOLDER MASKS", "exported/images masks"),
        ("FOLDER", "exported"),
    ):
        command = command.replace(full, few)
    return command


@pytest.fixture(scope="module")
def copied(reproduced: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the reproduced project that these tests may do anything to."""
    copy = tmp_path_factory.mktemp("readme") / "project"
    shutil.copytree(reproduced, copy, symlinks=True, ignore=shutil.ignore_patterns("tmp"))
    succeed(copy, "dvc", "exp", "remove", "--all-commits")  # those of other tests
    return copy


@pytest.fixture
def restored(copied: Path) -> Iterator[Path]:
    """The copy; parameters and results are put back."""
    yield copied
    restore(copied)


@pytest.mark.parametrize("command", EXPERIMENTS)
def test_an_experiment_runs_as_it_is_shown(restored: Path, tmp_path: Path, command: str) -> None:
    output = succeed(restored, *small(command, tmp_path).split())
    assert stages_run(output) == EXPERIMENTS[command]
    assert metrics(restored, "select")["selected"] > 0
    assert (restored / "metrics/report.html").exists()


def test_experiments_are_compared_as_it_is_shown(restored: Path, tmp_path: Path) -> None:
    said = {command: succeed(restored, *small(command, tmp_path).split()) for command in COMPARED}
    assert "metrics/evaluate.json" in said["dvc metrics diff this stricter"]
    assert "stricter" in said["dvc exp show --only-changed"]
    assert "dvc_plots/index.html" in said["dvc plots diff this stricter"]
    assert succeed(restored, "git", "status", "--porcelain", "params.yaml", "dvc.lock", "metrics") == ""


def test_experiments_run_from_the_queue(restored: Path, tmp_path: Path) -> None:
    queue, start, status = QUEUED
    succeed(restored, *queue.split())
    variable, *words = start.split()
    succeed(restored, *words, **dict([variable.split("=")]))
    deadline = time.monotonic() + QUEUE_SECONDS
    while (said := succeed(restored, *status.split())).count("Success") < 2:
        assert "Failed" not in said, said
        assert time.monotonic() < deadline, said
        time.sleep(2)
    lines = succeed(restored, "dvc", "exp", "show", "--csv").splitlines()
    orders = {line.split(",")[lines[0].split(",").index("select.order_seed")] for line in lines[1:]}
    assert {"1", "2"} <= orders


def test_the_other_commands_run_as_they_are_shown(copied: Path, tmp_path: Path) -> None:
    """The last test of this file to change the copy: the cache is moved and emptied."""
    for command in AS_THEY_ARE:
        words = small(command, tmp_path).split()
        succeed(copied, *words, *(["--force"] if words[:2] == ["dvc", "gc"] else []))
    assert len(list((copied / "masks").iterdir())) == metrics(copied, "select")["selected"]
    assert (copied / "ranking/ranking.csv").exists()
    assert any((tmp_path / "store").rglob("*.dir"))


def anchor(heading: str) -> str:
    """What GitHub calls a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_links_lead_somewhere() -> None:
    headings = {anchor(title) for title in re.findall(r"^#+ (.+)$", README, re.MULTILINE)}
    for target in re.findall(r"\]\(([^)\s]+)\)", README):
        if target.startswith("#"):
            assert target[1:] in headings, target
        elif "://" not in target:
            assert (ROOT / unquote(target)).exists(), target


def test_the_headline_figures_are_those_of_the_committed_run() -> None:
    values = {name: json.loads((ROOT / f"metrics/{name}.json").read_text()) for name in ("seed", "select", "evaluate")}
    test, rejected = values["evaluate"]["test"], values["evaluate"]["rejected"]
    for line in (
        f"| 271 in one order, 408 in another | **{values['select']['selected']}** |",
        f"| not given | **{test['tiered_iou']:.4f}** |",
        f"| 0.99278 | {test['soft_tiered_iou']:.4f} |",
        f"| not given | {test['below_bar']} of {test['pairs']:,} |",
        f"**{rejected['below_bar']} of {rejected['pairs']:,}**",
        f"| {values['seed']['seconds']:.0f} + {values['select']['seconds']:,.0f} |",
        f"{values['select']['pairs_trained']:,} and {values['select']['pairs_scored']:,}",
    ):
        assert line in README, line
