"""A tokenizer's real ids: what each one says, and the mask that keeps a padded head from ever being drawn from."""

import json
from collections.abc import Sequence
from typing import Any


class Vocabulary:
    """The ids that the tokenizer has. Heads are often padded to a round number of rows, and ids may have gaps."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.real = frozenset(tokenizer.get_vocab().values())
        self.longest = max(map(len, tokenizer.get_vocab()), default=1)
        """Characters of the longest token."""
        self._added = frozenset(tokenizer.added_tokens_decoder)
        self._kinds = _decoders(tokenizer)
        self._bytes: dict[int, bytes] = {}
        self._absent: Any = None

    def masked(self, logits: Any) -> Any:
        """The logits in fp32, minus infinity where the last dimension has no real id. Changes what it was given where
        that is fp32 already."""
        logits = logits.float()
        if self._absent is None or self._absent.device != logits.device:
            import torch

            absent = torch.ones(logits.shape[-1], dtype=torch.bool)
            absent[[id for id in self.real if id < logits.shape[-1]]] = False
            self._absent, self._padded = absent.to(logits.device), bool(absent.any())
        return logits.masked_fill_(self._absent, float("-inf")) if self._padded else logits

    def spelling(self, id: int) -> bytes:
        """What a token adds to a text; a part of a character's bytes too."""
        if (known := self._bytes.get(id)) is None:
            known = self._bytes[id] = self._spell(id)
        return known

    def text(self, id: int) -> str:
        """A token as a text; where it is only a part of a character, OpenAI's way of showing bytes."""
        raw = self.spelling(id)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)

    def _spell(self, id: int) -> bytes:
        token: str = self.tokenizer.convert_ids_to_tokens(id)
        if "ByteLevel" in self._kinds:
            return _byte_level(token)
        if id in self._added:
            return token.encode()
        if "ByteFallback" in self._kinds and len(token) == 6 and token.startswith("<0x"):
            return bytes([int(token[3:5], 16)])
        if "▁" in token:
            return token.replace("▁", " ").encode()
        return str(self.tokenizer.decode([id], clean_up_tokenization_spaces=False) or token).encode()


class Text:
    """The text of tokens as they come. What it has given never changes: bytes that may yet become a character are held
    back. The same text as decoding all tokens at once (but where a tokenizer with byte fallback reads a run of bytes
    that is broken at its end: it would take back those before)."""

    def __init__(self, tokenizer: Any, *, skip_special: bool = True) -> None:
        self.tokenizer, self.skip_special = tokenizer, skip_special
        self.text = ""
        self._window: list[int] = []
        """The last tokens that were given, for what the next one looks like behind them, and those held back."""
        self._given = 0
        """How many tokens of the window were given."""
        self._before = ""
        """The text of those."""

    def add(self, token: int) -> str:
        """The text that this token settles."""
        self._window.append(token)
        return self._settle(final=False)

    def end(self) -> str:
        """What was held back."""
        return self._settle(final=True)

    def _settle(self, *, final: bool) -> str:
        now = self._decode(self._window)
        if len(now) <= len(self._before) or (now.endswith("\ufffd") and not final):
            return ""
        piece = now[len(self._before) :]
        self._window = self._window[self._given :]
        self._given = len(self._window)
        self._before = self._decode(self._window)
        self.text += piece
        return piece

    def _decode(self, ids: Sequence[int]) -> str:
        options = {"skip_special_tokens": self.skip_special, "clean_up_tokenization_spaces": False}
        return str(self.tokenizer.decode(ids, **options))


def _decoders(tokenizer: Any) -> frozenset[str]:
    """Kinds of the steps that the tokenizer decodes by; none for one without a description."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return frozenset()
    decoder = json.loads(backend.to_str()).get("decoder") or {}
    return frozenset(step["type"] for step in [decoder, *decoder.get("decoders", ())] if "type" in step)


def _byte_level(token: str) -> bytes:
    alphabet = _ALPHABET or _fill_alphabet()
    if all(character in alphabet for character in token):
        return bytes(alphabet[character] for character in token)
    return token.encode()


_ALPHABET: dict[str, int] = {}


def _fill_alphabet() -> dict[str, int]:
    """GPT-2's letters for the 256 bytes: printable ones stand for themselves, the rest follow from 256 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    _ALPHABET.update({chr(byte): byte for byte in printable})
    _ALPHABET.update({chr(256 + i): byte for i, byte in enumerate(others)})
    return _ALPHABET
