"""The `synth` command: parses, calls the job, prints."""

from pathlib import Path
from typing import Annotated, Any

import typer

from evalkit.console import run_cli

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

RecipePath = Annotated[Path, typer.Argument(help="Recipe file (YAML).")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="Override a key: section.key=value.")]
Dataset = Annotated[Path, typer.Argument(help="Dataset folder.")]


@app.command()
def generate(
    recipe: RecipePath,
    set_: Overrides = None,
    batch: Annotated[
        bool, typer.Option("--batch", help="By the endpoint's Batch API: within a day, mostly at half the price.")
    ] = False,
) -> None:
    """Ask a teacher for tasks, prove each by running it, keep the good ones with their evidence."""
    from evalkit.recipes import load_recipe
    from synth.jobs.generate import generate as job
    from synth.recipe import GenerateRecipe

    loaded = load_recipe(GenerateRecipe, recipe, set_ or ())
    _print_funnel(job(loaded, batch=batch))
    typer.echo(f"\n{loaded.output}")


@app.command()
def plan(
    recipe: RecipePath,
    set_: Overrides = None,
    batch: Annotated[bool, typer.Option("--batch", help="At the price of the Batch API.")] = False,
    measured: Annotated[Path | None, typer.Option(help="Dataset folder of a trial with the same teachers.")] = None,
) -> None:
    """Say what a recipe would ask for, and what it would cost and take, before anything is sent."""
    from evalkit.endpoint.prices import price_table_date
    from evalkit.recipes import load_recipe
    from synth.jobs.plan import plan as job
    from synth.recipe import GenerateRecipe

    loaded = load_recipe(GenerateRecipe, recipe, set_ or ())
    forecasts = job(loaded, batch=batch, measured_in=measured)
    typer.echo(
        f"{'':<36} {'to ask':>7} {'known':>7} {'tokens in':>10} {'out':>10} {'$':>9} {'$ at most':>10} {'time':>9}"
    )
    for row in forecasts:
        dollars, most = (("unknown" if usd is None else f"{usd:.2f}") for usd in (row.usd, row.usd_at_most))
        time = (
            "one day"
            if batch and row.requests
            else f"{row.seconds:.0f} s"
            if row.seconds < 600
            else f"{row.seconds / 3600:.1f} h"
        )
        typer.echo(
            f"{row.label[:36]:<36} {row.requests:>7} {row.known:>7} {row.prompt_tokens:>10} {row.answer_tokens:>10}"
            f" {dollars:>9} {most:>10} {time:>9}"
        )
    typer.echo(f"retries, corrections and fallbacks come on top; our price table is of {price_table_date()}")
    if guesses := [row.label for row in forecasts if row.requests and not row.measured]:
        typer.echo(
            f"\nassumed, not measured ({', '.join(guesses)}): 4 characters a token, 400 tokens and 8 s an answer;"
        )
        typer.echo(
            "to measure: synth generate RECIPE --set tasks=20 --set output=TRIAL, then synth plan --measured TRIAL"
        )
    expected = [row.usd for row in forecasts]
    if loaded.max_usd is not None and None not in expected and sum(usd or 0.0 for usd in expected) > loaded.max_usd:
        typer.echo(f"\nmore than max_usd allows (${loaded.max_usd:g}): some questions will not be asked")


@app.command()
def preview(recipe: RecipePath, set_: Overrides = None, number: Annotated[int, typer.Option("-n")] = 3) -> None:
    """Show the first questions and answers of a run, and what is made of them; the run will not pay for them again."""
    from evalkit.recipes import load_recipe
    from synth.jobs.preview import preview as job
    from synth.recipe import GenerateRecipe

    for text in job(load_recipe(GenerateRecipe, recipe, set_ or ()), number):
        typer.echo(text)


@app.command()
def stats(dataset: Dataset) -> None:
    """The funnel of a dataset: asked, kept, rejected by stage, planted flaws and what became of them."""
    from synth.jobs.stats import stats as job

    _print_funnel(job(dataset))


@app.command()
def show(dataset: Dataset, number: Annotated[int, typer.Option("-n", help="Rows to show.")] = 3) -> None:
    """Print rows as a reader wants them: the prompt, the solution, the tests, the evidence."""
    from synth.jobs.show import show as job

    for text in job(dataset, number):
        typer.echo(text)


