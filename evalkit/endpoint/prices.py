"""What a token costs: the recipe's own figures, else the user's table, else the small dated one that ships."""

import os
import re
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from pydantic import Field, ValidationError

from evalkit.errors import ConfigError
from evalkit.recipes import Recipe

TABLE = Path(__file__).with_name("prices.yaml")
VARIABLE = "POTSTILL_PRICES"
"""Names a file of the same form whose entries stand before ours."""


class Price(Recipe):
    """Dollars per million tokens. Without `cached_input` a cached prompt token costs as much as any other."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached_input: float | None = Field(default=None, ge=0)

    def of(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> float:
        """Dollars. Reasoning tokens are part of the completion, cached ones part of the prompt, as they are billed."""
        cached_tokens = min(cached_tokens, prompt_tokens)
        cached = self.input if self.cached_input is None else self.cached_input
        fresh = prompt_tokens - cached_tokens
        return (fresh * self.input + cached_tokens * cached + completion_tokens * self.output) / 1e6


class Host(Recipe):
    """The models of one provider, by the host name of its address."""

    models: dict[str, Price]
    batch: float = Field(default=1.0, gt=0, le=1)
    """Share of the price that the Batch API charges."""


class Table(Recipe):
    as_of: str
    hosts: dict[str, Host]


def find_price(base_url: str, model: str) -> Price | None:
    """The price of a model at an address; None where no table knows it.

    A dated name (gpt-4o-mini-2024-07-18) has the price of its family; no other name is guessed at.
    """
    for table in _tables():
        if (host := table.hosts.get(_host(base_url))) is None:
            continue
        for name in (model, re.sub(r"-\d{4}-\d{2}-\d{2}$", "", model)):
            if name in host.models:
                return host.models[name]
    return None


def batch_share(base_url: str) -> float:
    """Share of the price that an address charges for batches; 1 where no table says."""
    return next((t.hosts[_host(base_url)].batch for t in _tables() if _host(base_url) in t.hosts), 1.0)


def price_table_date() -> str:
    """When the prices of the table that ships were read."""
    return _read(TABLE).as_of


def _host(base_url: str) -> str:
    return urlsplit(base_url).hostname or ""


def _tables() -> tuple[Table, ...]:
    own = os.environ.get(VARIABLE)
    return (_read(Path(own)), _read(TABLE)) if own else (_read(TABLE),)


@cache
def _read(path: Path) -> Table:
    try:
        return Table.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, yaml.YAMLError, ValidationError) as error:
        said = " ".join(str(error).split())[:200]
        fix = f"{VARIABLE} names a file of the form of evalkit/endpoint/prices.yaml"
        raise ConfigError(f"cannot read the price table: {said}", where=str(path), fix=fix) from error
