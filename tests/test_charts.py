"""Charts: curves as SVG that needs nothing from elsewhere and takes its ink from the page, and heat maps as PNG."""

import io
import re
import xml.etree.ElementTree as ElementTree

import pytest
import vl_convert
from PIL import Image

from stages.drawing import charts

POINTS = [{"epoch": float(number), "score": number / 10} for number in range(11)]


def shapes_of(svg: str, role: str) -> int:
    """How many paths are drawn for marks of a kind."""
    groups = [each for each in ElementTree.fromstring(svg).iter() if f"mark-{role}" in each.get("class", "")]
    return sum(path.tag.endswith("}path") for group in groups for path in group.iter())


def texts(svg: str) -> list[str]:
    return [each.text or "" for each in ElementTree.fromstring(svg).iter() if each.tag.endswith("}text")]


@pytest.mark.parametrize(
    ("mark", "role", "shapes"), [("line", "line", 1), ("point", "symbol", 11), ("bar", "rect", 11)]
)
def test_a_curve_shows_its_points_and_names_its_axes(mark: str, role: str, shapes: int) -> None:
    svg = charts.line(POINTS, "epoch", "score", ("epoch", "mean score"), mark)
    assert {"epoch", "mean score"} <= set(texts(svg))
    assert shapes_of(svg, role) == shapes


def test_the_ink_is_that_of_the_page_and_nothing_is_loaded() -> None:
    svg = charts.line(POINTS, "epoch", "score", ("epoch", "mean score"), rule=0.85)
    assert 'fill="currentColor"' in svg
    assert not re.search(r'(?:fill|stroke)="(?:black|#000|#000000|#888|white)"', svg)
    assert not re.search(r"(?:href|src|url)\s*[=(]", svg)
    assert "stroke-dasharray" in svg


def test_absent_values_are_left_out() -> None:
    gaps = [{"epoch": None, "score": 1.0}, {"epoch": 3.0, "score": None}]
    svg = charts.line([*POINTS, *gaps], "epoch", "score", ("", ""), "point")
    assert shapes_of(svg, "symbol") == len(POINTS)


def test_curves_of_several_kinds_differ_in_colour_dashes_and_shape() -> None:
    columns: dict[str, list[float | None]] = {
        "score": [0.0, 0.5, 1.0],
        "test": [0.1, 0.2, 0.7],
        "rejected": [0.0, None, 1.0],
    }
    svg = charts.lines(columns, "score", ("score", "share"), 0.8, {"domainMin": 0})
    assert {"test", "rejected", "score", "share"} <= set(texts(svg))
    assert all(colour in svg for colour in charts.COLOURS[:2])
    assert charts.COLOURS[2] not in svg


def test_shares_can_stand_on_a_logarithmic_axis() -> None:
    columns = {"score": [0.1, 0.2, 0.3], "pool": [0.001, 0.01, 1.0]}
    ticks = texts(charts.lines(columns, "score", ("score", "share"), 0.2, {"type": "log"}))
    assert {0.001, 0.01, 0.1, 1.0} <= {float(tick) for tick in ticks if tick.replace(".", "").isdecimal()}


CELLS = {("row a", "x, 1"): 0.123, ("row b", "x, 1"): 0.234, ("row b", "y, 2"): 0.0}


def test_a_heat_map_has_a_colour_for_each_value_and_leaves_a_missing_cell_blank() -> None:
    picture = charts.heat_map(CELLS, "Spread")
    with Image.open(io.BytesIO(picture)) as opened:
        assert opened.format == "PNG"
        colours = opened.convert("RGB").getcolors(10**6) or []
    cell = charts.CELL_WIDTH * charts.CELL_HEIGHT
    assert sum(count > cell for count, colour in colours if colour != (255, 255, 255)) == len(CELLS)
    assert charts.heat_map(CELLS, "Spread") == picture
    assert charts.heat_map({**CELLS, ("row b", "x, 1"): 0.3}, "Spread") != picture


def test_a_heat_map_names_rows_columns_and_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        vl_convert, "vegalite_to_png", lambda chart, vl_version, scale: vl_convert.vegalite_to_svg(chart, vl_version)
    )
    svg = str(charts.heat_map(CELLS, "Spread"))
    assert {"0.12", "0.23", "0", "row a", "row b", "Spread"} <= set(texts(svg))
    assert {"x", "1", "y", "2"} <= {each.text for each in ElementTree.fromstring(svg).iter() if each.text}


def test_intervals_have_a_labelled_line_each_as_long_as_they_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        vl_convert, "vegalite_to_png", lambda chart, vl_version, scale: vl_convert.vegalite_to_svg(chart, vl_version)
    )
    svg = str(
        charts.intervals([("60, random", 30.0, 10.0), ("60, core", 10.0, 5.0), ("one run", 20.0, 0.0)], "Failures")
    )
    assert {"Failures", "60, random", "60, core", "one run"} <= set(texts(svg))
    rules = [each for each in ElementTree.fromstring(svg).iter() if "rule" in each.get("aria-roledescription", "")]
    lengths = [float(rule.attrib["x2"]) for rule in rules if "x2" in rule.attrib]
    assert lengths == [lengths[0], lengths[0] / 2, 0]


def test_the_script_of_the_page_stands_alone() -> None:
    script = charts.page_script()
    assert "window.vegaEmbed" in script
    assert not re.search(r"^\s*(?:import|export)\b", script, re.MULTILINE)
