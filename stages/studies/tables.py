"""Tables of studies in Markdown, and their figures: a line or a cell shows the mean of the runs that belong to it."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import sqrt
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from scipy.special import stdtrit

from stages.drawing import charts
from stages.pipeline.params.choices import get
from stages.studies.definitions import Figure, Study, Table, reference_in
from stages.studies.results import FOLDER, Result

README = FOLDER / "README.md"
CONFIDENCE = 0.95  # of the intervals
COLLAPSED = 0.01  # a network collapsed if its probabilities spread by less than this over an image, in the mean
Results = Mapping[str, Result]


def write(name: str, study: Study, results: Results, defaults: Mapping[str, Any]) -> None:
    """Write the table of a study into a file of its own and into its place in README.md, and draw its figure.

    Parameters
    ----------
    name : str
        Name of the study.
    study : Study
    results : mapping of str to dict
        Results of its runs by name, each with the ``line`` of its run.
    defaults : mapping
        All parameters as they are where a run does not change them.
    """
    lines = table_of(study.table, results, defaults)
    (FOLDER / f"{name}.md").write_text("\n".join([study.asks, "", *lines, ""]), encoding="utf-8")
    if study.figure:
        _draw(FOLDER / f"{name}.png", study.figure, results, defaults)
    if study.intervals:
        _draw_intervals(FOLDER / f"{name}.png", study.intervals, study.table, results, defaults)
    place = re.compile(rf"(<!-- study {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    text = README.read_text(encoding="utf-8")
    README.write_text(place.sub(lambda match: match[1] + "\n".join(lines) + "\n" + match[2], text), encoding="utf-8")


def table_of(table: Table, results: Results, defaults: Mapping[str, Any]) -> list[str]:
    """The lines of a table in Markdown.

    Parameters
    ----------
    table : Table
    results, defaults
        See `write`.

    Returns
    -------
    list of str
        The head, and a line for each combination of what tells lines apart. Where several runs share a line, a column
        gives their mean, and how far its 95 % interval by Student's t reaches to either side. A difference from the
        runs of another line is in bold where this interval leaves out zero.
    """

    def line(label: Iterable[str], names: Iterable[str]) -> list[str]:
        runs = [results[name].get("diverged", False) for name in names]
        count = f"{len(runs)}, {sum(runs)} diverged" if any(runs) else str(len(runs))
        return [*label, count, *(_cell(column, names, results) for column in table.columns.values())]

    groups = _groups(table.rows.values(), results, defaults)
    lines = [[*table.rows, "runs", *table.columns], *(line(label, names) for label, names in groups.items())]
    if table.total and len(groups) > 1:
        lines.append(line(["all", *[""] * (len(table.rows) - 1)], results))
    head, *body = [f"| {' | '.join(cells)} |" for cells in lines]
    return [head, "|" + "---|" * len(lines[0]), *body]


def _groups(keys: Iterable[str], results: Results, defaults: Mapping[str, Any]) -> dict[tuple[str, ...], list[str]]:
    """Names of runs by what tells them apart."""
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, result in results.items():
        groups[tuple(_label(key, result, defaults) for key in keys)].append(name)
    return groups


def _label(key: str, result: Result, defaults: Mapping[str, Any]) -> str:
    """The line of a run, or the value of a parameter; of a reference its words without the run."""
    if key == "line":
        return str(result["line"])
    value = result["changes"].get(key, get(defaults, key))
    reference = reference_in(value)
    return reference.words if reference else _show(value)


def _cell(column: str, names: Iterable[str], results: Results) -> str:
    """The mean of a column over some runs, as far as they have a value, and half the length of its interval."""
    values = _values(column, names, results)
    if not values:
        return "–"
    if column in COUNTED:
        return f"{sum(values):.0f} of {len(values)}"
    middle = mean(values)
    if len(values) == 1:
        return _show(middle)
    reach = _reach(values)
    cell = f"{_show(middle)} ± {_show(reach)}"
    return f"**{cell}**" if column.startswith("difference") and abs(middle) > reach else cell


def _reach(values: Sequence[float]) -> float:
    """Half the length of the interval of a mean, by Student's t; of one value 0."""
    if len(values) == 1:
        return 0.0
    return float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2)) * stdev(values) / sqrt(len(values))


