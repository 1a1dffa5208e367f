"""Vega-Lite charts: curves of the report as SVG, in the text colour of the page, light or dark; heat maps as PNG."""

from collections.abc import Mapping, Sequence
from typing import Any

VEGA_LITE = "5.21"
WIDTH, HEIGHT = 520, 240
# Colours that colour-blind people tell apart, on white and on black (Okabe & Ito, 2008).
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"]
DASHES = [[1, 0], [6, 3], [2, 2], [8, 2, 2, 2]]
INK = "currentColor"
PAGE_STYLE = {
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": INK,
        "titleColor": INK,
        "domainColor": INK,
        "tickColor": INK,
        "gridColor": INK,
        "gridOpacity": 0.15,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelOverlap": True,
    },
    "axisX": {"tickCount": 6},
    "legend": {
        "labelColor": INK,
        "titleColor": INK,
        "labelFontSize": 12,
        "symbolSize": 120,
        "symbolStrokeWidth": 2,
        "orient": "top",
        "title": None,
    },
}
# A picture stands on white, with a font that comes with vl-convert, so that every machine draws the same.
PICTURE_STYLE = {
    "background": "white",
    "font": "Liberation Sans",
    "view": {"stroke": None},
    "axis": {"domain": False, "ticks": False, "labelFontSize": 13, "labelPadding": 8, "labelLimit": 0},
    "title": {"fontSize": 16, "fontWeight": "normal", "anchor": "start"},
}
CELL_WIDTH, CELL_HEIGHT = 120, 40
LINE_HEIGHT = 26


def line(
    points: Sequence[Mapping[str, Any]],
    x: str,
    y: str,
    labels: tuple[str, str],
    mark: str = "line",
    rule: float | None = None,
) -> str:
    """A curve, points or bars.

    Parameters
    ----------
    points : sequence of mapping
        Rows of a table; a row without one of the two values is left out.
    x, y : str
        Columns of the table.
    labels : tuple of str
        Titles of the horizontal and the vertical axis.
    mark : {"line", "point", "bar"}
        Kind of chart; bars stand at 0, 1, 2 and so on.
    rule : float, optional
        Value of ``y`` with a dashed line across.

    Returns
    -------
    str
        An SVG element.
    """
    given = [{x: point[x], y: point[y]} for point in points if point[x] is not None and point[y] is not None]
    style, across = _STYLES[mark], {}
    if mark == "bar":
        style = {"size": max(1, 0.8 * WIDTH / max(1, len(given)))}
        across = {"domain": [-1, len(given)], "nice": False}
    layers: list[dict[str, Any]] = [
        {
            "mark": {"type": mark, "color": COLOURS[0], **style},
            "encoding": {"x": _axis(x, labels[0], across), "y": _axis(y, labels[1])},
        }
    ]
    if rule is not None:
        layers.append(_rule("y", rule))
    return _draw({"data": {"values": given}, "layer": layers})


def lines(
    columns: Mapping[str, Sequence[float | None]],
    x: str,
    labels: tuple[str, str],
    rule: float,
    scale: Mapping[str, Any],
) -> str:
    """A chart with a curve and its points for each column of a table.

    Parameters
    ----------
    columns : mapping of str to sequence
        The table by column; absent values are left out.
    x : str
        Column of the horizontal axis; every other column is a curve.
    labels : tuple of str
        Titles of the horizontal and the vertical axis.
    rule : float
        Value of ``x`` with a dashed line upright.
    scale : mapping
        Scale of the vertical axis, in Vega-Lite's terms.

    Returns
    -------
    str
        An SVG element.
    """
    names = [name for name in columns if name != x]
    given = [
        {x: place, "share": value, "kind": name}
        for name in names
        for place, value in zip(columns[x], columns[name], strict=True)
        if value is not None
    ]
    encoding = {
        "x": _axis(x, labels[0], {"domain": [0, max(place for place in columns[x] if place is not None)]}),
        "y": _axis("share", labels[1], scale),
        "color": {"field": "kind", "scale": {"domain": names, "range": COLOURS[: len(names)]}},
        "strokeDash": {"field": "kind", "scale": {"domain": names, "range": DASHES[: len(names)]}},
        "shape": {"field": "kind", "scale": {"domain": names}},
    }
    curves = {"data": {"values": given}, "mark": {"type": "line", "point": {"size": 50}}, "encoding": encoding}
    return _draw({"layer": [curves, _rule("x", rule)]})


