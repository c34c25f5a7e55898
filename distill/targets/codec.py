"""Kept targets of one row as bytes, and back. Ids and counts take as many bits as they need.

    sampled   entropy: N x float16 | uniques: N x uint8 | ids: bits(vocabulary) each | counts: bits(draws) each
    top-k     log-probabilities: N x k x float16 | of the rest: N x float16 | ids: bits(vocabulary) each

A dozen ids of a vocabulary of 151,936 with counts up to 50 take 12 x (18 + 6) bits and 3 bytes: 39 bytes a position.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distill.targets.drawing import Drawn, Top

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Form:
    """How the rows of a cache are written. `draws` for sampled ids, `k` for top-k; the other is 0."""

    valid: int
    draws: int = 0
    k: int = 0

    @property
    def id_bits(self) -> int:
        return max(1, (self.valid - 1).bit_length())

    @property
    def count_bits(self) -> int:
        return self.draws.bit_length()


def encode_drawn(row: Drawn, form: Form) -> bytes:
    return b"".join(
        (
            row.entropy.astype("<f2").tobytes(),
            row.uniques.astype(np.uint8).tobytes(),
            _pack(row.ids, form.id_bits),
            _pack(row.counts, form.count_bits),
        )
    )


def decode_drawn(data: Bytes, positions: int, form: Form) -> Drawn:
    """Raises ValueError where the bytes are not as long as they say."""
    entropy = data[: 2 * positions].view("<f2").astype(np.float32)
    uniques = data[2 * positions : 3 * positions].astype(np.int64)
    total, rest = int(uniques.sum()), data[3 * positions :]
    middle = -(-total * form.id_bits // 8)
    ids, counts = _unpack(rest[:middle], total, form.id_bits), _unpack(rest[middle:], total, form.count_bits)
    return Drawn(uniques, ids, counts, entropy)


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


def _pack(values: NDArray[np.int64], bits: int) -> bytes:
    places = np.arange(bits - 1, -1, -1)
    return np.packbits(((values[:, None] >> places) & 1).astype(np.uint8).reshape(-1)).tobytes()


def _unpack(data: Bytes, count: int, bits: int) -> NDArray[np.int64]:
    if len(data) != -(-count * bits // 8):
        raise ValueError(f"{len(data)} bytes where {count} values of {bits} bits should be")
    found = np.unpackbits(data, count=count * bits).reshape(count, bits)
    return found @ (1 << np.arange(bits - 1, -1, -1))
