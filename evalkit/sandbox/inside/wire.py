"""Frames on a socket: four bytes of length, then JSON. The trusted side caps what it reads."""

import json
import os
import struct
from typing import Any

MAX_FRAME = 8 << 20
_ENCODER = json.JSONEncoder(separators=(",", ":"), check_circular=False)
"""`json.dumps` would make one for each frame. What it is given is a tree: the codec saw to that."""
ENDED = struct.Struct("<ii4qq104x")
"""A jail's word on how a program ended: wait status, whether it still ran then, and the kernel's rusage: user and
system time in seconds and microseconds, peak KiB."""
USAGE_AT = 8
CLOCK = struct.Struct("<d?")
"""CPU seconds that a program has used, and whether it wrote too much."""


def send(fd: int, data: Any) -> None:
    body = _ENCODER.encode(data).encode()
    if len(body) > MAX_FRAME:
        raise MemoryError("the answer is too long")
    write(fd, body)


def write(fd: int, body: bytes) -> None:
    frame = memoryview(struct.pack("<I", len(body)) + body)
    while frame:
        frame = frame[os.write(fd, frame) :]


def receive(fd: int) -> Any:
    """The next frame's JSON; EOFError at the end or where a frame is too long."""
    return json.loads(read(fd))


def read(fd: int) -> bytes:
    (length,) = struct.unpack("<I", _exactly(fd, 4))
    if length > MAX_FRAME:
        raise EOFError("frame too long")
    return _exactly(fd, length)


def _exactly(fd: int, count: int) -> bytes:
    parts = []
    while count:
        part = os.read(fd, count)
        if not part:
            raise EOFError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
