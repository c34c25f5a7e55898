"""One server for all tests of a worker: importing transformers costs seconds, a tiny model nothing."""

from collections.abc import Iterator

import pytest
from serving_model import Served, make_model, make_tokenizer, served


@pytest.fixture(scope="session")
def server() -> Iterator[Served]:
    tokenizer = make_tokenizer()
    with served(make_model(tokenizer), tokenizer) as running:
        yield running
