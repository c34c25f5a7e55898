"""Run folders: a manifest, append-only rows, atomic writes, and a refusal to resume under another recipe."""

import json
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from evalkit.errors import ConfigError, DataError
from evalkit.records import SCHEMA_VERSION, digest

T = TypeVar("T", bound=BaseModel)


def write_atomic(path: str | Path, content: str | bytes) -> None:
    """Write a file whole or not at all: a temporary file in the same folder, fsync, rename.

    Raises DataError where it cannot be written (a full disk, no permission); what stood there before is untouched.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = file.name
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise cannot_write(path, error) from error


def write_jsonl(path: str | Path, records: Iterable[BaseModel]) -> None:
    """Write records, one JSON object per line, whole or not at all."""
    write_atomic(path, "".join(record.model_dump_json() + "\n" for record in records))


def append_jsonl(path: str | Path, records: Iterable[BaseModel]) -> None:
    """Append records and flush them to the disk. The torn tail of a killed writer is cut off first."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            _cut_torn_tail(file.fileno())
            file.write("".join(record.model_dump_json() + "\n" for record in records).encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise cannot_write(path, error) from error


def _cut_torn_tail(fd: int) -> None:
    size = os.fstat(fd).st_size
    if size == 0 or os.pread(fd, 1, size - 1) == b"\n":
        return
    position = size
    while position > 0:
        start = max(0, position - 65536)
        newline = os.pread(fd, position - start, start).rfind(b"\n")
        if newline >= 0:
            os.ftruncate(fd, start + newline + 1)
            return
        position = start
    os.ftruncate(fd, 0)


def cannot_write(path: Path, error: OSError) -> DataError:
    """What a file that could not be written comes to: what, where, and what to do."""
    fix = "free some space and run again" if error.errno == 28 else "check the folder and its permissions"
    return DataError(f"cannot write: {error.strerror or error}", where=str(path), fix=fix)


def iterate_jsonl(path: str | Path, model: type[T], *, torn_tail: bool = False) -> Iterator[T]:
    """Records of a JSON Lines file. With `torn_tail`, an unfinished last line (no newline) is passed over.

    Raises DataError with the line number where a line is no JSON, or no such record.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if torn_tail and not line.endswith(b"\n"):
                    return
                if not line.strip():
                    continue
                try:
                    yield model.model_validate_json(line)
                except ValidationError as error:
                    first = error.errors()[0]
                    key = ".".join(str(part) for part in first["loc"])
                    raise DataError(
                        f"malformed record: {key + ': ' if key else ''}{first['msg']}", where=f"{path}, line {number}"
                    ) from error
    except OSError as error:
        raise DataError(f"cannot read: {error.strerror or error}", where=str(path)) from error


def read_jsonl(path: str | Path, model: type[T], *, torn_tail: bool = False) -> list[T]:
    return list(iterate_jsonl(path, model, torn_tail=torn_tail))


def read_json(path: str | Path) -> dict[str, Any]:
    """A JSON object from a file; DataError where it is missing or is not one."""
    path = Path(path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read: {error.strerror or error}", where=str(path)) from error
    except ValueError as error:
        raise DataError(f"not valid JSON: {error}", where=str(path)) from error
    if not isinstance(data, dict):
        raise DataError("not a JSON object", where=str(path))
    return data


def check_schema(manifest: dict[str, Any], where: str) -> None:
    """Refuse a folder that another schema version wrote."""
    found = manifest.get("schema")
    if found != SCHEMA_VERSION:
        raise DataError(
            f"schema version {found!r}, but this potstill reads version {SCHEMA_VERSION}",
            where=where,
            fix="make the folder again, or use the potstill that wrote it",
        )


class RunFolder:
    """`manifest.json` (what made this), append-only rows, `summary.json` (written last: it means finished).

    `may_change` names keys that say how fast and for how much money, not what: they may differ when it is resumed.
    `keeps` are the beginnings of names of files that may stand in the folder before it is a run's.
    """

    def __init__(
        self,
        path: str | Path,
        kind: str,
        recipe: dict[str, Any],
        *,
        may_change: Collection[str] = (),
        keeps: tuple[str, ...] = (),
    ) -> None:
        self.path, self.kind, self.recipe, self.may_change = Path(path), kind, recipe, may_change
        self.keeps = keeps
        self.fresh = False
        """Whether `open` has created it."""

    def open(self, **facts: Any) -> "RunFolder":
        """Create the folder, or resume it. Raises ConfigError where it was made by another recipe, naming the keys."""
        file = self.path / "manifest.json"
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError("is a file, not a folder", where=str(self.path), fix="choose another output folder")
        if file.exists():
            manifest = read_json(file)
            check_schema(manifest, str(file))
            if manifest.get("kind") != self.kind:
                raise ConfigError(f"holds a {manifest.get('kind')!r} run, not {self.kind!r}", where=str(self.path))
            changed = differing_keys(manifest.get("recipe", {}), self.recipe)
            changed = [key for key in changed if key.rpartition(".")[2] not in self.may_change]
            if changed:
                raise ConfigError(
                    f"was started with another recipe; these keys differ: {', '.join(changed)}",
                    where=str(self.path),
                    fix="choose another output folder, or put the recipe back",
                )
            if manifest.get("recipe") != self.recipe:
                self._write(manifest)
            return self
        begun = (*self.keeps, f".{file.name}.")  # a manifest that another process writes, or was killed over
        others = [other.name for other in self.path.iterdir()] if self.path.is_dir() else []
        if file.name in others and file.exists():  # it came just now
            return self.open(**facts)
        if any(not name.startswith(begun) for name in others):
            raise ConfigError(
                "is not empty and holds no manifest.json", where=str(self.path), fix="choose another folder"
            )
        self.fresh = not others
        self._write({**environment(), **facts})
        return self

    @contextmanager
    def or_nothing(self, *errors: type[Exception], holds: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """Where one of these errors ends the very first run, the folder goes again: it would hold nothing of use. It
        stays where other things stood in it before, or where `holds` says that it has something worth keeping."""
        try:
            yield
        except errors:
            if self.fresh and not holds():
                shutil.rmtree(self.path, ignore_errors=True)
            raise

    def update_manifest(self, **facts: Any) -> None:
        self._write({**self.manifest, **facts})

    def _write(self, facts: dict[str, Any]) -> None:
        fixed = {
            "schema": SCHEMA_VERSION,
            "kind": self.kind,
            "recipe_digest": digest(self.recipe),
            "recipe": self.recipe,
        }
        write_atomic(self.path / "manifest.json", json.dumps({**facts, **fixed}, indent=2) + "\n")

    @property
    def manifest(self) -> dict[str, Any]:
        return read_json(self.path / "manifest.json")

    @property
    def finished(self) -> bool:
        return (self.path / "summary.json").exists()

    def finish(self, summary: dict[str, Any]) -> None:
        write_atomic(self.path / "summary.json", json.dumps(summary, indent=2) + "\n")

    @property
    def summary(self) -> dict[str, Any]:
        return read_json(self.path / "summary.json")


def differing_keys(old: Any, new: Any, prefix: str = "") -> list[str]:
    """Dotted names of the keys at which two recipes differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        names = sorted(set(old) | set(new))
        return [key for name in names for key in differing_keys(old.get(name), new.get(name), f"{prefix}{name}.")]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [
            key for i, pair in enumerate(zip(old, new, strict=True)) for key in differing_keys(*pair, f"{prefix}{i}.")
        ]
    return [] if old == new else [prefix.rstrip(".")]


def environment() -> dict[str, Any]:
    """When, with what and on what: creation time, git revision, versions, hardware."""
    packages = ("potstill", "torch", "transformers", "trl", "peft", "datasets", "tokenizers", "openai")
    versions = {}
    for name in packages:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    hardware = {"machine": platform.machine(), "cores": os.cpu_count(), "system": platform.system()}
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "git": git_revision(),
        "versions": {"python": platform.python_version(), **versions},
        "hardware": hardware,
    }


def git_revision() -> str | None:
    """Revision of the checkout this package runs from, `+` appended where it has changes; None outside a checkout."""
    try:
        result = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--dirty=+"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None if result.returncode == 0 else None
