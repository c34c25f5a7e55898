"""Which divergence can be had from which source of the teacher. The code follows this table, and the guide prints it.

exact      the loss and its gradient are those of the whole teacher
unbiased   the gradient's mean over what was drawn is the exact one
biased     something else is minimised; what and how far is said in `WHY`
refused    there is no such loss, or none that could be defended
"""

from enum import StrEnum


class Standing(StrEnum):
    EXACT = "exact"
    UNBIASED = "unbiased"
    BIASED = "biased"
    REFUSED = "refused"


SOURCES = ("local", "states", "sampled", "top_k", "served", "words")
"""A model here; caches of its hidden states, of draws, and of the k likeliest with the mass of the rest; a server that
scores given text; an API that says what it thought of its own words."""

E, U, B, R = Standing.EXACT, Standing.UNBIASED, Standing.BIASED, Standing.REFUSED

TABLE: dict[str, dict[str, Standing]] = {
    "forward_kl": {"local": E, "states": E, "sampled": U, "top_k": B, "served": B, "words": B},
    "reverse_kl": {"local": E, "states": E, "sampled": R, "top_k": B, "served": B, "words": R},
    "jsd": {"local": E, "states": E, "sampled": R, "top_k": B, "served": B, "words": B},
    "skew_kl": {"local": E, "states": E, "sampled": R, "top_k": B, "served": B, "words": B},
    "mse": {"local": E, "states": E, "sampled": R, "top_k": R, "served": R, "words": R},
}
"""Divergence -> source -> standing."""

REFUSALS = {
    "sampled": "it is not linear in the teacher's probabilities (or reads them where none was drawn): draws in their "
    "place would be biased by an amount that nobody knows",
    "mse": "it compares logits, and only probabilities are known",
    "words": "a token that the API cut otherwise carries its word alone, with probability one, and the reverse KL of "
    "such a teacher is infinite",
    "temperature": "a server's log-probabilities are at temperature 1, and others cannot be had from k of them",
}


def standing(divergence: str, source: str, *, temperature: float = 1.0) -> Standing:
    """How the divergence stands with a source. Servers score at temperature 1 only."""
    if source in ("served", "words") and temperature != 1:
        return Standing.REFUSED
    return TABLE[divergence][source]


def refuse_impossible(source: str, divergence: str, temperature: float) -> None:
    """Raises ValueError with the reason where the table says `refused`."""
    if standing(divergence, source, temperature=temperature) is not Standing.REFUSED:
        return
    if TABLE[divergence][source] is not Standing.REFUSED:
        reason = REFUSALS["temperature"]
    else:
        reason = REFUSALS["mse" if divergence == "mse" else source]
    possible = [name for name in TABLE if standing(name, source, temperature=1.0) is not Standing.REFUSED]
    raise ValueError(f"{divergence} cannot be had from a {source} teacher: {reason} (possible: {', '.join(possible)})")


def markdown() -> str:
    """The table as the guide prints it."""
    head = f"| divergence | {' | '.join(SOURCES)} |\n|---|{'---|' * len(SOURCES)}\n"
    return head + "".join(f"| {name} | {' | '.join(row[s] for s in SOURCES)} |\n" for name, row in TABLE.items())
