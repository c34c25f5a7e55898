"""A model on this machine: a folder, or live weights that are being trained."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evalkit.errors import ModelError
from evalkit.models.folder import folder_prompting, load_folder
from evalkit.models.generation import Row, context_length, decode, finished, generate
from evalkit.models.protocol import Generated
from evalkit.prompting import PROMPTING, Prompting


class LocalModel:
    """Continues prompts with a causal language model of transformers, full or with adapters.

    `LocalModel(folder)` loads on first use; `LocalModel((model, tokenizer))` uses live weights and leaves mode, random
    state and gradients as they were. Prompt and completion are tokenized apart: the prompt alone is encoded.
    """

    def __init__(self, source: str | Path | tuple[Any, Any], name: str | None = None) -> None:
        self.prompting: Prompting = PROMPTING
        """The contract the folder carries; what it was trained on is what it should be asked with."""
        self._loaded: tuple[Any, Any] | None = None
        if isinstance(source, tuple):
            self._loaded, self.path = source, None
            if source[1] is None:
                raise ModelError("live weights came without a tokenizer", where="LocalModel")
        else:
            self.path = Path(source)
            self.prompting = folder_prompting(self.path)
        self.name = name or (self.path.name if self.path else "live")

    @property
    def loaded(self) -> tuple[Any, Any]:
        """`(model, tokenizer)`. Raises ModelError where the folder cannot be used."""
        if self._loaded is None:
            assert self.path is not None
            self._loaded = load_folder(self.path)
        return self._loaded

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.loaded[0].parameters())

    def complete(
        self,
        prompts: Sequence[str],
        *,
        n: int = 1,
        max_new_tokens: int = 128,
        temperature: float = 0.0,
        seed: int = 0,
        stop: Sequence[str] = (),
    ) -> list[list[Generated]]:
        """`n` continuations of each prompt; greedy ones are equal and made once. A prompt that leaves the model no
        room for a token comes back with an error."""
        model, tokenizer = self.loaded
        room = context_length(model)
        samples = n if temperature > 0 else 1
        rows: list[list[Row]] = []
        for prompt in prompts:
            ids = tokenizer(prompt)["input_ids"] or [tokenizer.bos_token_id or tokenizer.eos_token_id or 0]
            if room is not None and len(ids) >= room:
                rows.append([])
            else:
                rows.append([Row(prompt, list(ids), sample) for sample in range(samples)])
        flat = [row for group in rows for row in group]
        if flat and max_new_tokens > 0:
            generate(
                model,
                tokenizer,
                flat,
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                seed=seed,
                stop=stop,
            )
        texts = dict(zip(map(id, flat), decode(tokenizer, [row.out for row in flat]), strict=True))
        too_long = Generated(
            text="",
            finish_reason="length",
            tokens=0,
            seconds=0.0,
            error=f"the prompt fills the model's {room} positions",
        )
        answers = [[finished(row, texts[id(row)], stop) for row in group] or [too_long] for group in rows]
        return [group * n if len(group) == 1 else group for group in answers]
