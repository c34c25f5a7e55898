"""A cache of hidden states: whatever the head makes of them is the whole teacher again, for any loss.

The head lies beside them (head.safetensors), so that the teacher's body need not be here.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from distill.data import Tokens, fingerprint
from distill.losses import Head
from distill.targets.store import Store
from evalkit.errors import DataError
from evalkit.runs import write_atomic

HEAD = "head.safetensors"


class States(NamedTuple):
    """Hidden states [N, H] of learned positions, after the last norm."""

    states: Tensor


def write_head(folder: Path, head: Head) -> str:
    """Keep a teacher's head; returns the file's fingerprint."""
    parts = {"weight": head.weight, "bias": head.bias}
    kept = {name: part.detach().cpu().contiguous() for name, part in parts.items() if part is not None}
    about = {} if head.softcap is None else {"softcap": repr(float(head.softcap))}
    write_atomic(folder / HEAD, save(kept, about))
    return fingerprint(folder / HEAD)


def read_head(folder: Path, mark: str, valid: int) -> Head:
    """Raises DataError for a head that is missing, is not what was written, or has fewer than `valid` ids."""
    file, fix = folder / HEAD, "delete this cache and run `distill cache` again"
    try:
        if fingerprint(file) != mark:
            raise DataError("the head is not what was written (its checksum differs)", where=str(file), fix=fix)
        with safe_open(file, "pt") as stored:
            parts = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118  # it is no dict
            about = stored.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise DataError(f"cannot read the teacher's head: {error}", where=str(file), fix=fix) from error
    if parts["weight"].shape[0] < valid:
        raise DataError(f"the head has {parts['weight'].shape[0]} ids, but {valid} are real", where=str(file), fix=fix)
    return Head(parts["weight"], parts.get("bias"), float(about["softcap"]) if "softcap" in about else None)


class KeptStates:
    """States by row: called with rows, gives those of all their learned positions, in order. `head` reads them."""

    def __init__(self, store: Store, head: Head) -> None:
        self.store, self.head = store, head

    def __call__(self, rows: Sequence[Tokens]) -> States:
        """Raises DataError for a row that the cache does not hold, and for one of another length."""
        width, dtype = self.head.weight.shape[1], self.head.weight.dtype
        parts = []
        for row in rows:
            data, positions = self.store.row(row.digest)
            if len(data) != positions * width * dtype.itemsize:
                raise DataError("a record is damaged: its length is wrong", where=str(self.store.folder))
            parts.append(data.tobytes())
        whole = torch.frombuffer(bytearray(b"".join(parts)), dtype=dtype)
        return States(whole.view(-1, width))
