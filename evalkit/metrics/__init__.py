"""What completions look like beside their score: valid, repetitive, all the same, all different."""

from evalkit.metrics.collapse import body_form, distinct_programs, mode_collapse_share
from evalkit.metrics.repetition import loops, repetition_share
from evalkit.metrics.syntax import is_valid_python, syntax_valid_share

__all__ = [
    "body_form",
    "distinct_programs",
    "is_valid_python",
    "loops",
    "mode_collapse_share",
    "repetition_share",
    "syntax_valid_share",
]
