"""Stage ``report``: pictures, and one page that says what was kept, whether it is safe, what it costs, and why."""

import subprocess
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from stages.drawing import charts, pictures
from stages.drawing.colors import as_rgb, mask_as_rgb
from stages.pairs.layout import Block, PixelClass
from stages.pairs.read import Pairs
from stages.pairs.tables import read_table
from stages.pipeline import paths
from stages.pipeline.entry import run
from stages.pipeline.errors import UserError
from stages.pipeline.files import atomic, read_arrays, read_metrics, read_output
from stages.pipeline.params import load
from stages.pipeline.params.sections import Params, Section
from stages.pipeline.progress import Progress

TABLES = {"test": paths.TEST_SCORES, "suspects": paths.SUSPECTS}
CURVES = {"seed": paths.SEED_CURVE, "walk": paths.WALK_CURVE, "scores": paths.SCORES_CURVE}
METRICS = {
    "train": paths.POOL_METRICS,
    "test": paths.TEST_METRICS,
    "audit": paths.AUDIT_METRICS,
    "seed": paths.SEED_METRICS,
    "select": paths.SELECT_METRICS,
    "judge": paths.JUDGE_METRICS,
    "evaluate": paths.EVALUATE_METRICS,
    "record": paths.CORE_RECORD,
}
TEMPLATE = Path("stages/drawing/report.html")

OVERVIEW_PIXELS = 840

RANDOM = 10  # pairs of which some are shown as they come
FIRST = 20  # of the core
MOST_SHOWN = 2000  # pairs of the core on one sheet, and with thumbnails; more would be too large to look at, or to mail
THUMBNAIL = 64  # pixels
PACKAGES = ("tensorflow", "keras", "numpy", "zarr", "dvc")
KINDS = ("test", "rejected", "chosen", "excluded")


def main() -> None:
    """Write the pictures, the page, and the script by which ``dvc plots`` draws without a network."""
    params = load("report")
    metrics = {name: read_output(path, read_metrics) for name, path in METRICS.items()}
    pool, test, core = Pairs(paths.POOL), Pairs(paths.TEST), Pairs(paths.CORE)
    table = read_output(paths.CORE_TABLE, read_table)
    if len(table) != len(core):
        raise UserError(
            f"{paths.CORE_TABLE}: {len(table)} lines, {paths.CORE} holds {len(core)} pairs; "
            f"`dvc checkout --force {paths.CORE_TABLE} {paths.CORE}` restores both"
        )
    with (
        atomic(paths.PAGE, paths.PICTURES, paths.SCRIPT, paths.OVERVIEW) as (page, folder, script, overview),
        Progress("report", 4, "part") as progress,
    ):
        folder.mkdir()
        _draw_montage(overview, core, FIRST, across=RANDOM, widest=OVERVIEW_PIXELS)
        _draw_pairs(folder, pool, core, table)
        progress.show(1)
        _draw_worst(folder, {"test": test, "suspects": pool})
        progress.show(2)
        context = {
            "metrics": metrics,
            "params": _flat(params),
            "core": _rows_of_core(core, table),
            "columns": [name for name in table[0] if name != "row"],
            "suspect_below": params.suspect_below,
            "colors": {each.name: each.color for each in pool.classes},
            "kinds": [kind for kind in KINDS if kind in metrics["evaluate"]],
            "charts": _charts(params, metrics, table),
            "pictures": {
                path.stem: pictures.embedded(path) for path in sorted(folder.iterdir()) if path.stem != "core"
            },
            "versions": {name: version(name) for name in PACKAGES},
            "code": _code(),
        }
        progress.show(3)
        page.write_text(_render(context), encoding="utf-8")
        script.write_text(charts.page_script(), encoding="utf-8")
        progress.show(4)


def _draw_pairs(folder: Path, pool: Pairs, core: Pairs, table: Sequence[Mapping[str, str]]) -> None:
    """Some pairs of the pool and of the core as they come, the first of the core, and all of it."""
    drawn = np.random.default_rng(0)
    some = np.sort(drawn.choice(len(pool), min(RANDOM, len(pool)), replace=False))
    pictures.draw_pairs(folder / "pool.png", pool.read(some), [f"row {row}" for row in some], pool.classes)
    titles = [f"row {line['row']}" for line in table]
    for name, places in (
        ("chosen", np.sort(drawn.choice(len(core), min(RANDOM, len(core)), replace=False))),
        ("first_chosen", np.arange(min(FIRST, len(core)))),
    ):
        shown = [titles[place] for place in places]
        pictures.draw_pairs(folder / f"{name}.png", core.read(places), shown, pool.classes)
    _draw_montage(folder / "core.png", core, MOST_SHOWN)


def _draw_montage(path: Path, core: Pairs, most: int, **options: int) -> None:
    """The first pairs of the core close together, read a few at a time."""
    count = min(most, len(core))
    blocks = np.split(np.arange(count), range(RANDOM, count, RANDOM))
    pictures.draw_montage(path, core.stream(blocks), (count, *core.layout.image_shape[:2]), **options)


