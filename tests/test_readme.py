"""Every command that a README shows is run, on a small project, and what it points to is there."""

import json
import os
import re
import time
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

from tests.parameter_table import PAGE, PLACE, table
from tests.project import ROOT, STAGES, metrics, stages_run, succeed

README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [
    Path(name)
    for name in (
        "README.md", "stages/README.md", "stages/PARAMETERS.md", "stages/datasets/README.md", "tests/README.md",
        "metrics/studies/README.md", "metrics/studies/scale.md",
    )
]  # fmt: skip
PROGRAMS = re.compile(r"(dvc|make|python|git|source|cd|pip|TRAINCORE_\w+=\S+ dvc) ")
PLACEHOLDERS = re.compile(
    r"…|NAME$|^(git add|dvc cache dir|dvc plots|dvc exp run)$"
)  # about commands, without being one that can be run
STUDIES = "python -m stages.studies "
QUEUE_SECONDS = 300

# Run as they stand, in this order, in a project after its first run.
AS_THEY_ARE = [
    "dvc repro",
    "dvc status",
    "dvc params diff --all",
    "dvc plots show",
    "dvc repro --force --single-item generate@train",
    "git checkout params.yaml",
    "git checkout metrics",
    "python -m stages.export_core FOLDER",
    "python -m stages.export_model MODEL",
    "python -m stages.predict FOLDER MASKS",
    "python -m stages.triage FOLDER RANKING",
    "python -m stages.export_core CORE --format coco",
    "python -m stages.export_core SUSPECTS --of suspects --format cvat",
    "python -m stages.triage FOLDER QUEUE --format label_studio",
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
FROM_SEED = ["train_seed", "select", "judge", "evaluate", "report"]
EXPERIMENTS = {
    "dvc exp run -S select.order_seed=1": ["train_seed", "select", "evaluate", "report"],
    "dvc exp run -S network.name=bn_unet": FROM_SEED,
    "dvc exp run -S select.strategy=k_center -S select.budget.count=300": FROM_SEED,
    "dvc exp run -S select.strategy=first_failure": FROM_SEED,
    "dvc exp run -S select.retrain=1000": ["select", "evaluate", "report"],
    "dvc exp run -S dataset.train_count=600 -S dataset.test_count=200 -S dataset.image_size=48 "
    "-S network.base_filters=8": STAGES,
}

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
    "make test-all": "CI runs it",
    "make smoke": "CI runs it",
    "make lint": "CI runs it",
    "make torture ROUNDS=20": "minutes a round",
    "make studies": "tests/test_studies.py, on a study of its own",
    "make bench": "minutes of full load",
    "python -m tests.benchmarks airbus": "minutes of full load",
    "python -m tests.benchmarks policy": "hours of full load",
    "python -m tests.benchmarks store": "minutes of full load",
    "python -m tests.benchmarks cluster": "many minutes of full load",
    "python -m tests.benchmarks scale": "an hour of full load",
    "python -m tests.benchmarks ships": "an hour of full load, and 15 GB of the disk",
    "dvc commit": "tests/benchmarks/ships.py",
    "python -m tests.benchmarks triage": "needs the full run",
    "python -m tests.image_folders head nuclei drawn": "needs packages that the project does not",
    "python -m tests.wrong_masks": "an hour of full load",
    "python -m tests.labelling_loop": "an hour of full load; tests/test_labelling_loop.py has a small one",
    "python -m stages.follow": "tests/test_devices.py",
    "python -m stages.suggest": "tests/test_suggest.py, on a small pool",
    "python -m stages.forecast": "tests/test_forecast.py",
    "python -m tests.parameter_table": "the last test of this file compares its table",
    "python -m tests.test_house": "the same file compares its table",
    "dvc plots diff": "the same with names",
    "dvc exp show": "the same with an option",
    "dvc exp run -S precision=0.9": "the same with a name",
    "dvc exp run -S network.name=mine": "tests/test_variants.py",
    "dvc exp run -S select.exclude=kept/core.csv": "tests/test_variants.py",
    "dvc exp run -S select.exclude=wrong.csv": "the same with another table",
    "dvc exp run -S select.start_from=kept -S dataset.train_count=20000": "tests/test_variants.py",
    "dvc exp run -S select.strategy=first_failure -S select.first_failure.passes=until_certified": (
        "tests/test_pipeline.py"
    ),
    "git checkout dvc.lock": "tests/torture.py",
    "TRAINCORE_SCHEDULER=tcp://localhost:8786 dvc repro": "tests/test_cluster.py, stage by stage",
    "dvc exp run -S dataset.interference=triangle": "tests/test_ellipses.py, and the study of triangles",
    "dvc exp run -S dataset.name=folder -S dataset.path=membrane -S dataset.image_size=128 "
    "-S 'dataset.mask_values=[0]' \\": "minutes, of images that are not here; tests/test_folder.py has the options",
    "dvc exp run -S dataset.name=folder -S dataset.path=my_images -S dataset.image_size=128": "tests/test_variants.py",
    "dvc exp run -S dataset.name=folder -S dataset.path=my_images -S dataset.image_size=128 generate@train": (
        "tests/test_variants.py"
    ),
    "dvc exp run -S dataset.name=folder -S dataset.path=s3://bucket/my_images -S dataset.image_size=128": (
        "tests/test_store_pipeline.py"
    ),
    "dvc remote add --default store s3://bucket/cache": "tests/test_store_pipeline.py",
    "dvc exp run -S dataset.name=folder -S dataset.path=my_images -S dataset.classes=all -S dataset.ignore_value=255": (
        "tests/test_classes.py has the options"
    ),
    "dvc exp run -S dataset.name=folder -S dataset.path=my_images -S \"dataset.images='images/**/*'\" \\": (
        "tests/test_labelling_loop.py"
    ),
    "dvc exp run -S select.start_from=kept": "tests/test_labelling_loop.py",
    "python -m stages.triage unlabelled ranking": "the same with other names",
    "python -m stages.predict": "the same with folders",
    "dvc metrics diff": "the same with names",
    "dvc exp run -S dataset.name=fashion_mnist -S network.name=cnn -S select.strategy=everything": (
        "tests/test_fashion_mnist.py and tests/test_variants.py, on images of their own"
    ),
}


