"""The page: charts, the table, examples."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from evalkit.report.chart import Band, line_chart

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#111827;max-width:1000px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2.2rem}
table{border-collapse:collapse;width:100%;font-size:.88rem}
th,td{border-bottom:1px solid #e5e7eb;padding:.35rem .5rem;text-align:left;vertical-align:top}
td.n{font-variant-numeric:tabular-nums;white-space:nowrap}
figure{margin:0}svg{width:100%;height:auto}svg text{font-size:11px;fill:#6b7280}svg line{stroke:#e5e7eb}
figcaption{font-size:.85rem;color:#4b5563}figcaption b{font-weight:400}
figcaption span{margin-left:1rem}figcaption i{display:inline-block;width:.7rem;height:.7rem;margin-right:.3rem}
pre{background:#f9fafb;border:1px solid #e5e7eb;padding:.6rem;overflow-x:auto;font-size:.8rem;white-space:pre-wrap}
.passed{color:#047857}.failed{color:#b91c1c}.note{color:#6b7280;font-size:.85rem}
@media (prefers-color-scheme:dark){body{background:#111827;color:#e5e7eb}pre{background:#1f2937;border-color:#374151}
th,td,svg line{border-color:#374151;stroke:#374151}.passed{color:#34d399}.failed{color:#f87171}}
"""


@dataclass(frozen=True)
class Series:
    """One line of a chart."""

    name: str
    points: Sequence[Band]


@dataclass(frozen=True)
class Example:
    """One program and what became of it."""

    title: str
    outcome: str
    program: str
    note: str = ""


@dataclass(frozen=True)
class Page:
    """All that is shown. Cells of `rows` are text; None is shown as a dash, which is "not measured"."""

    title: str
    loss: Sequence[Series] = ()
    scores: Sequence[Series] = ()
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str | None]] = ()
    examples: Sequence[Example] = ()
    notes: Sequence[str] = field(default_factory=tuple)


def render(page: Page) -> str:
    """The page as HTML that needs nothing else."""
    sections = [
        _section("Training loss", line_chart([(s.name, s.points) for s in page.loss], label="loss over steps")),
        _section(
            "pass@1 while training",
            line_chart(
                [(s.name, s.points) for s in page.scores], label="pass@1 over steps, 95% interval", percent=True
            ),
        ),
        _section("Scores", _table(page.columns, page.rows)),
        _section("Examples", "".join(map(_example, page.examples))),
        "".join(f'<p class="note">{escape(note)}</p>' for note in page.notes),
    ]
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(page.title)}</title>'
    )
    policy = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    body = f"<h1>{escape(page.title)}</h1>{''.join(sections)}"
    html = (
        f'<!doctype html><html lang="en"><head>{head}{policy}<style>{STYLE}</style></head><body>{body}</body></html>\n'
    )
    return html.encode(errors="replace").decode()


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>" if content else ""


def _table(columns: Sequence[str], rows: Sequence[Sequence[str | None]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        "<tr>" + "".join(f'<td class="n">{"–" if cell is None else escape(cell)}</td>' for cell in row) + "</tr>"  # noqa: RUF001
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _example(example: Example) -> str:
    kind = "passed" if example.outcome == "passed" else "failed"
    note = f'<p class="note">{escape(example.note)}</p>' if example.note else ""
    return (
        f"<details><summary>{escape(example.title)}: <span class={kind}>{escape(example.outcome)}</span></summary>"
        f"<pre>{escape(example.program)}</pre>{note}</details>"
    )
