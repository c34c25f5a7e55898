"""A byte-level BPE tokenizer trained on the texts that a student will see."""

from collections.abc import Iterable
from typing import Any

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"

CHAT_TEMPLATE = "{% for message in messages %}{{ message['content'].rstrip() }}{% endfor %}"
"""The student continues source text by the chat route too: the prompt is what the user wrote, last newline off."""


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Any:
    """Train on whole texts. Digits stay single (numbers compose; a first one may carry the space before it), every byte
    has a token (nothing is unknown).

    No token is added around a text: what is encoded is what is written. Pad, bos and eos are three different ids.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r" ?\p{N}"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token=PAD, bos_token=BOS, eos_token=EOS, clean_up_tokenization_spaces=False
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.padding_side = "left"
    return tokenizer
