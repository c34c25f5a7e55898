"""Every answer, durable before anything uses it: SQLite in WAL mode, keyed by content; and what was spent for it.

`synchronous=NORMAL`: a committed answer survives a killed process always; on power loss commits since the last
checkpoint of the WAL may be lost, never torn. Several processes may share one journal, and one budget: what is left is
read inside the transaction that reserves it.

    answers    key, the request it answers, the answer
    attempts   every request that was sent and has no answer yet, at its worst case in dollars
    money      one row of sums: paid for answers (and for replies that were billed and held none), risked by open
               attempts, how many those are, and how many of both have no price
    batches    what was submitted to a Batch API and not collected yet; batched: the attempts in it

An attempt ends by an answer, by a refusal that no endpoint bills (an HTTP error, nobody there), or never: the process
was killed, the connection broke. Then nobody knows whether it was billed, and it stays counted at its worst.
"""

import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import ValidationError

from evalkit.endpoint.answer import Answer
from evalkit.errors import DataError

_APPLICATION_ID = 0x706F7473  # "pots"
VERSION = 2
"""Of the tables. Another version is refused."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, request TEXT NOT NULL, answer TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS attempts (id INTEGER PRIMARY KEY, key TEXT NOT NULL, usd REAL);
CREATE TABLE IF NOT EXISTS money (
    id INTEGER PRIMARY KEY CHECK (id = 0), paid REAL NOT NULL, risked REAL NOT NULL, open INTEGER NOT NULL,
    unpriced INTEGER NOT NULL
);
INSERT OR IGNORE INTO money VALUES (0, 0.0, 0.0, 0, 0);
CREATE TABLE IF NOT EXISTS batches (id TEXT PRIMARY KEY, endpoint TEXT NOT NULL, remote TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batched (attempt INTEGER PRIMARY KEY, batch TEXT NOT NULL, request TEXT NOT NULL);
"""
PATIENCE = 30.0
"""Seconds to wait for another process that writes."""
_AT_A_TIME = 500
"""Keys looked up by one statement."""


@dataclass(frozen=True)
class Spending:
    """Dollars of a journal. `risked` is the worst case of the `open` attempts, whose fate is unknown; `unpriced` counts
    answers and attempts without a price: where there are any, the dollars say nothing."""

    paid: float
    risked: float
    unpriced: int
    open: int

    @property
    def worst(self) -> float:
        return self.paid + self.risked


