"""How much of what was said is Python at all."""

import warnings
from collections.abc import Sequence


def is_valid_python(program: str) -> bool:
    """Whether it compiles: parses, and breaks none of the rules that only the compiler checks (`return` outside)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(program, "<completion>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return False
    return True


def syntax_valid_share(programs: Sequence[str]) -> float | None:
    """Share of programs that compile; None for no programs."""
    return sum(map(is_valid_python, programs)) / len(programs) if programs else None
