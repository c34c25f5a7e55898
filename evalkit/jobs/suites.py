"""Which suites there are, and which of them could be read now."""

from typing import Any

from evalkit.errors import PotstillError
from evalkit.suites import SUITES


def suites() -> list[dict[str, Any]]:
    """Name, description, and the file that would be read, or why there is none."""
    rows = []
    for name, suite in SUITES.items():
        try:
            path = suite.path(name)
            rows.append({"name": name, "description": suite.description, "file": str(path), "ready": path.is_file()})
        except PotstillError as error:
            rows.append({"name": name, "description": suite.description, "file": str(error), "ready": False})
    return rows
