"""The command line: parses, calls a job, prints. Nothing heavy is imported before a job runs."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from evalkit.console import run_cli

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key, e.g. loss.alpha=0.5")
]


@app.callback()
def potstill() -> None:
    """Train small students: a tokenizer, supervised fine-tuning, LoRA, logit distillation."""
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@app.command()
def train(recipe: Path, overrides: Overrides = None) -> None:
    """Train from a recipe. Run again to resume; a finished run returns at once."""
    from distill.recipe import TrainRecipe
    from evalkit.recipes import load_recipe

    loaded = load_recipe(TrainRecipe, recipe, overrides or ())
    from distill.jobs.train import train as job

    summary = job(loaded)
    summary.pop("log", None)
    typer.echo(json.dumps(summary, indent=2))


@app.command()
def cache(recipe: Path, overrides: Overrides = None) -> None:
    """Write what a teacher thinks of every learned token, once. Run again to resume."""
    from distill.jobs.cache import CacheRecipe
    from distill.jobs.cache import cache as job
    from evalkit.recipes import load_recipe

    typer.echo(json.dumps(job(load_recipe(CacheRecipe, recipe, overrides or ())), indent=2))


@app.command()
def words(recipe: Path, overrides: Overrides = None) -> None:
    """Ask an API for solutions, and keep those that pass with what it thought of each word. Run again to resume."""
    from distill.jobs.words import WordsRecipe
    from distill.jobs.words import words as job
    from evalkit.recipes import load_recipe

    typer.echo(json.dumps(job(load_recipe(WordsRecipe, recipe, overrides or ())), indent=2))


@app.command()
def preflight(
    recipe: Path,
    overrides: Overrides = None,
    against: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="Another benchmark file that must not leak into the rows")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON")] = False,
) -> None:
    """Look a run over before its first step: data, labels, memory, time, loss, leakage. Exit 2 where it is refused."""
    from distill.recipe import TrainRecipe
    from evalkit.recipes import load_recipe

    loaded = load_recipe(TrainRecipe, recipe, overrides or ())
    from distill.jobs.preflight import preflight as job

    report = job(loaded, against or ())
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        from distill.preflight.page import print_page

        print_page(report)
    if report.refused:
        raise typer.Exit(2)


@app.command()
def tokenizer(
    dataset: Path,
    out: Annotated[Path, typer.Option(help="Folder to write")],
    vocab_size: Annotated[int, typer.Option(min=270, help="Tokens, bytes and special ones included")] = 1024,
) -> None:
    """Train a byte-level BPE tokenizer on a dataset folder."""
    from distill.jobs.tokenizer import tokenizer as job

    manifest = job(dataset, vocab_size, out)
    typer.echo(f"{out}: {manifest['vocab_size']} tokens, {manifest['bytes_per_token']} bytes per token")


@app.command()
def runs(folder: Path) -> None:
    """Compare the training runs below a folder."""
    from rich.console import Console
    from rich.table import Table

    from distill.jobs.runs import COLUMNS
    from distill.jobs.runs import runs as job

    table = Table(*COLUMNS)
    for row in job(folder):
        table.add_row(*("" if row.get(key) is None else str(row[key]) for key in COLUMNS))
    Console().print(table)


@app.command()
def export(run: Path, out: Annotated[Path, typer.Option(help="Folder to write")]) -> None:
    """Write the model of a finished run as a folder to give away: adapters merged, safetensors, card."""
    from distill.jobs.export import export as job

    typer.echo(str(job(run, out)))


def main() -> None:
    run_cli(app)


if __name__ == "__main__":
    main()
