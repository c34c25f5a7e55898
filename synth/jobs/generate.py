"""synth generate: ask, parse, prove, decontaminate, split, write.

1. plan     every request is fixed by the recipe: category, level, number
2. ask      answers are durable in `journal.sqlite` before anything uses them; proving begins with the first
3. parse    answers become problems or rejects; the same task twice is kept once
4. prove    the solution passes its own tests, an empty stub fails them (`proofs.jsonl`)
5. check    no row solves a task of an evaluation suite (`contamination.jsonl`)
6. split    by normalised solution, then everything is written, each file whole or not at all

Each step keeps what it paid for, so a killed run goes on where it was.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evalkit.console import console, live
from evalkit.endpoint import HOW, Journal, Spending, Status, paid
from evalkit.errors import DataError, NotServed
from evalkit.normal_form import normal_form
from evalkit.records import Method, Problem
from evalkit.runs import RunFolder
from evalkit.sandbox import Sandbox
from synth.ask import JOURNAL, Answered, ask
from synth.contamination import Clean, decontaminate
from synth.dataset import KIND, fingerprint, write_dataset
from synth.funnel import funnel
from synth.panel import Panel
from synth.parse import Dropped, task_key
from synth.plan import Question, plan
from synth.proof import Proof, prove, proven
from synth.proving import Proving
from synth.recipe import GenerateRecipe
from synth.records import Evidence, Reject, Sample, Split, Stage
from synth.split import split_by_solution


def generate(recipe: GenerateRecipe, *, batch: bool = False) -> dict[str, Any]:
    """Run the recipe into its output folder; returns the summary. A finished folder returns at once; where questions
    went without an answer (a budget that was too small, an endpoint that failed) they are asked again.

    `batch`: by the teachers' Batch API, which answers within a day at a lower price.
    """
    run = RunFolder(
        recipe.output,
        KIND,
        recipe.model_dump(mode="json"),
        may_change=("max_usd", "slots", *HOW),
        keeps=(JOURNAL,),
    ).open()
    if run.finished and not run.summary["unanswered"]:
        console.print(f"{recipe.output}: finished already, {run.summary['kept']} rows kept")
        return run.summary
    status = Status()
    with Sandbox(recipe.slots) as sandbox:
        with run.or_nothing(NotServed, holds=lambda: paid(recipe.output / JOURNAL)):
            answers = _ask(plan(recipe), recipe, status, sandbox, batch)
        problems, rejects = parse_all(answers)
        proofs = prove(problems, recipe.output / "proofs.jsonl", sandbox)
        good = [problem for problem in problems if proven(proofs[problem.id])]
        rejects += [_unproven(answers[id], proof) for id, proof in proofs.items() if not proven(proof)]
        clean = decontaminate(good, recipe.decontaminate, recipe.output / "contamination.jsonl", sandbox)
    kept = [problem for problem in good if not clean[problem.id].match]
    rejects += [_contaminated(answers[id], found) for id, found in clean.items() if found.match]
    samples = assemble(kept, answers, proofs, clean, recipe)
    write_dataset(recipe.output, samples, rejects, run.recipe)
    run.update_manifest(fingerprint=fingerprint(recipe.output))
    summary = funnel(list(answers.values()), samples, rejects, spending(recipe.output), status)
    run.finish(summary)
    return summary


def _ask(
    questions: Sequence[Question], recipe: GenerateRecipe, status: Status, sandbox: Sandbox, batch: bool
) -> dict[str, Answered]:
    """Ask, prove what comes, and show both."""
    proving = Proving(recipe.output / "proofs.jsonl", sandbox)
    panel = Panel(len(questions), status, proving, max_usd=recipe.max_usd)

    def on_answered(answered: Answered) -> None:
        panel.done += 1
        proving.offer(answered)

    with live(panel.render, panel.line), proving:
        answers = ask(questions, recipe, status=status, on_answered=on_answered, batch=batch)
    for note in status.notes:
        console.print(note, markup=False)
    return answers


def spending(folder: Path) -> Spending:
    """What the journal of a dataset has cost, answers of earlier runs included."""
    with Journal(folder / JOURNAL) as journal:
        return journal.spending()


def parse_all(answers: dict[str, Answered]) -> tuple[list[Problem], list[Reject]]:
    """Problems of all answers, each task once, and the rejects."""
    problems: list[Problem] = []
    rejects: list[Reject] = []
    seen: dict[str, str] = {}
    for id, answered in answers.items():
        found = answered.found
        if isinstance(found, Dropped):
            rejects.append(reject(answered, found.stage, found.reason))
        elif first := seen.get(task_key(found)):
            rejects.append(reject(answered, Stage.DUPLICATE, f"the same task as {first}"))
        else:
            seen[task_key(found)] = id
            problems.append(found)
    return problems, rejects


def assemble(
    kept: Sequence[Problem],
    answers: dict[str, Answered],
    proofs: dict[str, Proof],
    clean: dict[str, Clean],
    recipe: GenerateRecipe,
) -> list[Sample]:
    """Samples with their evidence and split, in the order of the plan."""
    forms = {problem.id: normal_form(problem.solution or "") for problem in kept}
    sizes = recipe.splits
    splits = split_by_solution(forms.items(), heldout=sizes.heldout, validation=sizes.validation, seed=recipe.seed)
    if kept and Split.TRAIN not in splits.values():
        raise DataError(
            f"{len(kept)} rows kept, all of them in held-out and validation: nothing is left to train on",
            where=str(recipe.output),
            fix="ask for more tasks or make splits.heldout smaller",
        )
    return [
        Sample(
            id=problem.id,
            problem=problem,
            evidence=_evidence(answers[problem.id], proofs[problem.id], clean[problem.id], forms, splits),
        )
        for problem in kept
    ]


def _evidence(
    answered: Answered, proof: Proof, clean: Clean, forms: dict[str, str], splits: dict[str, Split]
) -> Evidence:
    assert answered.answer is not None  # only answers are parsed
    assert proof.stub is not None  # only proven rows come here
    return Evidence(
        teacher=answered.source,
        model=answered.answer.model,
        prompt_digest=answered.question.digest,
        request=answered.answer.key,
        usage=answered.usage,
        cost_usd=answered.cost_usd,
        corrections=len(answered.before),
        adapted=answered.answer.adapted,
        verdict=proof.solution,
        stub_verdict=proof.stub,
        normal_form=forms[proof.id],
        contamination={"suites": list(clean.suites), "methods": list(clean.methods)},
        split=splits[proof.id],
    )


def _unproven(answered: Answered, proof: Proof) -> Reject:
    if proof.solution.passed and proof.solution.method is Method.INLINE:
        said = "its tests hold only in the program's own process, where it could forge them"
        return reject(answered, Stage.SOLUTION, said, proof.solution)
    if proof.solution.passed:
        return reject(answered, Stage.STUB, "an empty stub passes the tests", proof.stub)
    verdict = proof.solution
    facts = verdict.failed_assertion or verdict.exception or verdict.detail
    return reject(answered, Stage.SOLUTION, f"{verdict.outcome}: {facts}".rstrip(": "), verdict)


def _contaminated(answered: Answered, found: Clean) -> Reject:
    return reject(answered, Stage.CONTAMINATION, f"solves {found.match} ({found.method})")


def reject(answered: Answered, stage: Stage, reason: str, verdict: Any = None) -> Reject:
    question: Question = answered.question
    return Reject(
        id=question.id,
        stage=stage,
        reason=reason,
        category=question.category,
        level=question.level,
        request=answered.answer.key if answered.answer else "",
        text=answered.answer.text if answered.answer else "",
        verdict=verdict,
    )
