"""The one OpenAI-compatible client: a journal that never pays twice, a budget, an adaptive pace, batches."""

from evalkit.endpoint.answer import Answer, Request, TokenLogprobs, Usage
from evalkit.endpoint.client import ask_each, ask_many
from evalkit.endpoint.config import HOW, Endpoint, asking_logprobs
from evalkit.endpoint.intake import Status
from evalkit.endpoint.journal import Journal, Spending, paid

__all__ = [
    "HOW",
    "Answer",
    "Endpoint",
    "Journal",
    "Request",
    "Spending",
    "Status",
    "TokenLogprobs",
    "Usage",
    "ask_each",
    "ask_many",
    "asking_logprobs",
    "paid",
]
