"""What a model must keep, before anything is learned from it: positions, head, and packed rows that stay apart."""

from typing import Any

import pytest
import torch

from distill.batches import Batches
from distill.contract import check_contract
from distill.data import Tokens
from distill.trainer import hidden_states
from evalkit.errors import ModelError

COMMON = {
    "vocab_size": 100,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


def model(family: str, **more: Any) -> Any:
    import transformers

    torch.manual_seed(0)
    attention = more.pop("attn_implementation", "eager")
    made = transformers.AutoModelForCausalLM.from_config(
        getattr(transformers, f"{family}Config")(**{**COMMON, **more}), attn_implementation=attention
    )
    for weight in made.parameters():
        if weight.dim() > 1:
            weight.data.normal_(0, 0.3)
    return made.eval()


def rows(*lengths: int) -> list[Tokens]:
    g = torch.Generator().manual_seed(0)
    ids = [torch.randint(3, 100, (n,), generator=g).tolist() for n in lengths]
    return [Tokens(row, row, [1.0] * len(row)) for row in ids]


def look(made: Any, *, packed: bool, lengths: tuple[int, ...] = (30, 5, 12)) -> None:
    check_contract(made, rows(*lengths), who="student", valid=100, packed=packed)


@pytest.mark.parametrize(
    ("family", "more"),
    [
        ("Llama", {}),
        ("Llama", {"attn_implementation": "sdpa"}),
        ("Qwen3", {"head_dim": 16, "attn_implementation": "sdpa"}),
        ("Mistral", {"sliding_window": 8, "attn_implementation": "sdpa"}),
        ("Gemma2", {"sliding_window": 8, "head_dim": 16, "final_logit_softcapping": 3.0}),
        ("Gemma3Text", {"sliding_window": 8, "head_dim": 16, "attn_implementation": "sdpa"}),
        ("GPT2", {"n_positions": 64}),
        ("Granite", {"logits_scaling": 3.0}),
        ("Cohere", {"logit_scale": 0.3}),
        ("Phi", {}),
    ],
)
def test_families_that_keep_packed_rows_apart(family: str, more: dict):
    look(model(family, **more), packed=True)


@pytest.mark.parametrize(
    ("family", "more"),
    [
        ("OPT", {"ffn_dim": 48, "word_embed_proj_dim": 32}),
        ("Bloom", {"n_layer": 2, "n_head": 2}),
        ("Falcon", {"alibi": True}),
        ("Mamba", {"state_size": 4}),
        ("Lfm2", {"full_attn_idxs": [1]}),
    ],
)
def test_families_that_cannot_are_refused_packed_and_taken_unpacked(family: str, more: dict):
    made = model(family, **more)
    look(made, packed=False)
    with pytest.raises(ModelError, match="cannot keep packed rows apart"):
        look(made, packed=True)


def test_logits_that_are_made_otherwise_are_refused():
    made = model("FalconH1", lm_head_multiplier=0.5)
    with pytest.raises(ModelError, match="not known here"):
        look(made, packed=False)


def test_weights_that_are_no_numbers_are_refused():
    made = model("Llama")
    made.model.norm.weight.data[3] = torch.nan
    with pytest.raises(ModelError, match="no numbers"):
        look(made, packed=False)


def test_rows_longer_than_learned_positions_are_refused_and_rotary_ones_go_on():
    look(model("Llama"), packed=False, lengths=(90,))
    with pytest.raises(ModelError, match=r"a row of 90 tokens \(it has 64 positions\)"):
        look(model("GPT2", n_positions=64), packed=False, lengths=(90,))


def test_padding_behind_packed_rows_needs_no_more_positions_than_rows():
    """A pack may be wider than the model has positions, as long as no row in it is."""
    batch = Batches(rows(60, 40, 3), 0, packed=True)([{"members": [0, 1]}, {"members": [2]}])
    assert batch["input_ids"].shape == (2, 100)
    assert batch["position_ids"].max() < 64
    hidden_states(model("GPT2", n_positions=64), batch)


def test_families_without_a_decoder_of_their_own_are_read_as_a_whole():
    made = model("Llama")
    batch = Batches(rows(9), 0)([{"members": [0]}])
    expected = hidden_states(made, batch)
    made.get_decoder = lambda: made  # as some families do
    torch.testing.assert_close(hidden_states(made, batch), expected)


def test_training_refuses_a_packed_student_that_mixes_rows(toy_dataset: Any, tmp_path: Any):
    from toy import toy_recipe
    from transformers import AutoTokenizer

    from distill.jobs.train import train

    train(toy_recipe(toy_dataset, tmp_path / "base"))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base" / "model")
    made = model("Bloom", vocab_size=len(tokenizer), n_layer=1, n_head=2)
    made.save_pretrained(tmp_path / "bloom")
    tokenizer.save_pretrained(tmp_path / "bloom")
    sections: dict[str, Any] = {"student": {"path": str(tmp_path / "bloom")}, "tokenizer": {}}
    packed = {"folder": str(toy_dataset), "packing": True}
    with pytest.raises(ModelError, match="the student cannot keep packed rows apart"):
        train(toy_recipe(toy_dataset, tmp_path / "run", data=packed, **sections))
    assert not (tmp_path / "run").exists()
    with pytest.raises(ModelError, match="the teacher cannot keep packed rows apart"):
        train(
            toy_recipe(
                toy_dataset,
                tmp_path / "run",
                data=packed,
                method="kd",
                student={"path": str(tmp_path / "base" / "model")},
                tokenizer={},
                teacher=str(tmp_path / "bloom"),
            )
        )
    train(toy_recipe(toy_dataset, tmp_path / "run", **sections))
