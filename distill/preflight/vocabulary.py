"""Do tokenizer, student and teacher agree, and what does the vocabulary cost?"""

from collections.abc import Iterator
from typing import Any

from distill.preflight.findings import Finding, counted, ok, warn
from distill.preflight.subject import Subject

TOPIC = "vocabulary"

TABLE_SHARE = 0.5
FEW_BYTES = 2.0


def check(subject: Subject) -> Iterator[Finding]:
    yield _text(subject)
    yield _padding_token(subject)
    if subject.parts is not None:
        yield _heads(subject)
        yield _tables(subject)


def _text(subject: Subject) -> Finding:
    """Bytes per token of the rows as they are learned."""
    material = subject.material
    rows = material.encoded.rows[:500]
    ids = sum(len(row.input_ids) for row in rows)
    texts = material.tokenizer.batch_decode([row.input_ids for row in rows], skip_special_tokens=True)
    each = sum(len(text.encode("utf-8", "replace")) for text in texts) / max(1, ids)
    what = f"{counted(len(material.tokenizer), 'token')} in the tokenizer, {each:.2f} bytes per token on these rows"
    facts = {"tokens": len(material.tokenizer), "bytes_per_token": round(each, 3)}
    if each >= FEW_BYTES:
        return ok(TOPIC, "text", what, **facts)
    why = "the texts fall into crumbs: rows get long, and steps slow."
    return warn(TOPIC, "text", what, why=why, fix="a tokenizer trained on such texts, or a larger vocab_size", **facts)


def _padding_token(subject: Subject) -> Finding:
    tokenizer = subject.material.tokenizer
    if tokenizer.pad_token_id != tokenizer.eos_token_id:
        return ok(TOPIC, "pad", f"padding is {tokenizer.pad_token!r}, end-of-text {tokenizer.eos_token!r}", same=False)
    what = (
        f"padding and end-of-text are both {tokenizer.eos_token!r}; padding is masked by place, so the end is learned"
    )
    return ok(TOPIC, "pad", what, same=True)


def _heads(subject: Subject) -> Finding:
    """Equal ids are proven when the models are loaded (distill.align); here the sizes are told."""
    assert subject.parts is not None
    valid, parts = subject.parts.valid, subject.parts
    sizes = {"student": int(parts.model.config.vocab_size)}
    if parts.teacher is not None:
        sizes["teacher"] = int(parts.teacher.config.vocab_size)
    said = ", ".join(
        f"the {name}'s head has {size:,} rows" + (f" ({size - valid:,} of padding)" if size > valid else "")
        for name, size in sizes.items()
    )
    proven = "; ids and merges are equal" if parts.teacher is not None else ""
    return ok(TOPIC, "heads", f"{valid:,} real ids: {said}{proven}", valid=valid, **sizes)


def _tables(subject: Subject) -> Finding:
    """The share of the student's weights that are embedding and head."""
    assert subject.parts is not None
    model = subject.parts.model
    total, table = sum(p.numel() for p in model.parameters()), table_parameters(model)
    share = table / total
    what = f"embedding and head are {share:.0%} of the student's {total:,} weights"
    facts = {"parameters": total, "table": table, "share": round(share, 4)}
    if share <= TABLE_SHARE:
        return ok(TOPIC, "tables", what, **facts)
    why = "more than half of the student only knows tokens; little is left to think with."
    return warn(TOPIC, "tables", what, why=why, fix="a smaller vocabulary, or a larger student", **facts)


def table_parameters(model: Any) -> int:
    """Weights of embedding and head; tied ones count once."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    ends = (base.get_input_embeddings(), base.get_output_embeddings())
    return sum({id(p): p.numel() for end in ends if end is not None for p in end.parameters()}.values())
