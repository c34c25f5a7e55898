"""The tokenizer: exact round trips, three special ids, and the boundary between prompt and completion."""

import json
from pathlib import Path

import pytest

TEXT = 'def f(x):\n    """Añ → 语言\t\u0000 0123."""\n\n\n    return x  # 100\r\n'


@pytest.fixture(scope="module")
def folder(toy_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from distill.jobs.tokenizer import tokenizer

    out = tmp_path_factory.mktemp("tokenizer") / "out"
    tokenizer(toy_dataset, 320, out)
    return out


def test_round_trip_and_special_ids(folder: Path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(TEXT)["input_ids"]
    assert tokenizer.decode(ids) == TEXT
    assert len({tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id}) == 3
    assert not set(ids) & set(tokenizer.all_special_ids)
    assert len(tokenizer("12345")["input_ids"]) == 5
    assert tokenizer.apply_chat_template([{"role": "user", "content": "def f():\n"}], tokenize=False) == "def f():"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["vocab_size"] == len(tokenizer) <= 320
    assert manifest["bytes_per_token"] > 1


def test_labels_are_the_completion_and_end_of_text(folder: Path, toy_dataset: Path):
    from distill.data import IGNORE, encode, read_rows
    from distill.students import load_tokenizer
    from evalkit.prompting import PROMPTING

    tokenizer = load_tokenizer(str(folder))
    row = read_rows(toy_dataset, "train")[0]
    tokens = encode(row, tokenizer, PROMPTING)
    prompt, completion = PROMPTING.split_solution(row.problem)
    learned = [label for label in tokens.labels if label != IGNORE]
    asked = tokens.input_ids[: -len(learned)]
    assert tokenizer.decode(asked) == prompt
    assert asked == tokenizer(PROMPTING.render(row.problem))["input_ids"]
    assert learned[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(learned[:-1]) == completion
    assert completion.startswith("\n    ")


def test_end_of_text_is_learned_where_it_also_pads(folder: Path, toy_dataset: Path):
    from distill.batches import Batches
    from distill.data import encode, read_rows
    from distill.students import load_tokenizer
    from evalkit.prompting import PROMPTING

    tokenizer = load_tokenizer(str(folder))
    tokenizer.pad_token = tokenizer.eos_token
    rows = [encode(row, tokenizer, PROMPTING) for row in read_rows(toy_dataset, "train")]
    batch = Batches(rows, tokenizer.pad_token_id)([{"members": [i]} for i in range(len(rows))])
    assert (batch["labels"] == tokenizer.eos_token_id).sum() == len(rows)


def test_a_model_folder_without_a_tokenizer_is_refused(tmp_path: Path):
    from distill.students import load_model, load_tokenizer
    from evalkit.errors import ModelError

    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        load_tokenizer(str(tmp_path))
    with pytest.raises(ModelError, match="cannot load the model"):
        load_model(str(tmp_path))
    with pytest.raises(ModelError, match="no such folder"):
        load_tokenizer(str(tmp_path / "missing"))
