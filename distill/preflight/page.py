"""The report as a page: a line per finding, its meaning and what to do below it, one sample as the student sees it."""

from collections.abc import Iterator
from itertools import groupby

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from distill.preflight.findings import Finding, Report, Span, Standing
from evalkit.console import console

STYLES = {Standing.OK: "green", Standing.WARNING: "bold yellow", Standing.REFUSAL: "bold red"}
SPANS = {"read": "dim", "learned": "green", "end": "bold green reverse"}

MEANING = (
    "read: the student sees it (the first token of a row always: nothing stands before it to tell it from); learned: "
    "the loss asks for each of these tokens (x its weight); end: the token that it learns to stop with."
)


def print_page(report: Report, target: Console | None = None) -> None:
    target = target or Console(highlight=False)
    target.print(page(report), soft_wrap=False)


def page(report: Report) -> RenderableType:
    parts: list[RenderableType] = []
    for topic, findings in groupby(sorted(report.findings, key=lambda f: _place(report, f)), lambda f: f.topic):
        parts += [Text(f"\n{topic}", style="bold"), _table(list(findings))]
        if topic == "labels" and report.sample:
            parts += [Text("\none sample", style="bold"), _sample(report.sample), Text(MEANING, style="dim")]
    head = Text(f"{report.method} run {report.output}", style="bold")
    return Group(head, *parts, Text(f"\n{report.line}", style=_worst(report)))


def _place(report: Report, finding: Finding) -> int:
    """Topics in the order in which they first come."""
    return next(i for i, other in enumerate(report.findings) if other.topic == finding.topic)


def _worst(report: Report) -> str:
    return next(STYLES[s] for s in reversed(Standing) if report.of(s) or s is Standing.OK)


def _table(findings: list[Finding]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=9, no_wrap=True)
    table.add_column(ratio=1, overflow="fold")
    for finding in findings:
        table.add_row(Text(f"  {finding.standing}", style=STYLES[finding.standing]), _body(finding))
    return table


def _body(finding: Finding) -> Text:
    text = Text(finding.what)
    if finding.why:
        text.append(f"\n{finding.why[0].upper()}{finding.why[1:]}", style="dim")
    if finding.fix:
        text.append(f"\nDo: {finding.fix}", style="cyan")
    return text


def _sample(spans: tuple[Span, ...]) -> Table:
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(width=15, no_wrap=True)
    table.add_column(ratio=1, overflow="fold")
    for span in spans:
        label = f"  {span.kind}" + (f" x {span.weight:g}" if span.weight not in (0.0, 1.0) else "")
        style = SPANS[span.kind] + (" dim" if 0 < span.weight < 1 else "")
        for number, line in enumerate(_lines(span)):
            table.add_row(Text(label if number == 0 else "", style=style), Text(line, style))
    return table


def _lines(span: Span) -> Iterator[str]:
    """Line ends are tokens too, and shown where a piece begins or ends with one."""
    shown = span.text
    if shown.startswith("\n"):
        yield "\\n"
        shown = shown[1:]
    yield from shown.split("\n")


def print_warnings(report: Report) -> None:
    """What training shows: each warning in a line of its own, and the sum of it, on stderr."""
    for finding in report.of(Standing.WARNING):
        line = f"{finding.what}: {finding.why.rstrip('.')} ({finding.fix})"
        console.print(f"[yellow]preflight:[/] {escape(line)}", soft_wrap=True)
    console.print(report.line, markup=False)
