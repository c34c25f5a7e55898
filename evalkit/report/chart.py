"""Line charts as inline SVG."""

from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 720, 260
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 16, 36
COLORS = ("#2563eb", "#dc2626", "#059669", "#9333ea", "#d97706", "#0891b2", "#4b5563", "#be185d")
MOST_POINTS = 600

Band = tuple[float, float, float, float]
"""x, y, low, high."""


def line_chart(series: Sequence[tuple[str, Sequence[Band]]], *, label: str, percent: bool = False) -> str:
    """Named series over x; where low < high a band is drawn. An empty string where there is no point at all."""
    drawn = [(name, _thinned(points)) for name, points in series if points]
    if not drawn:
        return ""
    xs = [x for _, points in drawn for x, *_ in points]
    lows = [low for _, points in drawn for _, _, low, _ in points]
    highs = [high for _, points in drawn for _, _, _, high in points]
    x0, x1 = min(xs), max(max(xs), min(xs) + 1e-9)
    y0, y1 = (0.0, 1.0) if percent else (min(lows), max(highs))
    if y1 - y0 < 1e-9:
        y0, y1 = y0 - 0.5, y1 + 0.5

    def place(x: float, y: float) -> str:
        across = LEFT + (x - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT)
        return f"{across:.1f},{HEIGHT - BOTTOM - (y - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM):.1f}"

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">', _axes(y0, y1, percent)]
    parts.append(f'<text x="{LEFT}" y="{HEIGHT - 8}">{x0:g}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 8}" text-anchor="end">{x1:g}</text>')
    for i, (_, points) in enumerate(drawn):
        color = COLORS[i % len(COLORS)]
        if any(high > low for *_, low, high in points):
            edge = [place(x, high) for x, _, _, high in points]
            edge += [place(x, low) for x, _, low, _ in reversed(points)]
            parts.append(f'<polygon points="{" ".join(edge)}" fill="{color}" opacity="0.12"/>')
        path = " ".join(place(x, y) for x, y, *_ in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        if len(points) <= 30:
            for point in path.split():
                across, down = point.split(",")
                parts.append(f'<circle cx="{across}" cy="{down}" r="3" fill="{color}"/>')
    legend = "".join(
        f'<span><i style="background:{COLORS[i % len(COLORS)]}"></i>{escape(name)}</span>'
        for i, (name, _) in enumerate(drawn)
    )
    return f"<figure>{''.join(parts)}</svg><figcaption>{escape(label)} <b>{legend}</b></figcaption></figure>"


def _axes(y0: float, y1: float, percent: bool) -> str:
    parts = []
    for i in range(5):
        value = y0 + (y1 - y0) * i / 4
        down = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * i / 4
        shown = f"{value:.0%}" if percent else f"{value:.3g}"
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{down}" y2="{down}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{down + 4}" text-anchor="end">{shown}</text>')
    return "".join(parts)


def _thinned(points: Sequence[Band]) -> list[Band]:
    """At most 600 points, the last among them."""
    step = max(1, -(-len(points) // MOST_POINTS))
    thinned = list(points[::step])
    return thinned if thinned[-1] == points[-1] else [*thinned, points[-1]]
