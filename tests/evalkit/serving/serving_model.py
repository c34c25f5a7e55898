"""A tiny random model with its tokenizer, and the real server with it on a real port of this process."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import torch
from tiny_tokenizer import tiny_tokenizer
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from evalkit.serving.engine import Engine
from evalkit.serving.port import bind
from evalkit.serving.server import Server

NAME = "tiny"
ROOM = 256
CLIENT = httpx2.Client(timeout=60)
"""Making one costs more than most requests here."""
PROMPTS = ["def f(x):", "def a_rather_long_name(first, second):\n    # with a comment", "x", "é ü 漢字 = '𝄞'\n"]
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<ai>{% endif %}"
)


def make_tokenizer() -> Any:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def make_model(tokenizer: Any, padding: int = 0) -> Any:
    """With `padding`, the head has rows for ids that the tokenizer lacks, and would love to choose them."""
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(tokenizer) + padding,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=ROOM,
        initializer_range=0.6,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(eos_token_id=1, pad_token_id=0)
    if padding:
        with torch.no_grad():
            model.lm_head.weight[len(tokenizer) :] *= 20
    return model.eval()


@dataclass
class Served:
    """A server under way."""

    url: str
    model: Any
    tokenizer: Any
    engine: Engine

    def post(self, route: str, **body: Any) -> dict[str, Any]:
        """The JSON that a request gets; it must be answered."""
        response = self.ask(route, **body)
        assert response.status_code == 200, response.text
        return response.json()

    def ask(self, route: str, **body: Any) -> httpx2.Response:
        return CLIENT.post(f"{self.url}/{route}", json={"model": NAME, **body})

    def texts(self, **body: Any) -> list[str]:
        return [choice["text"] for choice in self.post("completions", **body)["choices"]]

    def load(self) -> dict[str, Any]:
        return CLIENT.get(f"{self.url.removesuffix('/v1')}/health").json()

    def wait_for(self, rows: int) -> None:
        for _ in range(200):
            if self.load()["rows"] == rows:
                return
            time.sleep(0.02)
        raise AssertionError(f"never had {rows} rows: {self.load()}")


@contextmanager
def served(model: Any, tokenizer: Any, max_batch: int = 32) -> Iterator[Served]:
    """The server of `evalkit serve` in a thread, ended as a signal ends it."""
    engine = Engine(model, tokenizer, max_batch)
    bound = bind("127.0.0.1", 0)
    port = bound.getsockname()[1]
    ready = threading.Event()
    server = Server(engine, NAME, bound, ready.set)
    thread = threading.Thread(target=server.run_until_signal, daemon=True)
    thread.start()
    assert ready.wait(30)
    yield Served(f"http://127.0.0.1:{port}/v1", model, tokenizer, engine)
    server.handle_exit(signal.SIGINT, None)
    thread.join(20)
    assert not thread.is_alive()
