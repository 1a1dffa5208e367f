"""The report and the page of plots in a real browser, and the figures that they tell."""

import csv
import re
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml

from stages import report
from stages.drawing import pictures
from stages.evaluate import SUSPECT
from stages.pairs.layout import Origins
from stages.pairs.read import Pairs
from stages.pairs.tables import HEADER, with_origins, write_csv
from stages.pipeline import paths
from stages.pipeline.errors import UserError
from stages.pipeline.files import read_arrays, write_json
from tests.browser import opened
from tests.conftest import Change, make_workspace
from tests.project import ROOT, core_of, metrics, succeed
from tests.sets import write_set

TEN_MEGABYTES = 10 * 2**20


def of_pool(count: int, chosen: int, size: int = 16, classes: int | None = None, files: Sequence[str] = ()) -> None:
    """All that stage report reads: a pool whose first pairs are chosen, figures, tables and curves that fit."""
    stream = np.random.default_rng(0)
    images = stream.integers(0, 256, (count, size, size, 3)).astype(np.uint8)
    masks = np.zeros((count, size, size, 1), np.uint8)
    masks[:, size // 4 : size // 2] = 1
    targets = masks if classes is None else (np.arange(count) % classes)[:, None].astype(np.uint8)
    origins = Origins([[file] for file in files], np.array([[row, 0, 0, 0] for row in range(count)])) if files else None
    write_set(paths.POOL, images, targets, classes, origins)
    write_set(paths.TEST, images[:4], targets[:4], classes)
    write_set(paths.CORE, images[:chosen], targets[:chosen], classes)
    lines = [(row, row, None if row < 2 else row % 8 / 10, row % 7) for row in range(chosen)]
    write_csv(paths.CORE_TABLE, *with_origins(HEADER, lines, [line[0] for line in lines], origins))
    write_csv(report.TABLES["test"], ["row", "score"], [(row, row / 4) for row in range(4)])
    rejected = range(chosen, count)
    write_csv(report.TABLES["suspects"], SUSPECT, [(row, 0.5, 0.25, "core") for row in rejected])
    shape = (classes,) if classes else (size, size, 1)
    arrays: dict[str, np.ndarray] = {}
    for name, shown in (("test", 4), ("suspects", len(rejected[:20]))):
        arrays |= {f"{name}_lines": np.arange(shown), f"{name}_predictions": stream.random((shown, *shape))}
    np.savez_compressed(paths.WORST, allow_pickle=False, **arrays)
    write_curves(chosen)
    write_figures(count, chosen)


def write_curves(chosen: int) -> None:
    for path in report.CURVES.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    epochs = [(epoch, epoch / 10, 1 / epoch) for epoch in range(1, 9)]
    write_csv(report.CURVES["seed"], ["epoch", "score", "loss"], epochs)
    rounds = [(2 * number, number, 0.9, 0.1, number) for number in range(1, chosen)]
    write_csv(report.CURVES["walk"], ["tested", "selected", "score", "loss", "epochs"], rounds)
    steps = [(step / 10, 0.25, 0.0, 1.0, step / 11) for step in range(12)]
    write_csv(report.CURVES["scores"], ["score", "test", "rejected", "chosen", "pool_below"], steps)


def write_figures(count: int, chosen: int) -> None:
    none = {"exact": 0, "near": 0, "shifted": 0}
    audit = {"within_pool": none, "within_test": none, "across": none, "leaking_test_pairs": 0, "seconds": 1.0}
    seed = {"epochs": 8, "pairs_trained": 16, "score": 0.9, "loss": 0.1, "seconds": 2.0}
    select = {
        "strategy": "first_failure", "pool": count, "tested": count,
        "selected": chosen, "certified": None, "passes": 1, "added_by_pass": {"1": chosen - 2}, "steps": 50,
        "pairs_trained": 1234, "stalled_rounds": 0, "retrained": 0, "failing": None, "set_aside": 0, "bound": None,
        "independent": True, "seconds": 3.0,
    }  # fmt: skip
    record = {
        "rows": count, "rows_digest": "0123456789abcdef", "threads": 2, "processor": "a processor",
        "precision_policy": "float32",
    }  # fmt: skip
    of_kind = {"pairs": 4, "score": 0.875, "min_score": 0.25, "below_bar": 3}
    evaluate = {
        "test": TESTED, "rejected": {**of_kind, "pairs": count - chosen},
        "chosen": {**of_kind, "pairs": chosen},
        "leaks": {"test_pairs": 0, "dropped": 0}, "bar": 0.8075, "seconds": 4.0,
    }  # fmt: skip
    masks = {"files": 9, "empty": 1, "full": 0, "values": {"0": 9, "255": 8}}
    held = {"pairs": 4, "empty": 1, "full": 0, "foreground": 0.125, "channels": 3}
    written: dict[str, dict[str, Any]] = {
        "train": {**held, "pairs": count, "masks": masks, "value_range": 65535, "left_out": {"a hidden file": 3}},
        "test": held,
        "audit": audit,
        "seed": seed,
        "select": select,
        "judge": {"judged": 0, "pairs_trained": 0, "seconds": 0.5},
        "evaluate": evaluate,
        "record": record,
    }
    for name, values in written.items():
        report.METRICS[name].parent.mkdir(exist_ok=True)
        write_json(report.METRICS[name], values)


@pytest.fixture
def stage(workspace: Path) -> Path:
    """The files of the project that stage report needs beside its inputs."""
    return with_template(workspace)


def with_template(folder: Path) -> Path:
    (folder / report.TEMPLATE).parent.mkdir()
    (folder / report.TEMPLATE).write_bytes((ROOT / report.TEMPLATE).read_bytes())
    (folder / "data").mkdir()
    return folder


class Written(NamedTuple):
    """A report: its page, and what was told the template."""

    page: Path
    context: Mapping[str, Any]

    def told(self, **changes: Any) -> str:
        """The page that the template makes of something else."""
        return report._render({**self.context, **changes})


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The report of 30 pairs of 1,200, in its folder; for tests that read it alone."""
    contexts: list[Mapping[str, Any]] = []
    render = report._render
    folder = with_template(make_workspace(tmp_path_factory.mktemp("report")))

    def remember(context: Mapping[str, Any]) -> str:
        contexts.append(context)
        return render(context)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(report, "_render", remember)
        of_pool(1200, 30, files=[f"images/{row}.png" for row in range(1200)])
        report.main()
    return Written(folder / paths.PAGE, contexts[0])


def text(path: Path) -> str:
    return said(path.read_text())


def said(page: str) -> str:
    """The text of a page, without its markup."""
    return " ".join(re.sub(r"<(style|script).*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL).split())


def test_the_report_answers_with_the_figures_of_the_run(written: Written) -> None:
    found = text(written.page)
    assert "30 of 1,200 pairs kept, 2.5 % of the pool" in found
    assert "Not certified: one pass was walked" in found
    assert "3 rejected pairs did, and 3 chosen ones" in found
    assert "test 4 0.8750 0.25 3 75 %" in found
    assert "1,250 pairs" in found
    assert "no test pair that is a copy" in found
    assert "a processor, 2 threads, float32" in found
    assert "seed_training.batch_size 11" in found


TESTED = {"pairs": 4, "score": 0.875, "min_score": 0.25, "below_bar": 3, "failing_share_at_most": 0.99}
PICKED = {
    "strategy": "pick_to_learn", "certified": True, "failing": 0, "added_by_pass": {"1": 25, "later": 3},
    "bound": {"failing_share": 0.0321, "chosen": 28, "candidates": 1198},
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "changes", "sentence"),
    [
        ("select", {"certified": True}, "Certified. In its last pass"),
        (
            "select",
            {"passes": 3, "added_by_pass": {"1": 8, "2": 1, "3": 0}},
            "3 times; these passes added 8, 1, 0 pairs",
        ),
        (
            "select",
            {"certified": False, "passes": 10},
            "Not certified: the last pass that select.first_failure.max_passes allows",
        ),
        ("select", {"strategy": "random", "certified": None}, "This strategy gives no certificate; 3 pairs"),
        ("select", {}, "does not follow from this walk: it also trains when a scan was long"),
        ("select", {"retrained": 700}, "a fresh network was trained on the core alone, in 700 steps"),
        ("select", PICKED, "Certified. The network that is saved scores every pair outside the core"),
        ("select", PICKED, "The first pass through the pool added 25 pairs; later ones, which begin"),
        ("select", PICKED, "Counted: 0 of the 1,170 pairs outside the core fail"),
        ("select", PICKED, "By theorem: at most 3.21 % of fresh pairs fail, since 28 of 1,198 pairs were enough"),
        ("select", PICKED, "By test set: 3 of 4 test pairs fail, so at most 99 % of fresh ones do"),
        ("select", {**PICKED, "independent": False}, "It does not apply as it stands"),
        ("select", {"stalled_rounds": 1}, "1 training round ended at select.first_failure.max_epochs"),
        ("select", {"stalled_rounds": 4}, "4 training rounds ended at select.first_failure.max_epochs"),
        ("train", {}, "train 1,200 1 0 12.5 % 0: 9, 255: 8 3: a hidden file test 4 1 0 12.5 % drawn none"),
        (
            "evaluate",
            {"test": {**TESTED, "foreground_pairs": 1, "foreground_score": 0.25, "foreground_below_bar": 1}},
            "3 test pairs are without foreground. The 1 with foreground score 0.2500; 1 of them are below the bar.",
        ),
        ("audit", {"leaking_test_pairs": 7}, "7 test pairs share an image with the pool"),
        ("audit", {"within_pool": {"exact": 2, "near": 1, "shifted": 0}}, "Within the pool it found 3 copies"),
        ("judge", {"judged": 1200}, "1,200 pairs in all. Of several judgements"),
        ("judge", {}, "Those of the core were not judged: judge.folds is 0."),
        ("select", {**PICKED, "set_aside": 5}, "but for 5 that were set aside: they score below 0.40"),
        ("select", {**PICKED, "set_aside": 5}, "Counted: 5 of the 1,170 pairs outside the core fail"),
        ("evaluate", {"rejected": {"pairs": 0}}, "0 rejected pairs did"),
        ("evaluate", {"test": {"pairs": 0}}, "30 of 1,200 pairs kept"),
    ],
)
def test_the_report_says_how_it_is(written: Written, name: str, changes: dict[str, Any], sentence: str) -> None:
    figures = written.context["metrics"]
    changed = {**figures, name: {**figures[name], **changes}}
    assert sentence in said(written.told(metrics=changed, suspect_below=0.40375))


def test_names_of_files_are_told_as_they_are_and_are_no_markup(written: Written) -> None:
    page = written.told(core=[{**line, "file": "<b>&amp;.png"} for line in written.context["core"]])
    assert page.count("&lt;b&gt;&amp;amp;.png") >= 30
    assert "<b>" not in page


def test_a_set_of_classes_is_reported(stage: Path, change: Change) -> None:
    change(**{"dataset.name": "fashion_mnist", "network.name": "cnn"})
    of_pool(40, 20, classes=10)
    report.main()
    assert {path.stem for path in paths.PICTURES.iterdir()} == {
        "pool", "chosen", "first_chosen", "core", "worst_test", "worst_suspects",
    }  # fmt: skip


def test_the_worst_pairs_are_titled_with_their_scores_and_suspects_with_what_they_fall_short(
    stage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    titled: dict[str, Sequence[str]] = {}
    drawn: dict[str, np.ndarray] = {}
    draw = pictures.draw_predictions

    def watched(path: Path, block: Any, predictions: Any, titles: Sequence[str], *classes: Any) -> None:
        titled[path.stem], drawn[path.stem] = titles, block.images
        draw(path, block, predictions, titles, *classes)

    monkeypatch.setattr(pictures, "draw_predictions", watched)
    of_pool(6, 4)
    report.main()
    assert titled["worst_suspects"] == ["row 4, score 0.5, 0.25 short", "row 5, score 0.5, 0.25 short"]
    assert titled["worst_test"][1] == "row 1, score 0.25"
    arrays = read_arrays(paths.WORST)
    arrays |= {"suspects_lines": np.array([1]), "suspects_predictions": arrays["suspects_predictions"][1:]}
    np.savez_compressed(paths.WORST, allow_pickle=False, **arrays)
    report.main()  # of the first suspect there is no prediction
    assert titled["worst_suspects"] == ["row 5, score 0.5, 0.25 short"]
    assert np.array_equal(drawn["worst_suspects"], Pairs(paths.POOL).read([5]).images)


def test_what_there_is_nothing_of_is_left_out(stage: Path) -> None:
    of_pool(4, 4)
    write_csv(report.CURVES["seed"], ["epoch", "score", "loss"], [])
    write_csv(report.CURVES["walk"], ["tested", "selected", "score", "loss", "epochs"], [])
    report.main()
    assert not (paths.PICTURES / "worst_suspects.png").exists()
    assert "Seed training: score" not in text(paths.PAGE)
    assert "This strategy does not walk." in text(paths.PAGE)


def test_a_strategy_that_chose_all_at_once_did_not_walk(stage: Path) -> None:
    of_pool(4, 4)
    write_csv(report.CURVES["seed"], ["epoch", "score", "loss"], [])
    rounds = [(30, 12, 0.9, 0.1, epoch) for epoch in range(1, 11)]
    write_csv(report.CURVES["walk"], ["tested", "selected", "score", "loss", "epochs"], rounds)
    report.main()
    assert "This strategy does not walk." in text(paths.PAGE)


def test_a_table_that_is_not_of_the_core_is_refused_and_what_is_there_stays(stage: Path) -> None:
    of_pool(6, 3)
    paths.PAGE.write_text("an earlier report")
    write_csv(paths.CORE_TABLE, HEADER, [(0, 0, None, 0)])
    with pytest.raises(UserError, match=r"^data/core\.csv: 1 lines, data/core\.zarr holds 3 pairs; `dvc checkout "):
        report.main()
    assert paths.PAGE.read_text() == "an earlier report"


@pytest.mark.parametrize("path", [paths.WORST, paths.CORE_TABLE, *report.METRICS.values(), *report.CURVES.values()])
def test_what_is_damaged_ends_in_one_line(stage: Path, path: Path) -> None:
    of_pool(6, 3)
    path.write_bytes(b"\xff")
    with pytest.raises(
        UserError, match=rf"^{path}: (damaged|not a table): .*; `dvc checkout --force {path}` restores it$"
    ):
        report.main()
    assert not paths.PAGE.exists()


def test_the_report_of_a_real_run_agrees_with_its_metrics(reproduced: Path) -> None:
    select, evaluate = metrics(reproduced, "select"), metrics(reproduced, "evaluate")
    found = text(reproduced / paths.PAGE)
    assert f"{select['selected']} of 40 pairs kept" in found
    assert f"test {evaluate['test']['pairs']} {evaluate['test']['score']:.4f}" in found
    assert re.search(r"code on commit [0-9a-f]{12} ", found)


@pytest.mark.browser
def test_the_report_of_five_hundred_chosen_pairs_can_be_mailed(stage: Path) -> None:
    of_pool(520, 500, size=128)
    report.main()
    assert paths.PAGE.stat().st_size < TEN_MEGABYTES
    with opened(paths.PAGE) as (page, requests, complaints):
        assert page.locator("#core tbody tr").count() == 500
        page.locator("#core img").last.scroll_into_view_if_needed()
        assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
        assert [url for url in requests if not url.startswith("data:")] == [paths.PAGE.resolve().as_uri()]
        assert complaints == []


@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 360])
def test_the_page_is_as_wide_as_the_window_and_can_be_read_in_it(written: Written, dark: bool, width: int) -> None:
    with opened(written.page, dark, width) as (page, _, complaints):
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        ink, paper = (
            sum(map(int, re.findall(r"\d+", page.evaluate(f"getComputedStyle(document.body).{name}"))[:3]))
            for name in ("color", "backgroundColor")
        )
        assert (ink > paper) == dark
        assert abs(ink - paper) > 500
        label = page.locator(".chart svg text").first
        of_page = page.evaluate("getComputedStyle(document.body).color")
        assert label.evaluate("text => getComputedStyle(text).fill") == of_page
        assert complaints == []


def column_of(page: Any, name: str) -> list[str]:
    names = [button.strip() for button in page.locator("#core th").all_inner_texts()]
    place = next(number for number, each in enumerate(names) if each.startswith(name))
    cells: list[str] = page.locator(f"#core tbody td:nth-child({place + 1})").all_inner_texts()
    return cells


@pytest.mark.browser
def test_the_core_is_sorted_by_what_is_clicked_or_chosen_by_keyboard(written: Written) -> None:
    with opened(written.page) as (page, _, complaints):
        assert column_of(page, "row") == [str(row) for row in range(30)]
        button = page.get_by_role("button", name="score")
        button.click()
        scores = column_of(page, "score")
        assert scores[-2:] == ["", ""]  # the seed pairs have none
        assert [float(score) for score in scores[:-2]] == sorted(float(score) for score in scores[:-2])
        assert button.locator("..").get_attribute("aria-sort") == "ascending"
        button.press("Enter")
        again = column_of(page, "score")
        assert again[:-2] == scores[:-2][::-1]
        assert again[-2:] == ["", ""]
        page.get_by_role("button", name="file").click()
        assert column_of(page, "file") == [f"images/{row}.png" for row in range(30)]  # 2 before 10
        assert page.locator("th[aria-sort]").count() == 1
        assert complaints == []


@pytest.mark.browser
def test_headings_and_pictures_can_be_read_aloud(written: Written) -> None:
    with opened(written.page) as (page, _, _):
        assert page.locator("h1").count() == 1
        assert page.locator("img:not([alt])").count() == 0
        assert page.locator("[role=img]:not([aria-label])").count() == 0
        assert page.locator("html[lang=en]").count() == 1
        targets = page.eval_on_selector_all("nav a", "links => links.map(link => link.hash.slice(1))")
        assert len(targets) == 7
        assert all(page.locator(f"#{target}").count() == 1 for target in targets)


@pytest.mark.browser
def test_it_prints_on_pages_with_every_row_of_the_core(written: Written, tmp_path: Path) -> None:
    with opened(written.page) as (page, _, _):
        page.emulate_media(media="print")
        hidden = "list => list.scrollHeight - list.clientHeight"
        assert page.locator(".list").evaluate(hidden) <= 0
        assert not page.locator("nav").is_visible()
        assert len(page.pdf(path=str(tmp_path / "report.pdf"))) > 10_000


@pytest.mark.browser
def test_the_report_of_a_real_run_has_every_pair_of_its_core(reproduced: Path) -> None:
    with opened(reproduced / paths.PAGE) as (page, _, complaints):
        assert page.locator("#core tbody tr").count() == len(core_of(reproduced))
        assert complaints == []


@pytest.mark.browser
@pytest.mark.slow
def test_report_and_plots_follow_another_precision_and_back(project: Path) -> None:
    before = (project / paths.PAGE).read_text()
    curve = (project / "metrics/plots/walk.csv").read_text()
    succeed(project, "dvc", "exp", "save", "--name", "this")  # as the report says
    succeed(project, "dvc", "exp", "run", "--name", "stricter", "-S", "precision=0.5")
    assert "precision 0.5 times" in text(project / paths.PAGE)
    assert "evaluate.json" in succeed(project, "dvc", "metrics", "diff", "this", "stricter")
    page = succeed(project, "dvc", "plots", "diff", "this", "stricter")
    shown = Path(re.findall(r"file://(\S+)", page)[-1])
    check_plots(shown, {"this", "stricter"})
    succeed(project, "git", "checkout", "--quiet", "--force", ".")
    succeed(project, "dvc", "checkout", "--force", "--quiet")
    assert (project / paths.PAGE).read_text() == before
    assert (project / "metrics/plots/walk.csv").read_text() == curve


@pytest.mark.browser
def test_the_plots_are_shown_without_a_network(project: Path) -> None:
    page = succeed(project, "dvc", "plots", "show")
    check_plots(Path(re.findall(r"file://(\S+)", page)[-1]), {"workspace"})


def check_plots(path: Path, revisions: set[str]) -> None:
    """Check that a page of `dvc plots` draws every curve with its title, and every picture."""
    with opened(path) as (page, requests, complaints):
        page.wait_for_function("document.querySelectorAll('.vega-embed canvas, .vega-embed svg').length >= 10")
        drawn = page.locator(".vega-embed").count()
        assert drawn == 10
        charts = path.read_text()
        for title in ("Seed training: loss", "The walk: pairs chosen by pairs tested", "Test pairs: share by score"):
            assert f'"text": "{title}"' in charts
        for revision in revisions:
            assert f'"rev": "{revision}"' in charts
        assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
        assert page.locator("img").count() >= 5
        assert all(url.startswith(("file:", "data:", "blob:")) for url in requests)
        assert not [each for each in complaints if each.startswith("error")]  # Vega-Lite warns of DVC's templates


@pytest.mark.browser
def test_no_cell_of_the_core_is_lost(written: Written) -> None:
    with (written.page.parent.parent / paths.CORE_TABLE).open(newline="") as file:
        lines = list(csv.DictReader(file))
    with opened(written.page) as (page, _, _):
        for name in ("row", "order", "score", "epochs"):
            assert column_of(page, name) == [line[name] for line in lines]


def test_the_commands_of_the_page_set_parameters_that_there_are() -> None:
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    keys = re.findall(r"-S ([\w.]+)=", (ROOT / report.TEMPLATE).read_text(encoding="utf-8"))
    assert len(keys) >= 4
    for key in keys:
        reduce(getitem, key.split("."), values)
