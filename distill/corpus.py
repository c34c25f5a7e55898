"""A corpus: the texts of source files and of .jsonl files, and the few that are held out of training."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from distill.recipe import DataPart
from evalkit.errors import DataError

FIELDS = ("text", "content")
"""Where a line of a .jsonl file has its text."""


@dataclass(frozen=True)
class Documents:
    """Texts in the order of the recipe and of the names of files, each once."""

    learned: list[str]
    held_out: list[str]
    repeated: int
    """How many were left out because the same text had come before, or is held out (whitespace aside)."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 (first 16 hex digits) of the learned texts, in order."""
        digest = hashlib.sha256()
        for text in self.learned:
            digest.update(hashlib.sha256(text.encode()).digest())
        return digest.hexdigest()[:16]


def read_corpus(part: DataPart) -> Documents:
    """Read it whole. Raises DataError for a path that is not there, a line without text, or no text at all.

    Which documents are held out is decided by their content alone: adding others changes nothing about them. What
    differs from one of them in whitespace only is not learned either.
    """
    learned: list[str] = []
    held_out: list[str] = []
    seen: set[bytes] = set()
    repeated = 0
    for text in _texts(part.corpus, part.suffixes):
        if not text.strip():
            continue
        key = hashlib.sha256(text.encode()).digest()
        if key in seen:
            repeated += 1
            continue
        seen.add(key)
        (held_out if int.from_bytes(key[:8], "big") < part.held_out * 2**64 else learned).append(text)
    apart = {_words(text) for text in held_out}
    known = [text for text in learned if _words(text) not in apart]
    learned, repeated = known, repeated + len(learned) - len(known)
    if not learned:
        raise DataError("the corpus holds no text to learn", where=", ".join(part.corpus), fix="check data.suffixes")
    return Documents(learned, held_out, repeated)


def _words(text: str) -> bytes:
    return hashlib.sha256(" ".join(text.split()).encode()).digest()


def _texts(paths: Sequence[str], suffixes: Sequence[str]) -> Iterator[str]:
    for path in map(Path, paths):
        if path.is_dir():
            for file in sorted(p for p in path.rglob("*") if p.suffix in suffixes and p.is_file()):
                yield from _file(file)
        else:
            yield from _file(path)


def _file(path: Path) -> Iterator[str]:
    try:
        if path.suffix == ".jsonl":
            with path.open(encoding="utf-8") as lines:
                for number, line in enumerate(lines, 1):
                    if line.strip():
                        yield _text(line, f"{path}, line {number}")
        else:
            yield path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read: {error}", where=str(path), fix="give UTF-8 text, or leave it out") from error


def _text(line: str, where: str) -> str:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise DataError(f"no JSON: {error}", where=where) from error
    for name in FIELDS if isinstance(found, dict) else ():
        if isinstance(found.get(name), str):
            try:
                found[name].encode()
            except UnicodeEncodeError as error:
                raise DataError(f"its text is no Unicode: {error}", where=where) from error
            return str(found[name])
    raise DataError(f"has none of the fields {', '.join(FIELDS)}", where=where)
