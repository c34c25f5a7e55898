"""Rows that join half-way say what they say alone, whatever kind of cache their model keeps."""

from typing import Any

import pytest
import torch
from serving_model import ROOM, make_tokenizer, served
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GenerationConfig,
    GPT2Config,
    GPTNeoXConfig,
    Lfm2Config,
    MistralConfig,
    Qwen3Config,
)

from evalkit.models import LocalModel
from evalkit.models.cached import CachedRows, full_cache, joinable

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "initializer_range": 0.5,
}
HEADS = {"num_key_value_heads": 2, "head_dim": 8}
CONFIGS = {
    "mistral, a window of 8": lambda v: MistralConfig(vocab_size=v, sliding_window=8, **SIZES, **HEADS),
    "gemma2, windows and full": lambda v: Gemma2Config(
        vocab_size=v, sliding_window=8, query_pre_attn_scalar=8, **SIZES, **HEADS
    ),
    "qwen3": lambda v: Qwen3Config(vocab_size=v, **SIZES, **HEADS),
    "gpt2": lambda v: GPT2Config(vocab_size=v, n_embd=32, n_layer=3, n_head=4, n_positions=ROOM, initializer_range=0.3),
    "gpt-neox": lambda v: GPTNeoXConfig(vocab_size=v, **SIZES),
    "lfm2, convolutions": lambda v: Lfm2Config(
        vocab_size=v, layer_types=["conv", "full_attention"] * 2, conv_L_cache=3, num_key_value_heads=2, **SIZES
    ),
}
PROMPTS = [
    "x",
    "def f(a, b):\n    return a",
    "def g(first, second, third):\n    if first:\n        return second\n    ",
]


def make(name: str, size: int) -> Any:
    torch.manual_seed(5)
    model = AutoModelForCausalLM.from_config(CONFIGS[name](size)).eval()
    model.generation_config = GenerationConfig(eos_token_id=1, pad_token_id=0)
    return model


@pytest.mark.parametrize("name", CONFIGS)
def test_every_architecture_answers_as_alone(name: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    tokenizer = make_tokenizer()
    model = make(name, len(tokenizer))
    with served(model, tokenizer, max_batch=5) as running:
        expected = [LocalModel((model, tokenizer)).complete([prompt], max_new_tokens=24)[0][0] for prompt in PROMPTS]
        with ThreadPoolExecutor(9) as pool:
            found = list(
                pool.map(lambda i: running.texts(prompt=PROMPTS[i % 3], temperature=0, max_tokens=24), range(18))
            )
        assert found == [[expected[i % 3].text] for i in range(18)]
        scored = running.post("completions", prompt=PROMPTS, max_tokens=0, prompt_logprobs=1)["choices"]
        for prompt, choice in zip(PROMPTS, scored, strict=True):
            ids = tokenizer(prompt)["input_ids"]
            with torch.no_grad():
                direct = model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
            for i, place in enumerate(choice["prompt_logprobs"][1:]):
                assert place[str(ids[i + 1])]["logprob"] == pytest.approx(float(direct[i, ids[i + 1]]), abs=2e-4)


def test_only_caches_of_keys_and_values_are_joined() -> None:
    assert joinable(make("mistral, a window of 8", 50))
    assert joinable(make("gemma2, windows and full", 50))
    assert not joinable(make("lfm2, convolutions", 50))


@pytest.mark.parametrize("name", ["mistral, a window of 8", "qwen3"])
def test_joining_selecting_and_trimming_leave_the_logits_as_they_were(name: str) -> None:
    """The contract with the caches of transformers, step by step."""
    model = make(name, 60)
    texts = [[5, 6, 7], [8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19], [20]]

    def alone(ids: list[int]) -> torch.Tensor:
        return model(torch.tensor([ids])).logits[0, -1]

    with torch.inference_mode():
        rows = CachedRows(model, texts[:2], 0, full_cache())
        rows.forward()
        rows.append([30, 31])
        late = CachedRows(model, texts[2:], 0, full_cache())
        late.forward()
        late.select([0, 0])
        late.append([32, 33])
        rows.join(late)
        assert len(rows) == 4
        torch.testing.assert_close(
            rows.forward(), torch.stack([alone(ids) for ids in ([*texts[0], 30], [*texts[1], 31], [20, 32], [20, 33])])
        )
        rows.select([3, 0])
        rows.append([40, 41])
        rows.trim(5)
        assert rows.mask.shape == (2, 5)
        torch.testing.assert_close(rows.forward(), torch.stack([alone([20, 33, 40]), alone([*texts[0], 30, 41])]))