@app.command()
def why(dataset: Dataset, id: Annotated[str, typer.Argument(help="Row id, as synth/17.")]) -> None:
    """Why a row was kept or rejected."""
    from synth.jobs.why import why as job

    typer.echo(job(dataset, id))


@app.command()
def verify(dataset: Dataset, slots: Annotated[int | None, typer.Option(help="Programs at a time.")] = None) -> None:
    """Prove every kept row again on this machine: solutions pass, stubs fail. Exit code 1 where one does not."""
    from synth.jobs.verify import verify as job

    failed = job(dataset, slots)
    for line in failed:
        typer.echo(line)
    if failed:
        raise typer.Exit(1)
    typer.echo("every row proven again")


@app.command("serve-teacher")
def serve_teacher(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 8811,
    flaws: Annotated[float, typer.Option(help="Share of flawed answers.")] = 0.1,
    seed: int = 0,
    latency: Annotated[float, typer.Option(help="Mean seconds before an answer (exponential).")] = 0.0,
    retry_after: Annotated[float, typer.Option(help="Seconds that a 429 asks to wait.")] = 0.05,
    storm: Annotated[
        float, typer.Option(help="Seconds from the first request in which all are answered by 429.")
    ] = 0.0,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=SHARE, repeatable. Names: rate_limited, server_error, malformed, empty, disconnect, truncation,"
            " wrong_finish."
        ),
    ] = None,
) -> None:
    """Serve the built-in teacher behind the OpenAI interface. It is a stand-in for a teacher, made of a grammar."""
    from synth.jobs.serve_teacher import parse_faults
    from synth.jobs.serve_teacher import serve_teacher as job

    faults = parse_faults(fault or [], latency=latency, retry_after=retry_after, storm=storm, seed=seed)
    job(port=port, flaws=flaws, seed=seed, faults=faults)


def _print_funnel(summary: dict[str, Any]) -> None:
    typer.echo(f"asked {summary['asked']}, kept {summary['kept']} ({summary['solutions']} distinct solutions)")
    for split, count in summary["splits"].items():
        typer.echo(f"  {split:<12} {count}")
    for stage, count in summary["rejected"].items():
        typer.echo(f"  rejected at {stage:<14} {count}")
    calm = ("sent", "answered", "from_journal", "failed", "over_budget", "batches")
    if troubles := [f"{name} {count}" for name, count in summary["requests"].items() if name not in calm]:
        typer.echo(f"  met on the way  {', '.join(troubles)} (in the last run)")
    for note in summary["notes"]:
        typer.echo(f"  note         {note}")
    if summary["unanswered"]:
        typer.echo(f"  unanswered   {summary['unanswered']} questions; the same command again asks only for those")
    if summary["corrected"]:
        typer.echo(f"  sent back    {summary['corrected']} answers that held no task of the asked form")
    _print_cost(summary)
    if summary["planted"]:
        typer.echo("  flaws planted by the built-in teacher, and how many of them were rejected:")
        for kind, found in summary["planted"].items():
            at = ", ".join(f"{stage} {count}" for stage, count in found["at"].items())
            typer.echo(f"    {kind:<22} {found['rejected']:>5} of {found['planted']:<5} {at}")


def _print_cost(summary: dict[str, Any]) -> None:
    """Dollars and tokens per kept row, by teacher and category; what is unknown says so."""
    usd, worst = summary["usd"], summary["usd_at_worst"]
    said = "unknown: an answer came without usage, or its price is unknown" if usd is None else f"${usd:.4f}"
    if summary["unknown_attempts"]:
        most = "" if worst is None else f", ${worst:.4f} at worst"
        said += f"{most}: {summary['unknown_attempts']} requests were sent and their answers lost"
    typer.echo(f"  cost         {said}")
    typer.echo(f"    {'':<28} {'kept':>6} {'asked':>6} {'$ per kept':>12} {'tokens per kept':>16}")
    for group in ("teachers", "categories"):
        for name, row in summary[group].items():
            dollars = "unknown" if row["usd_per_kept"] is None else f"{row['usd_per_kept']:.6f}"
            tokens = "unknown" if row["tokens_per_kept"] is None else f"{row['tokens_per_kept']:.0f}"
            typer.echo(f"    {name[:28]:<28} {row['kept']:>6} {row['asked']:>6} {dollars:>12} {tokens:>16}")


def main() -> None:
    run_cli(app)
