"""The command line: parses, calls a job, prints. Nothing heavy is imported before a job runs."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from evalkit.console import run_cli

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
sandbox_app = typer.Typer(no_args_is_help=True, help="The sandbox that programs run in.")
app.add_typer(sandbox_app, name="sandbox")

File = Annotated[Path | None, typer.Option("--file", help="The suite's file (.jsonl or .jsonl.gz)")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Only the first so many problems")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON")]


@app.callback()
def potstill() -> None:
    """Say what a model can really do: run suites, compare runs, gate, report."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@app.command()
def run(
    suite: str,
    out: Annotated[Path, typer.Option(help="Run folder; run again to resume")],
    model: Annotated[str | None, typer.Option(help="Model folder; with --endpoint, the model's name there")] = None,
    endpoint: Annotated[str | None, typer.Option(metavar="URL", help="OpenAI-compatible base URL")] = None,
    retrieval: Annotated[Path | None, typer.Option(help="Training rows: answer with the nearest one's")] = None,
    route: Annotated[str, typer.Option(help="chat or completions (endpoints)")] = "chat",
    api_key_env: Annotated[str, typer.Option(help="Variable that holds the key")] = "OPENAI_API_KEY",
    instruction: Annotated[str, typer.Option(help="System message (chat)")] = "",
    max_usd: Annotated[float | None, typer.Option(help="Dollars that an endpoint may cost; needs its price")] = None,
    file: File = None,
    n: Annotated[int, typer.Option("-n", min=1, help="Samples per problem")] = 1,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 is greedy")] = 0.0,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Tokens per sample at most")] = 256,
    seed: int = 0,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Score a model on a suite."""
    from evalkit.jobs.run import RunRecipe
    from evalkit.recipes import parse_recipe

    served = {"base_url": endpoint, "model": model or "", "route": route, "api_key_env": api_key_env}
    if endpoint is not None and not model:
        raise typer.BadParameter("an endpoint needs --model NAME")
    data = {
        "suite": suite,
        "file": str(file) if file else None,
        "model": model if endpoint is None else None,
        "endpoint": served if endpoint is not None else None,
        "retrieval": str(retrieval) if retrieval else None,
        "n": n,
        "temperature": temperature,
        "max_new_tokens": max_new_tokens,
        "seed": seed,
        "limit": limit,
        "instruction": instruction,
        "max_usd": max_usd,
    }
    recipe = parse_recipe(RunRecipe, data, where="evalkit run")
    from evalkit.jobs.run import run as job

    summary = job(recipe, out)
    typer.echo(json.dumps(summary, indent=2) if as_json else describe(summary))


def describe(summary: dict[str, Any]) -> str:
    """A summary in a few lines: every count with its denominator."""
    interval = summary["pass_at_1_interval"]
    score = (
        f"pass@1 {interval['estimate']:.1%}, 95% {interval['low']:.1%} to {interval['high']:.1%} ({interval['method']})"
        if interval
        else "pass@1 not measured"
    )
    counts = (
        f"{summary['passed']} passed of {summary['scored']} scored, {summary['attempted']} attempted,"
        f" {summary['errored']} errored"
    )
    shown = {
        "compiles": "syntax_valid",
        "same answer": "mode_collapse",
        "loops": "repetition",
        "cut off": "cut_off",
    }
    shares = ", ".join(f"{name} {_rate(summary[key])}" for name, key in shown.items())
    effect = summary["minimum_detectable_effect"]
    lines = [f"{summary['model']} on {summary['suite']}: {score}", counts, shares]
    if summary["weak"]:
        lines.insert(
            2,
            f"weak verdicts, in no pass@k: {summary['weak_passed']} passed of {summary['weak']}"
            " (program and test shared a process)",
        )
    if len(summary["pass_at_k"]) > 1:
        lines.append(", ".join(f"pass@{k} {value:.1%}" for k, value in summary["pass_at_k"].items()))
    if effect is not None:
        lines.append(f"a comparison on {summary['problems']} problems could detect a difference of about {effect:.0%}")
    if "cost_usd" in summary:
        lines.append("cost unknown" if summary["cost_usd"] is None else f"cost ${summary['cost_usd']:.4f}")
    lines.extend(summary.get("notes", ()))
    lines.extend(f"{count} times: {error}" for error, count in summary["errors"].items())
    return "\n".join(lines)


def _rate(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.1%}"


@app.command()
def serve(
    model: Path,
    host: Annotated[str, typer.Option(help="Address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 is any free one")] = 8000,
    name: Annotated[str | None, typer.Option(help="What requests call it; the folder's name if not given")] = None,
    max_batch: Annotated[int, typer.Option(min=1, help="Rows that are generated together at most")] = 64,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ...; the best there is if not given")] = None,
) -> None:
    """Serve a local model behind the OpenAI interface: completions, chat, logprobs, scored prompts."""
    from evalkit.jobs.serve import serve as job

    job(model, host=host, port=port, name=name, max_batch=max_batch, device=device)


@app.command()
def suites(as_json: Json = False) -> None:
    """List the suites and where their files are."""
    from evalkit.jobs.suites import suites as job

    rows = job()
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        typer.echo(
            f"{row['name']:15} {'ready' if row['ready'] else 'missing'}  {row['description']}\n{'':15} {row['file']}"
        )


@app.command()
def verify(suite: str, file: File = None, limit: Limit = None) -> None:
    """Check a suite against itself: its solutions pass, empty bodies fail. Exit 1 where a problem is unsound."""
    from evalkit.jobs.verify import verify as job

    result = job(suite, file, limit)
    for complaint in result["complaints"]:
        typer.echo(f"{complaint['id']}: {complaint['what']}")
    methods = ", ".join(f"{count} by {method}" for method, count in result["methods"].items())
    typer.echo(
        f"{suite}: {result['passed']} of {result['attempted'] - result['without_solution']} solutions pass ({methods}),"
        f" {result['without_solution']} without a solution, {result['errored']} errored, {result['unsound']} unsound"
    )
    if result["unsound"]:
        raise typer.Exit(1)


@app.command("exec")
def exec_(
    file: Path,
    out: Annotated[Path, typer.Option(help="Verdicts, one line per row")],
    suite: Annotated[
        str | None, typer.Option(help="Judge rows of task_id and completion by this suite's tests")
    ] = None,
    suite_file: Annotated[Path | None, typer.Option(help="The suite's file")] = None,
) -> None:
    """Run programs from a file in the sandbox."""
    from evalkit.jobs.exec import exec as job

    counts = job(file, out, suite, suite_file)
    typer.echo(f"{counts['passed']} passed of {counts['attempted']} attempted, {counts['errored']} errored")


@sandbox_app.command("check")
def check(
    every: Annotated[bool, typer.Option("--every", help="Print the verdict on every hostile program")] = False,
) -> None:
    """Start every isolation tier, run the whole contract of hostile programs against it, and name the strongest."""
    from evalkit.jobs.sandbox_check import sandbox_check

    found = sandbox_check()
    for tier in found["tiers"]:
        typer.echo(f"{tier['tier']}: {tier['protections']}")
        if not tier["available"]:
            typer.echo(f"  not to be had here: {tier['reason']}")
            continue
        typer.echo(
            f"  {tier['verdicts']} verdicts of the contract held, {tier['false_passes']} false passes, host unharmed"
        )
        for result in tier["results"] if every else ():
            typer.echo(f"    {result['method']:6} {result['outcome']:20} {result['name']}")
    typer.echo(f"tier: {found['tier']}")


@app.command()
def compare(base: Path, runs: list[Path], as_json: Json = False) -> None:
    """Compare runs with a base on the problems they share."""
    from evalkit.jobs.compare import compare as job

    results = job(base, runs)
    if as_json:
        typer.echo(json.dumps(results, indent=2))
        return
    for result in results:
        typer.echo(describe_comparison(result))


def describe_comparison(result: dict[str, Any]) -> str:
    interval, effect = result["difference"], result["minimum_detectable_effect"]
    lines = [
        f"{result['run']} against {result['base']} on {result['shared']} shared problems of {result['suite']}"
        f" ({result['left_out']} left out)",
        f"  pass@1 {result['base_pass_at_1']:.1%} -> {result['run_pass_at_1']:.1%}",
    ]
    if interval:
        lines.append(f"  difference {interval['estimate']:+.1%}, 95% {interval['low']:+.1%} to {interval['high']:+.1%}")
    if result["p_value"] is not None:
        lines.append(f"  exact McNemar p = {result['p_value']:.3g}, Holm {result['p_value_holm']:.3g}")
    lines.append(f"  gained {len(result['gained'])}, lost {len(result['lost'])}")
    if effect is not None:
        lines.append(f"  smallest difference that could be detected: about {effect:.0%}")
    return "\n".join(lines)


@app.command()
def gate(
    run: Path,
    min_pass: Annotated[float | None, typer.Option(min=0.0, max=1.0, help="pass@1 at least")] = None,
    baseline: Annotated[Path | None, typer.Option(help="Run that must not be beaten by more than the margin")] = None,
    margin: Annotated[float, typer.Option(min=0.0, max=1.0, help="Loss that is accepted")] = 0.05,
    max_collapse: Annotated[float | None, typer.Option(min=0.0, max=1.0, help="Share of equal answers at most")] = None,
    max_errored: Annotated[int, typer.Option(min=0, help="Errors that are accepted")] = 0,
) -> None:
    """Exit 0 where a run is good enough, 1 where it is not, 4 where the evidence cannot tell."""
    from evalkit.jobs.gate import EXIT_CODES
    from evalkit.jobs.gate import gate as job

    decision, reasons = job(
        run,
        min_pass=min_pass,
        baseline=baseline,
        margin=margin,
        max_collapse=max_collapse,
        max_errored=max_errored,
    )
    typer.echo("\n".join([*reasons, f"gate: {decision}"]))
    raise typer.Exit(EXIT_CODES[decision])


@app.command()
def report(
    folders: list[Path],
    out: Annotated[Path, typer.Option(help="The page to write")] = Path("report.html"),
    title: str = "potstill",
) -> None:
    """Write one self-contained page about the runs at or below the folders."""
    from evalkit.jobs.report import report as job

    typer.echo(str(job(folders, out, title)))


def main() -> None:
    run_cli(app)


if __name__ == "__main__":
    main()
