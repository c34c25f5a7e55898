"""Frames on a socket: four bytes of length, then JSON. The trusted side caps what it reads."""

import json
import os
import struct
from json import encoder
from typing import Any

MAX_FRAME = 8 << 20


def _no_data(value: Any) -> Any:
    raise TypeError(f"{type(value).__name__} is no JSON")


_DECODER = json.JSONDecoder()
_chunks = encoder.c_make_encoder(  # type: ignore[attr-defined]  # there, but in no stub
    None, _no_data, encoder.encode_basestring_ascii, None, ":", ",", False, False, True
)
"""`json.dumps` would make one for each frame. What it is given is a tree: the codec saw to that."""
ENDED = struct.Struct("<ii4qq104x")
"""A jail's word on how a program ended: wait status, whether it still ran then, and the kernel's rusage: user and
system time in seconds and microseconds, peak KiB."""
USAGE_AT = 8
_LENGTH = struct.Struct("<I")
CLOCK = struct.Struct("<d?")
"""CPU seconds that a program has used, and whether it wrote too much."""


def send(fd: int, data: Any) -> None:
    body = "".join(_chunks(data, 0))
    if len(body) > MAX_FRAME:
        raise MemoryError("the answer is too long")
    write(fd, body.encode())


def write(fd: int, body: bytes) -> None:
    frame = _LENGTH.pack(len(body)) + body
    sent = os.write(fd, frame)
    while sent < len(frame):
        sent += os.write(fd, memoryview(frame)[sent:])


def receive(fd: int) -> Any:
    """The next frame's JSON; EOFError at the end or where a frame is too long."""
    text = read(fd).decode()
    data, end = _DECODER.raw_decode(text)
    if end != len(text):
        raise ValueError("more than one value in a frame")
    return data


def read(fd: int) -> bytes:
    (length,) = _LENGTH.unpack(_exactly(fd, 4))
    if length > MAX_FRAME:
        raise EOFError("frame too long")
    return _exactly(fd, length)


def _exactly(fd: int, count: int) -> bytes:
    part = os.read(fd, count)
    if len(part) == count:
        return part
    parts = [part]
    while part and (count := count - len(part)):
        parts.append(part := os.read(fd, count))
    if count:
        raise EOFError
    return b"".join(parts)
