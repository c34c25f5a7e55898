"""Where answers come from and what they cost."""

import os

from pydantic import Field

from evalkit.errors import ConfigError
from evalkit.recipes import Recipe


class Endpoint(Recipe):
    """An OpenAI-compatible endpoint. The key is read from the environment and kept nowhere else."""

    base_url: str
    model: str
    name: str = ""
    api_key_env: str = "OPENAI_API_KEY"
    route: str = Field(default="chat", pattern="^(chat|completions)$")
    max_concurrency: int = Field(default=32, ge=1)
    timeout: float = Field(default=120.0, gt=0)
    """Seconds for one answer."""
    input_usd_per_million: float | None = Field(default=None, ge=0)
    output_usd_per_million: float | None = Field(default=None, ge=0)
    """Dollars per million tokens; None is unknown, which is not zero."""

    def key(self) -> str:
        """The API key; a placeholder where the variable is unset and the server is on this machine."""
        value = os.environ.get(self.api_key_env)
        if value:
            return value
        host = self.base_url.partition("://")[2].partition("/")[0].rpartition(":")[0] or self.base_url
        if any(local in host for local in ("127.0.0.1", "localhost", "[::1]", "builtin")):
            return "none"
        raise ConfigError(f"the environment variable {self.api_key_env} is not set", where=self.base_url)

    def price(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        """Dollars; None where a price is unknown."""
        if self.input_usd_per_million is None or self.output_usd_per_million is None:
            return None
        cost = prompt_tokens * self.input_usd_per_million + completion_tokens * self.output_usd_per_million
        return cost / 1e6
