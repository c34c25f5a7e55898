"""The one OpenAI-compatible client: a journal that never pays twice, a budget, an adaptive pace."""

from evalkit.endpoint.answer import Answer, Request, Usage
from evalkit.endpoint.client import Stats, ask_many
from evalkit.endpoint.config import Endpoint
from evalkit.endpoint.journal import Journal

__all__ = ["Answer", "Endpoint", "Journal", "Request", "Stats", "Usage", "ask_many"]
