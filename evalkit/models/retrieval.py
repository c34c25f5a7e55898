"""The floor that a student must clear: the nearest training example, answered word for word."""

import ast
import re
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from evalkit.errors import DataError
from evalkit.models.protocol import Generated, cut_at_stop
from evalkit.parsing import parse
from evalkit.prompting import PROMPTING, Prompting
from evalkit.records import Problem

_WORD = re.compile(r"[A-Za-z]+|\d+")


class RetrievalModel:
    """Answers with the completion of the training problem whose prompt is nearest by TF-IDF cosine.

    Its arguments and its own name are bound to the asked ones, by position. Sample i is the i-th nearest; temperature
    and seed change nothing. A student that scores no better has learned to look up, not to write.
    """

    def __init__(self, problems: Sequence[Problem], *, prompting: Prompting = PROMPTING, name: str = "retrieval"):
        from scipy.sparse import csr_array

        self.name = name
        self.known: list[tuple[str, str]] = []
        for problem in problems:
            try:
                self.known.append(prompting.split_solution(problem))
            except ValueError:  # nothing to copy from
                continue
        if not self.known:
            raise DataError("no training problem has a solution that continues its prompt", where="retrieval")
        counts = [Counter(_words(prompt)) for prompt, _ in self.known]
        seen = Counter(word for count in counts for word in count)
        self.index = {word: i for i, word in enumerate(seen)}
        self.weights = _idf(seen, len(self.known))
        self.matrix: Any = csr_array(self._rows(counts))

    def complete(
        self,
        prompts: Sequence[str],
        *,
        n: int = 1,
        max_new_tokens: int = 128,
        temperature: float = 0.0,
        seed: int = 0,
        stop: Sequence[str] = (),
    ) -> list[list[Generated]]:
        """The `n` nearest completions of each prompt, nearest first; fewer known ones repeat from the start."""
        import numpy as np

        start = time.perf_counter()
        scores = (self._rows([Counter(_words(prompt)) for prompt in prompts]) @ self.matrix.T).toarray()
        ranked = np.argsort(-scores, axis=1, kind="stable")[:, :n]
        seconds = (time.perf_counter() - start) / max(1, len(prompts))
        answers = []
        for prompt, order in zip(prompts, ranked, strict=True):
            texts = [cut_at_stop(self._answer(prompt, int(i)), stop)[0] for i in order]
            group = [Generated(text=t, finish_reason="stop", tokens=len(_words(t)), seconds=seconds) for t in texts]
            answers.append([group[i % len(group)] for i in range(n)])
        return answers

    def _rows(self, counts: Sequence[Counter[str]]) -> Any:
        """Unit TF-IDF rows, sparse `(texts, words)`; words never seen are left out."""
        import numpy as np
        from scipy.sparse import csr_array

        values: list[float] = []
        columns: list[int] = []
        bounds = [0]
        for count in counts:
            known = [(self.index[word], tf) for word, tf in count.items() if word in self.index]
            row = np.array([tf * self.weights[i] for i, tf in known])
            norm = float(np.sqrt((row**2).sum())) or 1.0
            values.extend(row / norm)
            columns.extend(i for i, _ in known)
            bounds.append(len(columns))
        return csr_array((np.array(values), np.array(columns, dtype=np.int64), bounds), (len(counts), len(self.index)))

    def _answer(self, prompt: str, index: int) -> str:
        source, completion = self.known[index]
        asked, found = _signature(prompt), _signature(source)
        used = set(re.findall(r"\w+", completion))
        pairs = [(old, new) for old, new in zip(found, asked, strict=False) if old != new and old in used]
        if not pairs:
            return completion
        left, right = (", ".join(names) for names in zip(*pairs, strict=True))
        return f"\n    {left} = {right}{completion}"


def _idf(seen: Counter[str], texts: int) -> list[float]:
    """Smoothed inverse document frequency, as scikit-learn defines it: ln((1 + n) / (1 + df)) + 1."""
    from math import log

    return [log((1 + texts) / (1 + frequency)) + 1 for frequency in seen.values()]


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]


def _signature(prompt: str) -> list[str]:
    """Name and positional arguments of the last function that a prompt opens; empty where it opens none."""
    try:
        functions = [n for n in parse(prompt + "\n    pass\n").body if isinstance(n, ast.FunctionDef)]
    except SyntaxError:
        return []
    if not functions:
        return []
    last = functions[-1]
    return [last.name, *(argument.arg for argument in [*last.args.posonlyargs, *last.args.args])]