def text_of(document: Path) -> str:
    """A document without its examples of code."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def shown() -> set[str]:
    """Lines of the documents that are commands, and commands between backticks."""
    text = "\n".join(map(text_of, DOCUMENTS))
    blocks = re.findall(r"^    (.+)$", text, re.MULTILINE)
    quoted = re.findall(r"`([^`\n]+)`", re.sub(r"^    .+$", "", text, flags=re.MULTILINE))
    found = {line.strip() for line in [*blocks, *quoted]}
    return {line for line in found if PROGRAMS.match(line) and not line.startswith("pip ")}


def test_every_command_is_run_by_a_test_or_it_is_said_why_not() -> None:
    commands = {line for line in shown() if not PLACEHOLDERS.search(line)}
    of_studies = {line for line in commands if line.startswith(STUDIES)}  # tests/test_studies.py runs one of its own
    assert commands - of_studies == {*AS_THEY_ARE, *EXPERIMENTS, *COMPARED, *QUEUED, *ELSEWHERE}
    defined = yaml.safe_load((ROOT / "stages/studies/studies.yaml").read_text())["studies"]
    assert {name for line in of_studies for name in line.removeprefix(STUDIES).split()} == set(defined)


def small(command: str, folder: Path) -> str:
    """A command with few and small pairs, and with folders that a test may write to."""
    for full, few in (
        ("precision=0.9", "precision=0.35"),
        ("train_count=600", "train_count=44"),
        ("test_count=200", "test_count=10"),
        ("image_size=48", "image_size=32"),
        ("budget.count=300", "budget.count=8"),
        ("network.base_filters=8", "network.name=residual_unet -S network.base_filters=4"),
        ("network.name=bn_unet", "network.name=bn_unet -S network.base_filters=4"),
        ("/mnt/store", str(folder / "store")),
        ("/big/cache", str(folder / "cache")),
        ("select.retrain=1000", "select.retrain=3"),
        ("FOLDER RANKING", "exported/images ranking"),
        ("FOLDER MASKS", "exported/images masks"),
        ("FOLDER QUEUE", "exported/images queue"),
        ("FOLDER", "exported"),
    ):
        command = command.replace(full, few)
    return command


@pytest.mark.slow
@pytest.mark.parametrize("command", EXPERIMENTS)
def test_an_experiment_runs_as_it_is_shown(project: Path, tmp_path: Path, command: str) -> None:
    output = succeed(project, *small(command, tmp_path).split())
    assert stages_run(output) == EXPERIMENTS[command]
    assert metrics(project, "select")["selected"] > 0
    assert (project / "metrics/report.html").exists()


@pytest.mark.slow
def test_experiments_are_compared_as_it_is_shown(project: Path, tmp_path: Path) -> None:
    said = {command: succeed(project, *small(command, tmp_path).split()) for command in COMPARED}
    assert "metrics/evaluate.json" in said["dvc metrics diff this stricter"]
    assert "stricter" in said["dvc exp show --only-changed"]
    assert "dvc_plots/index.html" in said["dvc plots diff this stricter"]
    assert succeed(project, "git", "status", "--porcelain", "params.yaml", "dvc.lock", "metrics") == ""


@pytest.mark.slow
def test_experiments_run_from_the_queue(project: Path, tmp_path: Path) -> None:
    queue, start, status = QUEUED
    succeed(project, *queue.split())
    variable, *words = start.split()
    succeed(project, *words, **dict([variable.split("=")]))
    deadline = time.monotonic() + QUEUE_SECONDS
    while (said := succeed(project, *status.split())).count("Success") < 2:
        assert "Failed" not in said, said
        assert time.monotonic() < deadline, said
        time.sleep(2)
    lines = succeed(project, "dvc", "exp", "show", "--csv").splitlines()
    orders = {line.split(",")[lines[0].split(",").index("select.order_seed")] for line in lines[1:]}
    assert {"1", "2"} <= orders


@pytest.mark.slow
def test_the_other_commands_run_as_they_are_shown(project: Path, tmp_path: Path) -> None:
    for command in AS_THEY_ARE:
        words = small(command, tmp_path).split()
        succeed(project, *words, *(["--force"] if words[:2] == ["dvc", "gc"] else []))
    assert len(list((project / "masks").iterdir())) == metrics(project, "select")["selected"]
    assert (project / "ranking/ranking.csv").exists()
    for file in ("CORE/annotations/instances_default.json", "SUSPECTS/annotations.xml", "queue/tasks.json"):
        assert (project / file).exists()
    assert any((tmp_path / "store").rglob("*.dir"))


def anchor(heading: str) -> str:
    """What GitHub calls a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(document)):
        if "://" in target:
            continue
        name, _, place = unquote(target).partition("#")
        path = Path(os.path.normpath(document.parent / name)) if name else document
        assert (ROOT / path).exists(), target
        if place:
            headings = re.findall(r"^#+ (.+)$", text_of(path), re.MULTILINE)
            assert place in map(anchor, headings), target


