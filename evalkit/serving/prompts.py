"""Makes token ids of what a request holds: texts, ids, or messages through the tokenizer's chat template."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evalkit.models.vocabulary import Text, Vocabulary
from evalkit.serving.refusals import Refusal, invalid, too_long

MOST_PROMPTS = 4096
"""Prompts of one request."""
_PART = ("type", "text")
_SAID = ("role", "content", "name")


@dataclass(frozen=True)
class Prompt:
    """What is continued. `source` is the text or the ids that were sent: it chooses the stream of random numbers."""

    source: str | tuple[int, ...]
    ids: tuple[int, ...]
    special: bool = True
    """Whether the tokenizer added the special tokens of its own."""

    def echoed(self, tokenizer: Any) -> tuple[str, list[int]]:
        """The prompt as a text, and where in it each token begins."""
        if isinstance(self.source, str) and getattr(tokenizer, "is_fast", False) and self.source:
            found = tokenizer(self.source, add_special_tokens=self.special, return_offsets_mapping=True)
            return self.source, [start for start, _ in found["offset_mapping"]]
        text, offsets = Text(tokenizer, skip_special=False), []
        for id in self.ids:
            offsets.append(len(text.text))
            text.add(id)
        text.end()
        if not isinstance(self.source, str):
            return text.text, offsets
        return self.source, [min(offset, len(self.source)) for offset in offsets]


@dataclass(frozen=True)
class Reader:
    """Reads prompts for one model."""

    tokenizer: Any
    vocabulary: Vocabulary
    room: int | None

    def prompts(self, value: Any) -> list[Prompt]:
        """`prompt` in its four forms: a text, texts, ids, lists of ids."""
        if isinstance(value, str) or (isinstance(value, list) and value and type(value[0]) is int):
            value = [value]
        if not isinstance(value, list) or not 0 < len(value) <= MOST_PROMPTS:
            raise invalid("prompt", f"a text, a list of ids, or a list of at most {MOST_PROMPTS} of these")
        if all(isinstance(item, str) for item in value):
            return [self._encoded(text, "prompt", special=True) for text in value]
        for item in value:
            if not isinstance(item, list) or not all(type(id) is int for id in item):
                raise invalid("prompt", "texts and ids cannot be mixed, and ids are whole numbers")
            if not item:
                raise invalid("prompt", "a list without ids")
            if (absent := next((id for id in item if id not in self.vocabulary.real), None)) is not None:
                raise invalid("prompt", f"{absent} is no id of this model's tokenizer")
        return [Prompt(tuple(ids), tuple(ids)) for ids in value]

    def messages(self, value: Any) -> Prompt:
        """A conversation, as the tokenizer's template writes it, up to where the assistant speaks."""
        if not getattr(self.tokenizer, "chat_template", None):
            said = "this model's tokenizer has no chat template; ask by /v1/completions, or put one into its folder"
            raise Refusal(400, said, param="messages", code="no_chat_template")
        if not isinstance(value, list) or not value:
            raise invalid("messages", "a list of messages")
        messages = [_message(i, said) for i, said in enumerate(value)]
        try:
            text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # a template may raise whatever it likes: it says which conversations it takes
            raise invalid("messages", f"the chat template refuses them: {error}") from error
        return self._encoded(str(text), "messages", special=False)

    def _encoded(self, text: str, param: str, *, special: bool) -> Prompt:
        """A text as the tokenizer reads it; an empty one is the token that texts begin with."""
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise invalid(param, "half of a surrogate pair is no text") from error
        if self.room is not None and len(text) > 2 * self.room * self.vocabulary.longest:
            raise too_long(f"{len(text)} characters", self.room)  # not worth the seconds that reading it would take
        tokenizer = self.tokenizer
        ids = tokenizer(text, add_special_tokens=special)["input_ids"]
        return Prompt(text, tuple(ids or [tokenizer.bos_token_id or tokenizer.eos_token_id or 0]), special)


def _message(index: int, said: Any) -> dict[str, str]:
    where = f"messages[{index}]"
    if not isinstance(said, Mapping) or not isinstance(said.get("role"), str):
        raise invalid(where, "an object with a role and a content")
    for name in said:
        if name not in _SAID and said[name] not in (None, []):
            raise invalid(f"{where}.{name[:100]}", "is not supported by this server")
    message = {"role": said["role"], "content": _content(where, said.get("content"))}
    return message | ({"name": said["name"]} if isinstance(said.get("name"), str) else {})


def _content(where: str, content: Any) -> str:
    if isinstance(content, str):
        return content
    parts: Sequence[Any] = content if isinstance(content, list) else [None]
    for part in parts:
        text = isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str)
        if not text or set(part) - set(_PART):
            raise invalid(f"{where}.content", "a text, or a list of text parts")
    return "".join(part["text"] for part in parts)
