"""Which tokens of a row are read, and which are learned."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from distill.data import IGNORE, Tokens, encode
from distill.preflight.findings import Boundary, Finding, Span, ok, refuse, warn
from distill.preflight.subject import Subject
from distill.preparation import Material
from evalkit.prompting import PROMPTING

TOPIC = "labels"

SAMPLED = 200
"""Rows from which the share of the prompts is told."""


def check(subject: Subject) -> Iterator[Finding]:
    yield _ends(subject)
    yield from _shares(subject)


def _ends(subject: Subject) -> Finding:
    """A student that never learns end-of-text never stops. Of a document in pieces only the last piece has one, and
    none where a piece ends just before it."""
    rows, end = subject.material.encoded.rows, subject.material.tokenizer.eos_token_id
    closed = sum(row.input_ids[-1] == end and row.labels[-1] == end for row in rows)
    documents = subject.material.documents
    wanted = len(rows) if documents is None else len(documents.learned)
    each = "row" if documents is None else "document"
    if closed >= wanted or (documents is not None and closed > 0):
        which = f"every {each} ends" if closed >= wanted else f"{closed:,} of {wanted:,} {each}s end"
        return ok(TOPIC, "end", f"{which} with end-of-text, which is learned", rows=closed, wanted=wanted)
    return refuse(
        TOPIC,
        "end",
        f"{wanted - closed:,} of {wanted:,} {each}s do not end with an end-of-text that is learned",
        why="the student would not learn to stop.",
        fix="set the tokenizer's eos_token to a token that its texts end with",
        boundary=Boundary.MODEL,
        rows=closed,
    )


def _shares(subject: Subject) -> Iterator[Finding]:
    """The share of the loss's weight that lies on prompts."""
    if subject.material.documents is not None:
        yield ok(TOPIC, "shares", "every token of the documents is learned, at weight 1")
        return
    weight = subject.recipe.data.prompt_weight
    prompts, completions = _tokens(subject.material)
    share = prompts * weight / (prompts * weight + completions)
    what = f"prompts are {prompts / (prompts + completions):.0%} of the tokens and {share:.1%} of the loss's weight"
    facts = {"prompt_tokens": prompts, "completion_tokens": completions, "prompt_weight_share": round(share, 4)}
    if share <= 0.5:
        yield ok(TOPIC, "shares", what, **facts)
        return
    why = "most of what is learned is to write questions, not answers."
    yield warn(TOPIC, "shares", what, why=why, fix="a smaller data.prompt_weight", **facts)


def _tokens(material: Material) -> tuple[int, int]:
    """Tokens of prompts and of completions (end-of-text with them) in the first rows; the very first of a row is never
    learned."""
    prompts = completions = 0
    for row in material.rows[:SAMPLED]:
        try:
            tokens = encode(row, material.tokenizer, PROMPTING)
        except ValueError:
            continue
        learned = sum(label != IGNORE for label in tokens.labels)
        prompts += max(0, len(tokens.labels) - learned - 1)
        completions += learned
    return prompts, completions


def spans(row: Tokens, tokenizer: Any) -> tuple[Span, ...]:
    """The row as pieces of text whose tokens fare alike, in order; joined they are the row."""
    last = len(row.input_ids) - 1

    def fate(place: int) -> tuple[str, float]:
        if place == 0 or row.labels[place] == IGNORE:  # nothing stands before the first token to tell it from
            return "read", 0.0
        end = place == last and row.input_ids[place] == tokenizer.eos_token_id
        return "end" if end else "learned", row.weights[place]

    found = []
    for (kind, weight), places in groupby(range(last + 1), fate):
        ids = [row.input_ids[place] for place in places]
        text = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        found.append(Span(kind=kind, text=text, tokens=len(ids), weight=weight))
    return tuple(found)
