"""Do student and teacher mean the same by an id? Proven by the tokenizers' content, not by the sizes of the heads.

Models of one family often differ in how far their vocabulary is padded (Qwen2.5-Coder 7B has 152,064 rows, 0.5B has
151,936, their tokenizers are equal). Ids that both tokenizers define must be equal; what lies beyond is padding and is
never read by the loss.
"""

import json
from typing import Any

from evalkit.errors import ModelError


def aligned_vocabulary(student: Any, teacher: Any, student_rows: int, teacher_rows: int) -> int:
    """Number of ids that are real in both models. Takes the two tokenizers and the rows of the two heads.

    Raises ModelError naming the first differing id, or where merges differ, or where a head is smaller than the
    vocabulary.
    """
    ours, theirs = _by_id(student), _by_id(teacher)
    for token_id in range(max(max(ours), max(theirs)) + 1):
        if ours.get(token_id) != theirs.get(token_id):
            raise ModelError(
                f"student and teacher have different tokenizers: id {token_id} is {ours.get(token_id)!r} for the "
                f"student and {theirs.get(token_id)!r} for the teacher",
                fix="distil with the teacher's tokenizer (leave out `tokenizer`)",
            )
    if _merges(student) != _merges(teacher):
        raise ModelError("student and teacher share the vocabulary, but split text differently (merges differ)")
    valid = max(ours) + 1
    for name, rows in (("student", student_rows), ("teacher", teacher_rows)):
        if rows < valid:
            raise ModelError(f"the {name}'s head has {rows} rows, but the tokenizer {valid} ids")
    return valid


def vocabulary_size(tokenizer: Any) -> int:
    """One more than the largest id that is real. Not the number of tokens: ids may have gaps."""
    return max(tokenizer.get_vocab().values()) + 1


def _by_id(tokenizer: Any) -> dict[int, str]:
    return {index: token for token, index in tokenizer.get_vocab().items()}


def _merges(tokenizer: Any) -> object:
    """The rules that cut text into tokens, where the tokenizer has them in the fast form."""
    core = getattr(tokenizer, "backend_tokenizer", None)
    if core is None:
        return None
    parts = json.loads(core.to_str())
    return parts["model"].get("merges"), parts.get("pre_tokenizer"), parts.get("normalizer")
