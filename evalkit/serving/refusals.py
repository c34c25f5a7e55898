"""What the server says no with: an HTTP status and OpenAI's error form."""

from typing import Any

from evalkit.endpoint.reading import storable


class Refusal(Exception):
    """A request that gets no answer. `param` is the parameter at fault."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code

    @property
    def body(self) -> dict[str, Any]:
        """As OpenAI says it: `{"error": {"message", "type", "param", "code"}}`."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        param = None if self.param is None else storable(self.param)
        return {"error": {"message": storable(self.message), "type": kind, "param": param, "code": self.code}}


def invalid(param: str, message: str) -> Refusal:
    """A parameter with a value that it cannot have."""
    return Refusal(400, f"{param}: {message}", param=param, code="invalid_value")


def unsupported(param: str) -> Refusal:
    """A parameter that is OpenAI's, or another server's, and that nothing is done with here."""
    return Refusal(400, f"{param}: is not supported by this server", param=param, code="unsupported_parameter")


def unknown(param: str) -> Refusal:
    return Refusal(400, f"{param[:100]}: no such parameter", param=param[:100], code="unknown_parameter")


def too_long(length: str, room: int) -> Refusal:
    said = f"the prompt has {length} and the model {room} positions: there is no room for an answer"
    return Refusal(400, said, param="prompt", code="context_length_exceeded")


ENDING = Refusal(503, "the server is ending", code="shutting_down")