def _values(column: str, names: Iterable[str], results: Results) -> list[float]:
    kind, _, argument = column.partition(" ")
    found = (
        COMPUTED[kind](argument, name, results) if kind in COMPUTED else get(results[name], column) for name in names
    )
    return [float(value) for value in found if value is not None]


def _collapsed(_: str, name: str, results: Results) -> bool | None:
    """Whether a network gives every pixel about the same value."""
    spread = get(results[name], "evaluate.test.mean_spread")
    return None if spread is None else spread < COLLAPSED


def _failing(_: str, name: str, results: Results) -> float | None:
    """The share of test pairs that fail."""
    test = get(results[name], "evaluate.test") or {}
    return test["below_bar"] / test["pairs"] if test.get("pairs") else None


def _broken(_: str, name: str, results: Results) -> bool | None:
    """Whether more test pairs fail than the bound on fresh pairs allows."""
    bound, failing = get(results[name], "select.bound.failing_share"), _failing("", name, results)
    return None if bound is None or failing is None else failing > bound


def _shared(keys: str, name: str, results: Results) -> float | None:
    """Rows that a core shares with that of another run, in the mean over those with equal values of some parameters."""

    def values(result: Result) -> list[Any]:
        return [result["changes"].get(key) for key in keys.replace(",", " ").split()]

    own = results[name]
    others = [
        each["rows"]
        for other, each in results.items()
        if other != name and "rows" in each and values(each) == values(own)
    ]
    rows = set(own.get("rows", []))
    return mean(len(rows.intersection(other)) for other in others) if rows and others else None


def _first(count: str, name: str, results: Results) -> int | None:
    """Rows of a core among the first ones of the pool."""
    rows = results[name].get("rows")
    return None if rows is None else sum(row < int(count) for row in rows)


def _difference(argument: str, name: str, results: Results) -> float | None:
    """A metric less that of the run with the same seeds in another line."""
    metric, line = argument.split(maxsplit=1)

    def seeds(result: Result) -> dict[str, Any]:
        return {key: value for key, value in result["changes"].items() if key.endswith("seed")}

    own = results[name]
    others = [each for each in results.values() if each["line"] == line != own["line"] and seeds(each) == seeds(own)]
    pairs = [(get(own, metric), get(other, metric)) for other in others]
    known = [mine - other for mine, other in pairs if mine is not None and other is not None]
    return mean(known) if known else None


# Columns beside plain metrics, by their first word: `collapsed`, `failing`, `broken`, `shared KEYS`, `first COUNT`,
# `difference METRIC LINE`.
COMPUTED: dict[str, Callable[[str, str, Results], float | None]] = {
    "collapsed": _collapsed,
    "failing": _failing,
    "broken": _broken,
    "shared": _shared,
    "first": _first,
    "difference": _difference,
}
COUNTED = ("collapsed", "broken")  # shown as a number of runs


def _show(value: Any) -> str:
    if not isinstance(value, float):
        return "null" if value is None else str(value)
    return f"{value:.0f}" if value == round(value) or abs(value) >= 1000 else f"{value:.4g}"


def _draw(path: Path, figure: Figure, results: Results, defaults: Mapping[str, Any]) -> None:
    groups = _groups([*figure.rows.values(), *figure.columns.values()], results, defaults)
    cells = {}
    for label, names in groups.items():
        row, column = label[: len(figure.rows)], label[len(figure.rows) :]
        if values := _values(figure.value, names, results):
            cells[_heading(figure.rows, row), _heading(figure.columns, column)] = mean(values)
    if cells:
        path.write_bytes(charts.heat_map(cells, figure.title))


def _draw_intervals(path: Path, heading: str, table: Table, results: Results, defaults: Mapping[str, Any]) -> None:
    found = []
    for label, names in _groups(table.rows.values(), results, defaults).items():
        if values := _values(table.columns[heading], names, results):
            found.append((", ".join(label), mean(values), _reach(values)))
    path.write_bytes(charts.intervals(found, f"{heading}: mean and 95 % interval"))


def _heading(names: Iterable[str], values: Iterable[str]) -> str:
    return ", ".join(f"{name} {value}".strip() for name, value in zip(names, values, strict=True))
