"""Where answers come from, how fast they may be asked for, and what they cost."""

import json
import os
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from evalkit.endpoint.prices import Price, batch_share, find_price
from evalkit.errors import ConfigError
from evalkit.recipes import Recipe

HOW = (
    "api_key_env",
    "max_concurrency",
    "requests_per_minute",
    "tokens_per_minute",
    "timeout",
    "input_usd_per_million",
    "cached_usd_per_million",
    "output_usd_per_million",
    "batch_share",
)
"""Keys that say how an endpoint is asked, not what: a run may go on with others."""
LOCAL = ("127.0.0.1", "localhost", "::1", "builtin")
"""Hosts of this machine: they may do without a key."""


class Endpoint(Recipe):
    """An OpenAI-compatible endpoint. The key is read from the environment and kept nowhere else."""

    base_url: str
    model: str
    name: str = ""
    api_key_env: str = "OPENAI_API_KEY"
    route: str = Field(default="chat", pattern="^(chat|completions)$")
    params: dict[str, Any] = Field(default_factory=dict)
    """Sampling parameters, under those of each request: temperature, max_tokens, response_format, top_logprobs, ..."""
    share: float = Field(default=1.0, ge=0)
    """Part of the requests that come here first, beside other endpoints; 0 is asked only where the others failed."""
    max_concurrency: int = Field(default=32, ge=1)
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
    """Windows that the endpoint allows; without them it is asked as fast as it answers."""
    timeout: float = Field(default=120.0, gt=0)
    """Seconds for one answer."""
    tokenizer: str = ""
    """The tokenizer that its logprobs belong to; the model's name where empty."""
    input_usd_per_million: float | None = Field(default=None, ge=0)
    cached_usd_per_million: float | None = Field(default=None, ge=0)
    output_usd_per_million: float | None = Field(default=None, ge=0)
    """Dollars per million tokens, before any table; None is unknown, which is not zero."""
    batch_share: float | None = Field(default=None, gt=0, le=1)
    """Share of the price that its Batch API charges; None for what the table says."""

    @field_validator("base_url")
    @classmethod
    def _no_secret(cls, value: str) -> str:
        """Addresses are written to manifests: a key does not belong in one."""
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ValueError("an address begins with http:// or https://")
        try:
            _ = parts.port
        except ValueError as error:
            raise ValueError(f"an address with no possible port: {error}") from error
        if parts.username or parts.password or parts.query:
            raise ValueError("an address holds no user, password or query; name the key's variable in api_key_env")
        return value.rstrip("/")

    @field_validator("params")
    @classmethod
    def _sendable(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Parameters are sent as JSON, and limits are reckoned with."""
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"cannot be sent as JSON: {error}") from error
        for name in ("max_tokens", "max_completion_tokens", "n", "best_of"):
            number = value.get(name)
            if number is not None and (type(number) is not int or number < 1):
                raise ValueError(f"{name} is a whole number above 0, not {number!r}")
        return value

    @property
    def label(self) -> str:
        """What it is called in files and on the screen."""
        return self.name or f"{self.model} at {urlsplit(self.base_url).netloc}"

    def key(self) -> str:
        """The API key; a placeholder where the variable is unset and the server is on this machine."""
        value = os.environ.get(self.api_key_env, "").strip()
        if value:
            if not value.isascii() or not value.isprintable():
                raise ConfigError(f"the key in {self.api_key_env} has characters that no key has", where=self.base_url)
            return value
        if (urlsplit(self.base_url).hostname or "") in LOCAL:
            return "none"
        raise ConfigError(f"the environment variable {self.api_key_env} is not set", where=self.base_url)

    @property
    def prices(self) -> Price | None:
        """Its price; None where neither the recipe nor a table knows it."""
        if self.input_usd_per_million is None or self.output_usd_per_million is None:
            return find_price(self.base_url, self.model)
        return Price(
            input=self.input_usd_per_million,
            output=self.output_usd_per_million,
            cached_input=self.cached_usd_per_million,
        )

    @property
    def batch_discount(self) -> float:
        """What a batch costs, as a share of the price."""
        return self.batch_share if self.batch_share is not None else batch_share(self.base_url)


def asking_logprobs(route: str, top: int) -> dict[str, Any]:
    """The parameters by which a route says the log-probabilities of its words, and the `top` likeliest."""
    return {"logprobs": True, "top_logprobs": top} if route == "chat" else {"logprobs": top}
