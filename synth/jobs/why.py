"""synth why: why a row was kept or rejected."""

from pathlib import Path

from evalkit.errors import DataError
from synth.dataset import read_rejects, read_split
from synth.jobs.show import describe
from synth.records import Split


def why(dataset: Path, id: str) -> str:
    """The evidence of a kept row, or stage, reason and answer of a rejected one."""
    for split in Split:
        for sample in read_split(dataset, split):
            if sample.id == id:
                checked = ", ".join(sample.evidence.contamination.get("suites", ())) or "no suite"
                return f"kept in {split}\n{describe(sample)}checked against {checked}"
    for reject in read_rejects(dataset):
        if reject.id == id:
            return f"rejected at {reject.stage}: {reject.reason}\n\n{reject.text}"
    raise DataError(f"no row {id!r}", where=str(dataset), fix="ids look like synth/17")
