"""Opens a model folder: full weights or PEFT adapters, with its tokenizer and its prompting contract."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from evalkit.errors import ConfigError, ModelError
from evalkit.prompting import PROMPTING, Prompting
from evalkit.runs import check_schema, read_json


def load_folder(path: str | Path, device: str | None = None) -> tuple[Any, Any]:
    """`(model, tokenizer)`, the model in evaluation mode on that device, or on the best there is, adapters merged.

    Raises ModelError where the folder, its weights or its tokenizer is missing or broken, ConfigError where there is no
    such device. Code that a folder brings is never run, and nothing is fetched.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ModelError("no such model folder", where=str(path), fix="give the folder that a training run wrote")
    adapter = (folder / "adapter_config.json").is_file()
    if not adapter and not (folder / "config.json").is_file():
        raise ModelError("holds no config.json", where=str(path), fix="give the folder of a model, not of a run")
    tokenizer = _tokenizer(folder)
    model = _weights(folder, adapter, _device(device))
    embedded = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > embedded:
        raise ModelError(
            f"its tokenizer has {len(tokenizer)} tokens, its weights only {embedded}",
            where=str(path),
            fix="put the tokenizer that the model was trained with back",
        )
    return model, tokenizer


def folder_prompting(path: str | Path) -> Prompting:
    """The contract that the model's manifest carries; the default one for a model from elsewhere."""
    file = Path(path) / "manifest.json"
    if not file.is_file():
        return PROMPTING
    manifest = read_json(file)
    check_schema(manifest, str(file))
    if "prompting" not in manifest:
        return PROMPTING
    try:
        return Prompting.model_validate(manifest["prompting"])
    except ValidationError as error:
        raise ModelError("its prompting contract is malformed", where=str(file)) from error


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise ModelError("holds no tokenizer", where=str(folder), fix="copy the tokenizer's files beside the weights")
    try:
        return AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise ModelError(f"its tokenizer cannot be read: {_first_line(error)}", where=str(folder)) from error
    except Exception as error:  # the tokenizers library raises bare Exceptions
        if type(error) is not Exception:
            raise
        raise ModelError(f"its tokenizer cannot be read: {_first_line(error)}", where=str(folder)) from error


def _device(name: str | None) -> str:
    import torch

    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if torch.empty(0, device=name).is_meta:
            raise RuntimeError("it holds no numbers")
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(
            f"no device {name!r}: {_first_line(error)}", where="device", fix="cpu always works"
        ) from error
    return name


def _weights(folder: Path, adapter: bool, device: str) -> Any:
    import torch
    from safetensors import SafetensorError
    from transformers.utils import logging

    logging.disable_progress_bar()
    options = {"dtype": torch.bfloat16 if device.startswith("cuda") else torch.float32, "local_files_only": True}
    try:
        if adapter:
            from peft import AutoPeftModelForCausalLM

            model = AutoPeftModelForCausalLM.from_pretrained(str(folder), **options).merge_and_unload()
        else:
            from transformers import AutoModelForCausalLM

            model = AutoModelForCausalLM.from_pretrained(str(folder), **options)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        what = "its adapters or their base model" if adapter else "its weights"
        raise ModelError(f"{what} cannot be loaded: {_first_line(error)}", where=str(folder)) from error
    return model.to(device).eval()


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
