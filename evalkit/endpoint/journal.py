"""Every answer, durable before anything uses it: SQLite in WAL mode, keyed by content.

`synchronous=NORMAL`: a committed answer survives a killed process always; on power loss commits since the last
checkpoint of the WAL may be lost, never torn. Requests under way are reserved at their worst case, so that a killed
run knows what it may have spent. Several processes may share one journal.
"""

import sqlite3
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType

from evalkit.endpoint.answer import Answer
from evalkit.errors import DataError

_APPLICATION_ID = 0x706F7473  # "pots"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reserved (key TEXT PRIMARY KEY, usd REAL NOT NULL) WITHOUT ROWID;
"""


class Journal:
    """A context manager. Raises DataError where the file is torn or none of ours."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.lock = threading.Lock()

    def __enter__(self) -> "Journal":
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.db = sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)
            (found,) = self.db.execute("PRAGMA application_id").fetchone()
            (tables,) = self.db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if found != _APPLICATION_ID and tables:
                raise DataError("a database of another program", where=str(self.path), fix="choose another journal")
            self.db.execute("PRAGMA journal_mode=WAL")
            self.db.execute("PRAGMA synchronous=NORMAL")
            self.db.execute(f"PRAGMA application_id={_APPLICATION_ID}")
            self.db.executescript(_SCHEMA)
            (sound,) = self.db.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.DatabaseError as error:
            raise DataError(
                f"not a readable journal: {error}", where=str(self.path), fix="restore or move it"
            ) from error
        except OSError as error:
            raise DataError(f"cannot open: {error}", where=str(self.path)) from error
        if sound != "ok":
            raise DataError(f"a torn journal: {sound}", where=str(self.path), fix="restore or move it")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.db.close()

    def find(self, keys: Iterable[str]) -> dict[str, Answer]:
        """The answers known already, by key."""
        found = {}
        with self.lock:
            for key in keys:
                row = self.db.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
                if row:
                    found[key] = Answer.model_validate_json(row[0]).model_copy(update={"from_journal": True})
        return found

    def reserve(self, reservations: Mapping[str, float]) -> None:
        """Note requests that are about to be sent, at their worst case in dollars."""
        with self._writing():
            self.db.executemany("INSERT OR REPLACE INTO reserved VALUES (?, ?)", list(reservations.items()))

    def commit(self, answers: Iterable[Answer]) -> None:
        """Make answers durable and release their reservations, in one transaction."""
        answers = list(answers)
        with self._writing():
            self.db.executemany(
                "INSERT OR IGNORE INTO answers VALUES (?, ?)",
                [(answer.key, answer.model_dump_json(exclude={"from_journal"})) for answer in answers],
            )
            self.db.executemany("DELETE FROM reserved WHERE key = ?", [(answer.key,) for answer in answers])

    def spent(self) -> float:
        """Dollars of all answers with a known price, and of what was under way when a process died, at its worst."""
        with self.lock:
            (paid,) = self.db.execute("SELECT total(json_extract(answer, '$.cost_usd')) FROM answers").fetchone()
            (risked,) = self.db.execute("SELECT total(usd) FROM reserved").fetchone()
        return float(paid) + float(risked)

    def _writing(self) -> "_Transaction":
        return _Transaction(self)


class _Transaction:
    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    def __enter__(self) -> None:
        self.journal.lock.acquire()
        try:
            self.journal.db.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            self.journal.lock.release()
            raise DataError(f"cannot write: {error}", where=str(self.journal.path), fix="free some space") from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.journal.db.execute("ROLLBACK" if kind else "COMMIT")
        except sqlite3.Error as failure:
            raise DataError(
                f"cannot write: {failure}", where=str(self.journal.path), fix="free some space"
            ) from failure
        finally:
            self.journal.lock.release()
