"""A port of this machine, taken before anything slow is done for it. Knows no model: whoever serves can use it."""

import contextlib
import socket
from collections.abc import Iterator

from evalkit.errors import ConfigError


def bind(host: str, port: int) -> socket.socket:
    """A socket with that address; port 0 is any free one. Raises ConfigError where it cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        said = f"cannot listen on {host!r}: {getattr(error, 'strerror', None) or error}"
        raise ConfigError(said, where="--host", fix="give an address of this machine") from error
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with taken(bound, port):
        bound.bind(address)
    return bound


@contextlib.contextmanager
def taken(bound: socket.socket, port: int) -> Iterator[None]:
    """What becomes of a port that another has: ConfigError, and the socket closed."""
    try:
        yield
    except (OSError, OverflowError) as error:
        bound.close()
        said = f"cannot listen on port {port}: {getattr(error, 'strerror', None) or error}"
        raise ConfigError(said, where="--port", fix="choose another port") from error
