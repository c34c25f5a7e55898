"""What comes in: requests looked up in the journal, dealt to endpoints, and each content asked for once."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evalkit.endpoint.answer import Answer, Request, key_of
from evalkit.endpoint.config import Endpoint
from evalkit.endpoint.journal import Journal, Spending
from evalkit.endpoint.line import Line
from evalkit.errors import ConfigError, EndpointError, OverBudget

OnResult = Callable[[Request, Answer | EndpointError], None]


@dataclass
class Status:
    """What a run is doing, for who watches it; read from any thread."""

    stats: Counter[str] = field(default_factory=Counter)
    """Counts by what happened: answered, from_journal, failed, over_budget; sent, rate_limited, timeout, disconnect,
    server_error, malformed, empty, refused, fell_back."""
    lines: list[Line] = field(default_factory=list)
    completion_tokens: int = 0
    """Of the answers that were asked for now."""
    spending: Callable[[], Spending] | None = None
    notes: list[str] = field(default_factory=list)
    """What a reader must know: parameters left out, endpoints closed."""


@dataclass
class Item:
    """A request under way: its key and content at each endpoint, and the endpoints in the order to ask them."""

    request: Request
    contents: list[str]
    keys: list[str]
    order: list[int]
    error: EndpointError | None = None


class Intake:
    """Hands on what is known, and holds back requests whose twin is under way."""

    def __init__(self, endpoints: Sequence[Endpoint], journal: Journal, status: Status, on_result: OnResult) -> None:
        self.endpoints, self.journal, self.status, self.on_result = endpoints, journal, status, on_result
        self.stats = status.stats
        status.spending = journal.spending
        self.twins: dict[str, list[Request]] = {}
        """Requests of the same content that wait for one answer, by the first endpoint's key."""

    def look_up(self, requests: Sequence[Request]) -> list[Item]:
        """Hand on what the journal knows; the rest as items, each content once."""
        items = [self._item(request) for request in requests]
        known = self.journal.find({key for item in items for key in item.keys})
        unknown = []
        for item in items:
            if key := next((item.keys[i] for i in item.order if item.keys[i] in known), None):
                self.stats["from_journal"] += 1
                self.on_result(item.request, known[key])
            elif item.keys[0] in self.twins:
                self.twins[item.keys[0]].append(item.request)
            else:
                self.twins[item.keys[0]] = []
                unknown.append(item)
        return unknown

    def _item(self, request: Request) -> Item:
        contents = [request.content(endpoint.model, endpoint.params) for endpoint in self.endpoints]
        keys = [key_of(content) for content in contents]
        return Item(request, contents, keys, deal(request, self.endpoints))

    def open_lines(self, transport: Any, max_usd: float | None) -> list[Line]:
        """A connection to each endpoint; inside the event loop. `transport` replaces the network, for all endpoints or
        by their addresses."""
        by_address = transport if isinstance(transport, Mapping) else {e.base_url: transport for e in self.endpoints}
        bounded, known = max_usd is not None, len(self.journal) > 0
        self.status.lines = [
            Line(endpoint, by_address.get(endpoint.base_url), bounded=bounded, known=known)
            for endpoint in self.endpoints
        ]
        return self.status.lines

    def finish(self, item: Item, result: Answer | EndpointError) -> None:
        """Hand on a result, to all who asked the same."""
        if isinstance(result, Answer):
            self.stats["answered"] += 1
            if result.usage:
                self.status.completion_tokens += result.usage.completion_tokens
        else:
            self.stats["over_budget" if isinstance(result, OverBudget) else "failed"] += 1
        self.on_result(item.request, result)
        for twin in self.twins.pop(item.keys[0], ()):
            self.stats["from_journal"] += isinstance(result, Answer)
            self.on_result(twin, result)


def deal(request: Request, endpoints: Sequence[Endpoint]) -> list[int]:
    """The endpoints in the order to ask them: the first by their shares, drawn from the request's content, then the
    others as they stand. The same in every run."""
    if len(endpoints) == 1:
        return [0]
    labels = [endpoint.label for endpoint in endpoints]
    if request.first in labels:
        first = labels.index(request.first)
        return [first, *(index for index in range(len(endpoints)) if index != first)]
    shares = [endpoint.share for endpoint in endpoints]
    if not sum(shares):
        shares = [1.0] * len(endpoints)
    draw = int(key_of(request.content("", {}))[:13], 16) / 16**13 * sum(shares)
    first = 0
    for index, share in enumerate(shares):
        if share:
            first = index
        if draw < share:
            break
        draw -= share
    return [first, *(index for index in range(len(endpoints)) if index != first)]


def check_prices(endpoints: Sequence[Endpoint], max_usd: float | None) -> None:
    """Refuse a budget where a price is unknown: it could not be held."""
    if max_usd is None:
        return
    for endpoint in endpoints:
        if endpoint.prices is None:
            raise ConfigError(
                f"the price of {endpoint.model} is unknown, so a budget cannot be held",
                where="max_usd",
                fix="give its input_usd_per_million and output_usd_per_million, or leave max_usd out",
            )