def _draw_worst(folder: Path, sets: Mapping[str, Pairs]) -> None:
    """The pairs of the lowest scores, and what the network says of them."""
    worst = read_output(paths.WORST, read_arrays)
    for name, pairs in sets.items():
        places, predictions = worst[f"{name}_lines"].tolist(), worst[f"{name}_predictions"]
        if not places:
            continue
        lines = read_output(TABLES[name], partial(read_table, most=places[-1] + 1))
        shown = [lines[place] for place in places]
        block, titles = pairs.read([int(line["row"]) for line in shown]), [_title(line) for line in shown]
        pictures.draw_predictions(folder / f"worst_{name}.png", block, predictions, titles, sets["suspects"].classes)


def _title(line: Mapping[str, str]) -> str:
    """What stands above a pair: its row, its score, and by how much that falls short, where the table says so."""
    title = f"row {line['row']}, score {float(line['score']):.2g}"
    return f"{title}, {float(line['shortfall']):.2f} short" if "shortfall" in line else title


def _rows_of_core(core: Pairs, table: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """The lines of the table of the core, and how their pairs look, but for those beyond what a page can hold."""
    found: list[dict[str, Any]] = [{**line, "thumbnails": []} for line in table]
    shown = found[:MOST_SHOWN]
    for start in range(0, len(shown), RANDOM):
        lines = shown[start : start + RANDOM]
        thumbnails = _thumbnails(core.read(range(start, start + len(lines))), core.classes)
        for line, each in zip(lines, thumbnails, strict=True):
            line["thumbnails"] = each
    return found


def _thumbnails(block: Block, classes: Sequence[PixelClass]) -> list[list[str]]:
    """Of each pair its image, and its mask if it has one; as data URLs."""
    views = [[as_rgb(image)] for image in block.images]
    if block.targets.ndim == 4:
        for view, mask in zip(views, block.targets, strict=True):
            view.append(mask_as_rgb(mask, classes))
    return [[pictures.thumbnail(each, THUMBNAIL) for each in view] for view in views]


def _charts(params: Params, metrics: Mapping[str, Any], table: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The curves, by name; those of which there are no data are left out."""
    seed, walk, scores = (_numbers(read_output(path, read_table)) for path in CURVES.values())
    core = _numbers([{key: line[key] for key in ("order", "epochs")} for line in table])
    shares = {name: [line[name] for line in scores] for name in scores[0]}
    below = {"score": shares["score"], "pool": [share or None for share in shares.pop("pool_below")]}
    bar = metrics["evaluate"]["bar"]
    share_of_pairs = ("score, lower end of a step", "share of pairs")
    found = {}
    if any(line["score"] is not None for line in seed):
        found["seed_score"] = charts.line(seed, "epoch", "score", ("epoch", "mean score"), rule=params.precision)
        found["seed_loss"] = charts.line(seed, "epoch", "loss", ("epoch", "loss"))
    if len({line["selected"] for line in walk}) > 1:  # with a budget all pairs are chosen before the first round
        found["walk"] = charts.line(walk, "tested", "selected", ("pairs tested", "pairs chosen"))
        found["walk_score"] = charts.line(
            walk, "selected", "score", ("pairs chosen", "mean score, last epoch"), "point", params.precision
        )
        found["walk_loss"] = charts.line(walk, "selected", "loss", ("pairs chosen", "loss, last epoch"), "point")
    if any(line["epochs"] for line in core):
        found["epochs"] = charts.line(core, "order", "epochs", ("place in the core", "steps, or epochs"), "bar")
    found["scores"] = charts.lines(shares, "score", share_of_pairs, bar, {"domainMin": 0})
    if any(below["pool"]):
        found["pool_below"] = charts.lines(
            below, "score", ("score", "share of the pool below it, logarithmic"), bar, {"type": "log"}
        )
    return found


def _flat(section: Section, above: str = "") -> dict[str, Any]:
    """Parameters by dotted names."""
    found: dict[str, Any] = {}
    for name, value in section:
        found |= _flat(value, f"{above}{name}.") if isinstance(value, Section) else {f"{above}{name}": value}
    return found


def _code() -> dict[str, Any]:
    """The commit that this ran on, and files of the pipeline that were changed since; empty without git."""
    try:
        commit = _git("rev-parse", "--short=12", "HEAD").strip()
        changed = _git("status", "--porcelain", "--", "stages", "params.yaml", "dvc.yaml").splitlines()
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"commit": commit, "changed": [line[3:] for line in changed]}


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout


def _render(context: Mapping[str, Any]) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(context)


def _numbers(lines: Sequence[Mapping[str, str]]) -> list[dict[str, float | None]]:
    return [{key: float(value) if value else None for key, value in line.items()} for line in lines]


if __name__ == "__main__":
    run("report", main)