def test_the_headline_figures_are_those_of_the_committed_run() -> None:
    values = {name: json.loads((ROOT / f"metrics/{name}.json").read_text()) for name in ("seed", "select", "evaluate")}
    seed, select = values["seed"], values["select"]
    test, rejected = values["evaluate"]["test"], values["evaluate"]["rejected"]
    assert select["certified"]
    for end in (
        f"| **{select['selected']}** |",
        f"| **{rejected['below_bar']}** of {rejected['pairs']:,}, certified |",
        f"| **{test['below_bar']}** of {test['pairs']:,} |",
        f"| at most {100 * select['bound']['failing_share']:.2f} % |",
        f"| **{test['tiered_iou']:.4f}** |",
        f"| {test['soft_tiered_iou']:.4f} |",
        f"| {seed['epochs']} |",
        f"| {seed['pairs_trained']:,} + {select['pairs_trained']:,} |",
        f"| {select['pairs_scored']:,}; {select['passes']} |",
        f"| {seed['seconds']:.0f} + {select['seconds']:,.0f} |",
    ):
        assert f"{end}\n" in README, end


def test_the_table_of_parameters_is_that_of_their_descriptions() -> None:
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    assert [found[0] for found in PLACE.finditer(page)] == [f"<!-- parameters -->\n{table()}<!-- end -->"]
