"""Text token by token is the text of all tokens; a token's bytes are what it adds; draws follow the distribution."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from serving_model import make_tokenizer
from transformers import PreTrainedTokenizerFast

from evalkit.models.sampling import Draw, nucleus, pick
from evalkit.models.vocabulary import Text, Vocabulary


def sentencepiece_like() -> Any:
    """Spaces as letters, unknown characters as bytes, as Llama 2 has them."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    letters = [chr(i) for i in range(33, 127)]
    words = ["▁", "▁▁", "▁de", "▁f", "▁return", "de", "ef", "äö", "漢", "\n"]
    vocabulary = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), *letters, *words]
    core = Tokenizer(models.BPE({t: i for i, t in enumerate(vocabulary)}, [], byte_fallback=True, unk_token="<unk>"))
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    core.decoder = decoders.Sequence(steps)
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>", bos_token="<s>", unk_token="<unk>")


def with_added() -> Any:
    """Byte-level, with added tokens of letters that its alphabet of bytes has too."""
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["<|made|>", "é", "ĠX", "漢字", " spaced "])
    return tokenizer


TOKENIZERS = {"bytes": make_tokenizer, "added": with_added, "pieces": sentencepiece_like}


@pytest.fixture(scope="module", params=TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return TOKENIZERS[request.param]()


def drawn_ids(tokenizer: Any, numbers: list[int], text: str) -> list[int]:
    """Any ids, broken bytes among them, and those of a text; of a tokenizer with byte fallback the text's only."""
    numbers = [number % len(tokenizer) for number in numbers]
    if "<0x00>" in tokenizer.get_vocab():
        numbers = [number for number in numbers if not tokenizer.convert_ids_to_tokens(number).startswith("<0x")]
    return [*numbers, *tokenizer(text)["input_ids"]]


IDS, TEXTS = st.lists(st.integers(0, 10**6), max_size=30), st.text(max_size=12)


@settings(max_examples=150, deadline=None)
@given(IDS, TEXTS, st.booleans())
def test_token_by_token_is_all_at_once(tokenizer: Any, numbers: list[int], said: str, skip: bool) -> None:
    ids = drawn_ids(tokenizer, numbers, said)
    text = Text(tokenizer, skip_special=skip)
    pieces = [text.add(id) for id in ids]
    pieces.append(text.end())
    whole = tokenizer.decode(ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False)
    assert "".join(pieces) == text.text == whole
    assert not any("\ufffd" in piece[-1:] for piece in pieces[:-1])


@settings(max_examples=100, deadline=None)
@given(IDS, TEXTS)
def test_the_bytes_of_the_tokens_are_the_text(tokenizer: Any, numbers: list[int], said: str) -> None:
    vocabulary = Vocabulary(tokenizer)
    ids = drawn_ids(tokenizer, numbers, said)
    raw = b"".join(vocabulary.spelling(id) for id in ids).decode(errors="replace")
    whole = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    assert raw.lstrip(" ") == whole.lstrip(" ")


def test_a_part_of_a_character_is_shown_as_bytes() -> None:
    tokenizer = make_tokenizer()
    vocabulary = Vocabulary(tokenizer)
    first = tokenizer("漢")["input_ids"][0]
    assert vocabulary.text(first) == "bytes:\\xe6"
    assert vocabulary.text(tokenizer.eos_token_id) == "<eos>"


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1), st.floats(0.1, 3))
def test_a_nucleus_is_the_smallest_set_that_reaches_p(seed: int, top_p: float, temperature: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 40, generator=generator)
    probabilities = (logits.double() / temperature).softmax(-1)
    kept = nucleus(probabilities, torch.full((3, 1), top_p, dtype=torch.float64))
    for before, after in zip(probabilities, kept, strict=True):
        inside = after > 0
        assert torch.equal(before[inside], after[inside])
        assert float(after.sum()) >= min(top_p, 1) - 1e-9
        if int(inside.sum()) > 1:
            assert float(after.sum() - after[inside].min()) < top_p + 1e-12  # sums are rounded
    if top_p == 1:
        assert torch.equal(kept, probabilities)


def test_draws_follow_the_distribution_and_rows_keep_to_themselves() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, float("-inf")]]).repeat(4000, 1)
    uniforms = ((torch.arange(4000) + 0.5) / 4000).tolist()
    expected = torch.tensor([0.0, 1.0, 2.0]).softmax(-1)
    found = torch.bincount(torch.tensor(pick(logits, [Draw(1.0, 1.0, u) for u in uniforms])), minlength=4) / 4000
    assert found.tolist() == pytest.approx([*expected.tolist(), 0.0], abs=1e-3)
    draws = [Draw(0.0), Draw(1.0, 1.0, 1 - 2**-53), Draw(1.0, 1.0, 0.0), Draw(1.0, 0.5, 0.99), Draw(1e-300, 1.0, 0.5)]
    assert pick(logits[:5], draws) == [2, 2, 0, 2, 2]
