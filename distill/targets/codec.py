"""Kept targets of one row as bytes, and back.

    sampled   entropy: N x float16 | uniques: N x uint8 | low bits of the ids | high bits of the ids, and the counts
    top-k     log-probabilities: N x k x float16 | of the rest: N x float16 | ids: bits(vocabulary) each
    states    N x width, as the teacher made them

Drawn ids come sorted, which is worth log2(n!) bits a position: of each the low bits are written as they are, and how
far the high bits are from those of the id before in unary (Elias 1974, Fano 1971), two to three bits an id. Counts
are unary too: most are 1. Thirty draws of twenty ids from a vocabulary of 151,936 take 20 x (12 + 2.9) + 30 bits and
3 bytes: 44 bytes a position, where whole ids with counts of 5 bits would take 61.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distill.targets.drawing import Drawn, Top

Bytes = NDArray[np.uint8]
VERSION = 2
"""Of these forms; a manifest names it."""


@dataclass(frozen=True)
class Form:
    """How the rows of a cache are written: `draws` for sampled ids, `k` for top-k, `width` for hidden states; the
    others are 0."""

    valid: int
    draws: int = 0
    k: int = 0
    width: int = 0

    @property
    def id_bits(self) -> int:
        return max(1, (self.valid - 1).bit_length())

    def low_bits(self, positions: int, listed: int) -> int:
        """Of an id, where so many are listed at so many positions: what is above them is short in unary."""
        return max(0, (self.valid * positions // max(1, listed)).bit_length() - 1)


def encode_drawn(row: Drawn, form: Form) -> bytes:
    """Ids ascend within a position."""
    low = form.low_bits(len(row.uniques), len(row.ids))
    high = row.ids >> low
    steps = np.diff(high, prepend=0)
    starts = np.cumsum(row.uniques) - row.uniques
    steps[starts] = high[starts]
    return b"".join(
        (
            row.entropy.astype("<f2").tobytes(),
            row.uniques.astype(np.uint8).tobytes(),
            _pack(row.ids & ((1 << low) - 1), low),
            np.packbits(np.concatenate([_unary(steps), _unary(row.counts - 1)])).tobytes(),
        )
    )


def decode_drawn(data: Bytes, positions: int, form: Form) -> Drawn:
    """Raises ValueError where the bytes are not as long as they say."""
    entropy = data[: 2 * positions].view("<f2").astype(np.float32)
    uniques = data[2 * positions : 3 * positions].astype(np.int64)
    total, rest = int(uniques.sum()), data[3 * positions :]
    low = form.low_bits(positions, total)
    middle = -(-total * low // 8)
    bits = np.unpackbits(rest[middle:])
    ones = np.flatnonzero(bits)
    if len(ones) != 2 * total or (total and len(bits) - ones[-1] > 8):
        raise ValueError(f"{len(ones)} marks where {2 * total} should be")
    zeros = ones - np.arange(2 * total)  # before each mark, in all
    before = np.concatenate([[0], zeros[:total]])[np.cumsum(uniques) - uniques]
    high = zeros[:total] - np.repeat(before, uniques)
    counts = np.diff(zeros[total - 1 :]) + 1 if total else zeros
    if (np.bincount(np.repeat(np.arange(positions), uniques), counts, positions) != form.draws).any():
        raise ValueError(f"the counts of a position are not {form.draws} draws")
    return Drawn(uniques, high << low | _unpack(rest[:middle], total, low), counts, entropy)


def encode_top(row: Top, form: Form) -> bytes:
    return b"".join(
        (
            row.log_probs.astype("<f2").tobytes(),
            np.maximum(row.rest, -60000).astype("<f2").tobytes(),
            _pack(row.ids.reshape(-1), form.id_bits),
        )
    )


def decode_top(data: Bytes, positions: int, form: Form) -> Top:
    """Raises ValueError where the bytes are not as long as they say."""
    listed = positions * form.k
    log_probs = data[: 2 * listed].view("<f2").astype(np.float32).reshape(positions, form.k)
    rest = data[2 * listed : 2 * (listed + positions)].view("<f2").astype(np.float32)
    ids = _unpack(data[2 * (listed + positions) :], listed, form.id_bits)
    return Top(ids.reshape(positions, form.k), log_probs, rest)


def _unary(values: NDArray[np.int64]) -> NDArray[np.uint8]:
    """So many zeros, and a one, for each value."""
    bits = np.zeros(int(values.sum()) + len(values), np.uint8)
    bits[np.cumsum(values + 1) - 1] = 1
    return bits


def _pack(values: NDArray[np.int64], bits: int) -> bytes:
    places = np.arange(bits - 1, -1, -1)
    return np.packbits(((values[:, None] >> places) & 1).astype(np.uint8).reshape(-1)).tobytes()


def _unpack(data: Bytes, count: int, bits: int) -> NDArray[np.int64]:
    if len(data) != -(-count * bits // 8):
        raise ValueError(f"{len(data)} bytes where {count} values of {bits} bits should be")
    found = np.unpackbits(data, count=count * bits).reshape(count, bits).astype(np.int64)
    return found @ (1 << np.arange(bits - 1, -1, -1))
