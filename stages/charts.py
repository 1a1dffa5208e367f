"""The curves of the report: Vega-Lite charts, drawn as SVG that takes its text colour from the page, light or dark."""

from collections.abc import Mapping, Sequence
from typing import Any

VEGA_LITE = "5.21"
WIDTH, HEIGHT = 520, 240
# Told apart by people who are blind to some colours (Okabe & Ito, 2008), on white and on black.
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


def line(
    points: Sequence[Mapping[str, Any]],
    x: str,
    y: str,
    labels: tuple[str, str],
    mark: str = "line",
    rule: float | None = None,
    scale: Mapping[str, Any] | None = None,
) -> str:
    """A curve, or points.

    Parameters
    ----------
    points : sequence of mapping
        Rows of a table; those that lack a value are left out.
    x, y : str
        Its columns.
    labels : tuple of str
        Of the axes.
    mark : {"line", "point", "bar"}
        What is drawn; bars stand at 0, 1, 2 and so on.
    rule : float, optional
        A height at which a dashed line is drawn across.
    scale : mapping, optional
        Of the upright axis, as Vega-Lite has it.

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
            "encoding": {"x": _axis(x, labels[0], across), "y": _axis(y, labels[1], scale)},
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
    """Several curves with points, of a table of scores.

    Parameters
    ----------
    columns : mapping of str to sequence
        The table; absent values are left out.
    x : str
        Its column of scores; every other one is a curve.
    labels : tuple of str
        Of the axes.
    rule : float
        A score at which a dashed line is drawn upright.
    scale : mapping
        Of the upright axis, as Vega-Lite has it.

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

    whole = {"width": WIDTH, "height": HEIGHT, "config": PAGE_STYLE, **chart}
    svg: str = vl_convert.vegalite_to_svg(whole, vl_version=VEGA_LITE)
    return svg


def page_script() -> str:
    """Vega, Vega-Lite and Vega-Embed in one script, for the page that ``dvc plots`` writes."""
    import vl_convert

    script: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)
    return script