def heat_map(cells: Mapping[tuple[str, str], float], title: str) -> bytes:
    """A table of numbers, each on a colour for its value.

    Parameters
    ----------
    cells : mapping of (str, str) to float
        Values by the labels of row and column, in the order in which they appear; a missing cell stays blank. The parts
        of a column's label, between commas, stand below each other.
    title : str
        Name of the values.

    Returns
    -------
    bytes
        A PNG picture.
    """
    middle = (min(cells.values()) + max(cells.values())) / 2
    given = [
        {"row": row, "column": column, "value": value, "text": f"{value:.2g}"} for (row, column), value in cells.items()
    ]
    colour = {"field": "value", "type": "quantitative", "scale": {"scheme": "cividis"}, "legend": None}
    ink = {"condition": {"test": f"datum.value < {middle}", "value": "white"}, "value": "black"}
    across = {"labelAngle": 0, "labelBaseline": "top", "labelExpr": "split(datum.label, ', ')"}
    places = {"type": "nominal", "sort": None, "title": None}
    chart = {
        "title": title,
        "data": {"values": given},
        "width": {"step": CELL_WIDTH},
        "height": {"step": CELL_HEIGHT},
        "encoding": {"x": {"field": "column", "axis": across, **places}, "y": {"field": "row", **places}},
        "layer": [
            {"mark": "rect", "encoding": {"color": colour}},
            {"mark": {"type": "text", "fontSize": 14}, "encoding": {"text": {"field": "text"}, "color": ink}},
        ],
    }
    return _picture(chart)


def intervals(values: Sequence[tuple[str, float, float]], title: str) -> bytes:
    """Means and how far their intervals reach, each on a line of its own.

    Parameters
    ----------
    values : sequence of (str, float, float)
        Label, mean, and half the length of the interval; 0 where there is none. The parts of a label, between commas,
        stay on one line.
    title : str
        Name of the values.

    Returns
    -------
    bytes
        A PNG picture.
    """
    given = [{"label": label, "mean": mean, "low": mean - reach, "high": mean + reach} for label, mean, reach in values]
    place = {"field": "label", "type": "nominal", "sort": None, "title": None}
    across = {"type": "quantitative", "title": None, "axis": {"grid": True, "tickCount": 8, "labelFlush": False}}
    chart = {
        "title": title,
        "data": {"values": given},
        "width": WIDTH,
        "height": {"step": LINE_HEIGHT},
        "encoding": {"y": place},
        "layer": [
            {
                "mark": {"type": "rule", "color": COLOURS[0], "strokeWidth": 2},
                "encoding": {"x": {"field": "low", **across}, "x2": {"field": "high"}},
            },
            {
                "mark": {"type": "point", "color": COLOURS[0], "filled": True, "size": 80, "opacity": 1},
                "encoding": {"x": {"field": "mean", **across}},
            },
        ],
    }
    return _picture(chart)


_STYLES: dict[str, dict[str, Any]] = {
    "line": {"strokeWidth": 2},
    "point": {"filled": True, "size": 14, "opacity": 0.8},
    "bar": {},  # as wide as there is room for
}


def _axis(field: str, title: str, scale: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {"field": field, "type": "quantitative", "title": title, "scale": dict(scale or {})}


def _rule(axis: str, value: float) -> dict[str, Any]:
    """A dashed line at a value of an axis."""
    mark = {"type": "rule", "color": INK, "strokeDash": [6, 3], "strokeWidth": 1.5}
    return {"data": {"values": [{}]}, "mark": mark, "encoding": {axis: {"datum": value}}}


def _draw(chart: Mapping[str, Any]) -> str:
    import vl_convert

    sized = {"width": WIDTH, "height": HEIGHT, "config": PAGE_STYLE, **chart}
    svg: str = vl_convert.vegalite_to_svg(sized, vl_version=VEGA_LITE)
    return svg


def _picture(chart: Mapping[str, Any]) -> bytes:
    import vl_convert

    styled = {"config": PICTURE_STYLE, **chart}
    picture: bytes = vl_convert.vegalite_to_png(styled, vl_version=VEGA_LITE, scale=1.5)
    return picture


def page_script() -> str:
    """JavaScript of Vega, Vega-Lite and Vega-Embed in one, for the page that ``dvc plots`` writes."""
    import vl_convert

    script: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)
    return script
