"""Vocabularies: padding is proven and passed over, different tokenizers are refused with the first differing id."""

import pytest

from distill.align import aligned_vocabulary
from distill.tokenizer import train_tokenizer
from evalkit.errors import ModelError

TEXTS = ["def add(a, b):\n    return a + b\n", "def sub(a, b):\n    return a - b\n"] * 3


def test_padding_only_differences_are_aligned():
    one = train_tokenizer(TEXTS, 280)
    assert aligned_vocabulary(one, train_tokenizer(TEXTS, 280), 512, 640) == len(one)


def test_different_tokenizers_are_refused_with_the_first_differing_id():
    ours, theirs = train_tokenizer(TEXTS, 280), train_tokenizer(["while True:\n    pass\n"] * 3, 280)
    by_id = [{i: t for t, i in tokenizer.get_vocab().items()} for tokenizer in (ours, theirs)]
    first = next(i for i in range(280) if by_id[0].get(i) != by_id[1].get(i))
    with pytest.raises(ModelError, match=f"id {first} is"):
        aligned_vocabulary(ours, theirs, 512, 512)


def test_a_head_that_is_too_small_is_refused():
    one = train_tokenizer(TEXTS, 280)
    with pytest.raises(ModelError, match="100 rows"):
        aligned_vocabulary(one, one, 100, 512)