class Journal:
    """A context manager. Raises DataError where the file is torn, of another version, or none of ours."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.lock = threading.Lock()
        self.closed = False
        self._last: Spending | None = None

    def __enter__(self) -> "Journal":
        give_up = time.monotonic() + PATIENCE
        while True:
            try:
                return self._open()
            except sqlite3.DatabaseError as error:
                if hasattr(self, "db"):
                    self.db.close()
                # Two processes that open a new journal at once: SQLite waits for most locks, not for this one.
                locked = "locked" in str(error)
                if not locked or time.monotonic() > give_up:
                    raise self._error(*_reason(str(error), locked=locked)) from error
                time.sleep(0.05)
            except OSError as error:
                raise self._error(f"cannot open: {error}") from error

    def _open(self) -> "Journal":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.db = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
        self._check_owner()
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=NORMAL")
        self.db.execute(f"PRAGMA application_id={_APPLICATION_ID}")
        self.db.execute(f"PRAGMA user_version={VERSION}")
        self.db.executescript(_SCHEMA)
        (sound,) = self.db.execute("PRAGMA quick_check(1)").fetchone()
        if sound != "ok":
            raise self._error(f"a torn journal: {sound}", "restore or move it")
        return self

    def _check_owner(self) -> None:
        (owner,) = self.db.execute("PRAGMA application_id").fetchone()
        (version,) = self.db.execute("PRAGMA user_version").fetchone()
        (tables,) = self.db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and owner != _APPLICATION_ID:
            raise self._error("a database of another program", "choose another journal")
        if tables and version != VERSION:
            raise self._error(
                f"a journal of version {version}, but this potstill reads version {VERSION}",
                "use the potstill that wrote it, or another journal",
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._last = self.spending()
        except sqlite3.Error:
            self._last = None
        with self.lock:
            self.db.close()
            self.closed = True

    def _error(self, what: str, fix: str = "") -> DataError:
        return DataError(what, where=str(self.path), fix=fix)

    def find(self, keys: Iterable[str]) -> dict[str, Answer]:
        """The answers known already, by key."""
        wanted, found = list(keys), {}
        for start in range(0, len(wanted), _AT_A_TIME):
            part = wanted[start : start + _AT_A_TIME]
            marks = ",".join("?" * len(part))
            with self.lock:
                rows = self.db.execute(f"SELECT key, answer FROM answers WHERE key IN ({marks})", part).fetchall()
            for key, answer in rows:
                found[key] = self._read(answer)
        return found

    def get(self, key: str) -> Answer | None:
        """One answer, or None."""
        return self.find([key]).get(key)

    def __len__(self) -> int:
        with self.lock:
            (number,) = self.db.execute("SELECT count(*) FROM answers").fetchone()
        return int(number)

    def spending(self) -> Spending:
        """What was paid, and what attempts without a known end may have cost; after closing, what it was then."""
        with self.lock:
            if self.closed and self._last is not None:
                return self._last
            paid, risked, number, unpriced = self.db.execute(
                "SELECT paid, risked, open, unpriced FROM money"
            ).fetchone()
        return Spending(paid, max(0.0, risked), unpriced, number)

    def write(self) -> "Transaction":
        """A context manager: what is done in it is durable at its end, or undone."""
        return Transaction(self)

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """Rows of a query."""
        with self.lock:
            return self.db.execute(statement, values).fetchall()

    def answers(self) -> Iterator[Answer]:
        """Every answer, in the order of the keys."""
        last = ""
        while rows := self.rows("SELECT key, answer FROM answers WHERE key > ? ORDER BY key LIMIT 500", (last,)):
            last = rows[-1][0]
            yield from (self._read(answer) for _, answer in rows)

    def _read(self, answer: str) -> Answer:
        try:
            return Answer.model_validate_json(answer).model_copy(update={"from_journal": True})
        except ValidationError as error:
            raise self._error(f"holds an answer that cannot be read: {answer[:80]!r}", "restore or move it") from error

    def holds(self) -> bool:
        """Whether anything was paid or risked for what stands here."""
        (found,) = self.rows("SELECT (SELECT count(*) FROM answers) + open + (SELECT count(*) FROM batches) FROM money")
        return bool(found[0])


def paid(path: Path) -> bool:
    """Whether there is a journal at `path` that holds anything that cost, or may have cost, something."""
    if not path.exists():
        return False
    with Journal(path) as journal:
        return journal.holds()


def _reason(error: str, *, locked: bool) -> tuple[str, str]:
    """What keeps a journal from being opened, and what to do."""
    if locked:
        return "another process holds it", "wait for it"
    if "full" in error:
        return f"cannot write: {error}", "free some space and run again"
    return f"not a readable journal: {error}", "restore or move it"


class Transaction:
    """Everything that is written: one transaction for a group of requests costs little more than one for a single."""

    def __init__(self, journal: Journal) -> None:
        self.journal, self.db = journal, journal.db

    def __enter__(self) -> "Transaction":
        self.journal.lock.acquire()
        try:
            self.db.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            self.journal.lock.release()
            raise self._failed(error) from error
        return self

    def _failed(self, error: sqlite3.Error) -> DataError:
        locked = "locked" in str(error) or "busy" in str(error)
        fix = "another process writes to it: wait for it" if locked else "free some space, or look at the disk"
        return self.journal._error(f"cannot write: {error}", fix)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        failure = error if isinstance(error, sqlite3.Error) else None
        try:
            if error is None:
                try:
                    self.db.execute("COMMIT")
                except sqlite3.Error as caught:
                    failure = caught
            if self.db.in_transaction:  # a full disk has rolled back by itself
                self.db.execute("ROLLBACK")
        finally:
            self.journal.lock.release()
        if failure is not None:
            raise self._failed(failure) from failure

    def reserve(
        self, key: str, usd: float | None, limit: float | None, batch: str | None = None, request: str | None = None
    ) -> int | None:
        """Note a request that is about to be sent, one of a batch with its content; None where it could exceed `limit`
        dollars in all."""
        if limit is not None:
            (spent,) = self.db.execute("SELECT paid + risked FROM money").fetchone()
            if spent + (usd or 0.0) > limit:
                return None
        attempt = self.db.execute("INSERT INTO attempts (key, usd) VALUES (?, ?)", (key, usd)).lastrowid
        if batch is not None:
            self.db.execute("INSERT INTO batched VALUES (?, ?, ?)", (attempt, batch, request))
        self._add(risked=usd or 0.0, open=1, unpriced=int(usd is None))
        return attempt

    def commit(self, answer: Answer, text: str, request: str, attempt: int) -> None:
        """Make an answer durable (`text`: its JSON), and settle its attempt: what it cost instead of what it might
        have. Where no usage came the worst case is all that is known, and stays counted."""
        self.db.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?)", (answer.key, request, text))
        worst = self._close(attempt)
        paid = worst if answer.cost_usd is None else answer.cost_usd
        self._add(paid=paid or 0.0, unpriced=int(answer.cost_usd is None))

    def release(self, attempt: int, usd: float | None = 0.0) -> None:
        """An attempt that was not billed, or was billed `usd` for no answer. None: unknown, it stays as it is."""
        if usd is not None:
            self._close(attempt)
            self._add(paid=usd)

    def _close(self, attempt: int) -> float | None:
        """Take an attempt out; its worst case."""
        row = self.db.execute("DELETE FROM attempts WHERE id = ? RETURNING usd", (attempt,)).fetchone()
        if row is None:
            return None
        (usd,) = row
        self.db.execute("DELETE FROM batched WHERE attempt = ?", (attempt,))
        self._add(risked=-(usd or 0.0), open=-1, unpriced=-int(usd is None))
        return None if usd is None else float(usd)

    def _add(self, *, paid: float = 0.0, risked: float = 0.0, open: int = 0, unpriced: int = 0) -> None:
        values = (paid, risked, open, unpriced)
        self.db.execute(
            "UPDATE money SET paid = paid + ?, risked = risked + ?, open = open + ?, unpriced = unpriced + ?", values
        )


def serialised(answer: Answer) -> str:
    """An answer's JSON as the journal keeps it."""
    return answer.model_dump_json(exclude={"from_journal"}, exclude_defaults=True)
