"""A cache of hidden states: whatever the head makes of them is the whole teacher again, for any loss.

The head lies beside them (head.safetensors), so that the teacher's body need not be here.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from distill.data import Tokens, fingerprint
from distill.losses import Head
from distill.targets.codec import Form
from distill.targets.store import Store
from evalkit.errors import DataError
from evalkit.runs import write_atomic

HEAD = "head.safetensors"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class States(NamedTuple):
    """Hidden states [N, H] of learned positions, after the last norm."""

    states: Tensor


def write_head(folder: Path, head: Head, dtype: torch.dtype) -> str:
    """Keep a teacher's head; returns the file's fingerprint."""
    parts = {"weight": head.weight, "bias": head.bias}
    kept = {name: part.detach().to("cpu", dtype).contiguous() for name, part in parts.items() if part is not None}
    write_atomic(folder / HEAD, save(kept))
    return fingerprint(folder / HEAD)


def read_head(folder: Path, mark: str, softcap: float | None) -> Head:
    """Raises DataError for a head that is missing or is not what was written."""
    file, fix = folder / HEAD, "delete this cache and run `distill cache` again"
    try:
        if fingerprint(file) != mark:
            raise DataError("the head is not what was written (its checksum differs)", where=str(file), fix=fix)
        parts = load_file(file)
    except (OSError, SafetensorError) as error:
        raise DataError(f"cannot read the teacher's head: {error}", where=str(file), fix=fix) from error
    return Head(parts["weight"], parts.get("bias"), softcap)


class KeptStates:
    """States by row: called with rows, gives those of all their learned positions, in order. `head` reads them."""

    def __init__(self, store: Store, form: Form, head: Head) -> None:
        self.store, self.form, self.head = store, form, head

    def __call__(self, rows: Sequence[Tokens]) -> States:
        """Raises DataError for a row that the cache does not hold, and for one of another length."""
        dtype = DTYPES[self.form.dtype]
        parts = []
        for row in rows:
            data, positions = self.store.row(row.digest)
            if len(data) != positions * self.form.width * dtype.itemsize:
                raise DataError("a record is damaged: its length is wrong", where=str(self.store.folder))
            parts.append(data.tobytes())
        whole = torch.frombuffer(bytearray(b"".join(parts)), dtype=dtype)
        return States(whole.view(-1, self.form.width))
