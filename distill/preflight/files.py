"""Missing files and tools, and weights that the memory cannot hold: what is known before anything is loaded."""

import importlib.util
import json
import math
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from distill.preflight.findings import ANYWAY, Boundary, Finding, ok, refuse, refused_by, warn
from distill.preflight.machine import free_memory, readable
from distill.preparation import cache_folder
from distill.recipe import TrainRecipe
from evalkit.errors import PotstillError
from evalkit.runs import read_json

TOPIC = "files"

ADAPTERS = "adapter_config.json"


def check(recipe: TrainRecipe) -> Iterator[Finding]:
    found = [*_data(recipe), *_folders(recipe), *_teachers(recipe), *_tools(recipe), *_suites(recipe)]
    yield from found
    if not found:
        yield ok(TOPIC, "present", "all files and tools that the recipe names are there")
    yield from _weights(recipe)


def _data(recipe: TrainRecipe) -> Iterator[Finding]:
    part = recipe.data
    wanted = [Path(path) for path in part.corpus]
    if part.folder is not None:
        wanted += [] if part.corpus else [Path(part.folder) / "train.jsonl"]
        wanted += [Path(part.folder) / "validation.jsonl"] if recipe.eval.samples else []
    for path in wanted:
        if not path.exists():
            yield _missing("data", path, "the rows cannot be read.", "give another path in data", Boundary.DATA)


def _folders(recipe: TrainRecipe) -> Iterator[Finding]:
    """Model and tokenizer folders, told from names on the Hub as distill.students does."""
    tokenizer = ("tokenizer.json", "tokenizer_config.json")
    wanted = (
        ("student.path", recipe.student.path, ("config.json", ADAPTERS)),
        ("tokenizer.path", recipe.tokenizer.path, tokenizer),
        ("teacher", recipe.teacher, ("config.json", ADAPTERS)),
    )
    for key, given, files in wanted:
        if given is None:
            continue
        path = Path(given)
        if path.is_dir():
            if not any((path / file).exists() for file in files):
                what = f"{given} holds none of {', '.join(files)}"
                why, fix = f"{key} is not a whole folder.", "train it to its end, or copy all its files"
                yield refuse(TOPIC, key, what, why=why, fix=fix, boundary=Boundary.MODEL)
        elif path.is_absolute() or given.startswith(".") or given.count("/") > 1:
            yield _missing(key, path, "it cannot be loaded.", "train it first, or give another path", Boundary.MODEL)
        elif os.environ.get("HF_HUB_OFFLINE") != "1":
            yield warn(
                TOPIC,
                key,
                f"{given} is no folder here, so it is taken from the Hugging Face Hub",
                why="the run needs the network, and what is fetched may be large.",
                fix=f"download it, and give its folder as {key}",
            )


def _teachers(recipe: TrainRecipe) -> Iterator[Finding]:
    if recipe.cache is not None:
        manifest = Path(recipe.cache) / "manifest.json"
        fix = "write it with `distill cache`"
        if not manifest.exists():
            yield _missing("cache", manifest, "the teacher's targets are not there.", fix, Boundary.DATA)
        elif (kind := read_json(manifest).get("kind")) != "cache":
            what = f"{recipe.cache} holds {kind!r}, not a cache"
            why = "the teacher's targets are not there."
            yield refuse(TOPIC, "cache", what, why=why, fix=fix, boundary=Boundary.DATA)
    if recipe.served is not None and not asked(recipe):
        address = urlsplit(recipe.served.base_url)
        port = address.port or (443 if address.scheme == "https" else 80)
        try:
            socket.create_connection((address.hostname or "", port), timeout=3).close()
        except OSError as error:
            what = f"nothing answers at {recipe.served.base_url} ({error.strerror or error})"
            why, fix = "the teacher cannot be asked.", "start the server, or put its address into served.base_url"
            yield refuse(TOPIC, "served", what, why=why, fix=fix, boundary=Boundary.CONFIG)


def asked(recipe: TrainRecipe) -> bool:
    """Whether a served teacher's answers are kept in the run already: it is not needed any more."""
    folder = cache_folder(recipe)
    return recipe.served is not None and folder is not None and (folder / "summary.json").exists()


def _tools(recipe: TrainRecipe) -> Iterator[Finding]:
    if recipe.lora is not None and recipe.lora.quantize is not None:
        import torch

        if importlib.util.find_spec("bitsandbytes") is None:
            what, why = "lora.quantize needs bitsandbytes, which is not installed", "the student cannot be loaded."
            fix = "pip install 'potstill[qlora]', or leave lora.quantize out"
            yield refuse(TOPIC, "quantize", what, why=why, fix=fix, boundary=Boundary.CONFIG)
        elif not torch.cuda.is_available():
            what, why = "lora.quantize without a GPU", "4-bit products on a CPU take many times as long."
            yield warn(TOPIC, "quantize", what, why=why, fix="leave lora.quantize out here")
    reports = recipe.training.get("report_to") or "none"
    names = {reports} if isinstance(reports, str) else set(reports)
    if names - {"none", "all"}:
        from transformers.integrations import get_available_reporting_integrations

        for name in sorted(names - {"none", "all"} - set(get_available_reporting_integrations())):
            what, why = f"report_to names {name}, which is not installed", "the trainer would stop at once."
            fix = f"pip install {name}, or training.report_to=none (log.jsonl is written anyway)"
            yield refuse(TOPIC, "report_to", what, why=why, fix=fix, boundary=Boundary.CONFIG)


def _suites(recipe: TrainRecipe) -> Iterator[Finding]:
    from evalkit.suites import load_suite

    for name in recipe.eval.suites:
        try:
            load_suite(name)
        except PotstillError as error:
            yield refused_by(TOPIC, "suites", error)


def _missing(name: str, path: Path, why: str, fix: str, boundary: Boundary) -> Finding:
    return refuse(TOPIC, name, f"{path} does not exist", why=why, fix=fix, boundary=boundary)


def _weights(recipe: TrainRecipe) -> Iterator[Finding]:
    """Only what surely does not fit: the weights alone, in fp32 as they are loaded, against the machine's memory."""
    quantized = recipe.lora is not None and recipe.lora.quantize is not None
    needed = 0
    for path, size in ((recipe.student.path, 0.5 if quantized else 4.0), (recipe.teacher, 4.0)):
        needed += int(size * (stored_parameters(Path(path)) if path is not None else 0))
    free = free_memory(gpu=False)
    if needed > free:
        yield refuse(
            "memory",
            "weights",
            f"the weights alone need {readable(needed)} in fp32, and {readable(free)} of memory are free",
            why="the run would be killed while it loads them.",
            fix=f"take smaller models, a cache instead of the teacher, or a larger machine; {ANYWAY}",
            boundary=Boundary.CONFIG,
            needed=needed,
            free=free,
        )


def stored_parameters(folder: Path) -> int:
    """Weights in a folder's safetensors files, by their headers (https://huggingface.co/docs/safetensors: 8 bytes of
    length, then JSON with the shape of each tensor). 0 where there are none."""
    total = 0
    for file in sorted(folder.glob("*.safetensors")) if folder.is_dir() else ():
        with file.open("rb") as stream:
            try:
                header = json.loads(stream.read(struct.unpack("<Q", stream.read(8))[0]))
            except (struct.error, ValueError, MemoryError):
                continue  # loading it will say what is wrong
            total += sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
    return total
