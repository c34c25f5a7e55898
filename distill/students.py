"""Students: Llama-shaped models of a given size, or models from a folder or the Hub."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distill.align import vocabulary_size
from distill.recipe import StudentPart
from evalkit.errors import ConfigError, ModelError


@dataclass(frozen=True)
class Shape:
    """A Llama decoder with tied embeddings: layers, width, attention heads, key-value heads, feed-forward width.

    With `qk_norm` its queries and keys are normalised per head, which makes it a Qwen3 decoder.
    """

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    intermediate: int
    qk_norm: bool = False

    def parameters(self, vocab: int) -> int:
        """Trainable weights: embedding (tied with the head), attention, gated feed-forward, norms."""
        key_value = self.hidden * self.kv_heads // self.heads
        attention = 2 * self.hidden * self.hidden + 2 * self.hidden * key_value
        norms = 2 * self.hidden + (2 * self.hidden // self.heads if self.qk_norm else 0)
        block = attention + 3 * self.hidden * self.intermediate + norms
        return vocab * self.hidden + self.layers * block + self.hidden


PRESET_VOCAB = 4096
"""The vocabulary that the names of the presets count with."""

PRESETS: dict[str, Shape] = {
    "1M": Shape(5, 96, 4, 4, 256),
    "2.7M": Shape(5, 180, 6, 6, 480),
    "4M": Shape(5, 224, 7, 7, 608),
    "10M": Shape(7, 320, 5, 5, 864),
    "29M": Shape(9, 496, 8, 8, 1328),
    "52M": Shape(10, 640, 10, 10, 1712),
    "88M": Shape(12, 768, 12, 12, 2048),
    "105M": Shape(13, 800, 10, 10, 2144),
}


def shape_of(part: StudentPart) -> Shape:
    """The shape that a recipe asks for. Raises ConfigError for an unknown preset or heads that do not divide."""
    if part.preset is not None:
        if part.preset not in PRESETS:
            raise ConfigError(
                f"no student preset {part.preset!r}", where="student.preset", fix=f"one of {', '.join(PRESETS)}"
            )
        return replace(PRESETS[part.preset], qk_norm=part.qk_norm)
    if part.layers is None or part.hidden is None or part.heads is None:
        raise ConfigError("a shape needs all of layers, hidden and heads", where="student")
    kv_heads = part.kv_heads or part.heads
    if part.hidden % (2 * part.heads) or part.heads % kv_heads:
        raise ConfigError(
            f"hidden {part.hidden} must be a multiple of 2 x heads ({part.heads}), heads a multiple of kv_heads",
            where="student",
        )
    intermediate = part.intermediate or -(-part.hidden * 8 // 3 // 16) * 16
    return Shape(part.layers, part.hidden, part.heads, kv_heads, intermediate, part.qk_norm)


def new_student(shape: Shape, tokenizer: Any, *, max_length: int, seed: int, dropout: float = 0.0) -> Any:
    """A randomly initialised Llama or Qwen3 decoder in fp32, with the tokenizer's ids for pad, bos and eos.

    Weights start at a spread of 1 / sqrt(width). The usual 0.02 is made for widths of thousands; at 128 it leaves
    attention flat for long (docs/decisions.md has the pair of runs that this rests on).
    """
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM, set_seed

    set_seed(seed)
    config = (Qwen3Config if shape.qk_norm else LlamaConfig)(
        vocab_size=vocabulary_size(tokenizer),
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.hidden // shape.heads,
        max_position_embeddings=max(1024, 4 * max_length),
        tie_word_embeddings=True,
        attention_dropout=dropout,
        initializer_range=shape.hidden**-0.5,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return Qwen3ForCausalLM(config) if shape.qk_norm else LlamaForCausalLM(config)


def load_model(path: str) -> Any:
    """A causal language model in fp32, from a folder or the Hub. Raises ModelError where it cannot be loaded."""
    import torch
    from transformers import AutoModelForCausalLM

    _check_folder(path, "config.json", "adapter_config.json")
    try:
        return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    except Exception as error:  # the libraries raise half a dozen kinds for a bad folder
        raise ModelError(f"cannot load the model: {_first_line(error)}", where=path) from error


def load_quantized(path: str) -> Any:
    """The frozen base of a QLoRA run: NF4 with double quantisation. Raises ConfigError without bitsandbytes."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    try:
        import bitsandbytes  # noqa: F401  # only whether it is there
    except ImportError as error:
        raise ConfigError(
            "lora.quantize needs bitsandbytes, which is not installed",
            where="lora.quantize",
            fix="pip install 'potstill[qlora]', or leave lora.quantize out",
        ) from error
    from peft import prepare_model_for_kbit_training

    _check_folder(path, "config.json")
    precision = torch.bfloat16 if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else torch.float32
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=precision,
    )
    try:
        model = AutoModelForCausalLM.from_pretrained(path, quantization_config=quantization, dtype=precision)
    except Exception as error:  # see load_model
        raise ModelError(f"cannot load the model in 4 bits: {_first_line(error)}", where=path) from error
    return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)


def load_tokenizer(path: str) -> Any:
    """The tokenizer of a folder or Hub name. Raises ModelError where there is none."""
    from transformers import AutoTokenizer

    _check_folder(path, "tokenizer.json", "tokenizer_config.json")
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
    except Exception as error:  # see load_model
        raise ModelError(f"cannot load the tokenizer: {_first_line(error)}", where=path) from error
    if tokenizer.eos_token_id is None:
        raise ModelError("the tokenizer has no end-of-text token", where=path, fix="set eos_token in it")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # padding is masked, end-of-text keeps its label: see distill.data
    return tokenizer


def _check_folder(path: str, *files: str) -> None:
    folder = Path(path)
    if folder.is_dir() and not any((folder / name).exists() for name in files):
        raise ModelError(f"the folder holds none of {', '.join(files)}", where=path, fix="give a complete model folder")
    if not folder.is_dir() and (folder.is_absolute() or path.startswith(".") or path.count("/") > 1):
        raise ModelError("no such folder", where=path, fix="train it first, or give another path")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
