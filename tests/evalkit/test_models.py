"""Models: the batched loop says what the plain one says, stops where it should, and leaves a live model alone."""

import json

import pytest
import torch
from tiny_tokenizer import tiny_tokenizer
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from evalkit.errors import EndpointError, ModelError
from evalkit.models import EndpointModel, LocalModel, RetrievalModel
from evalkit.prompting import PROMPTING
from evalkit.suites import load_suite


@pytest.fixture(scope="module")
def live():
    tokenizer = tiny_tokenizer()
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.6,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(eos_token_id=1, pad_token_id=0)
    return model.eval(), tokenizer


PROMPTS = ["def f(x):", "def a_rather_long_name(first, second):\n    # with a comment", "x", "def g(a, b):\n    "]


def test_greedy_batches_equal_transformers_row_by_row(live):
    model, tokenizer = live
    ours = LocalModel(live).complete(PROMPTS * 20, max_new_tokens=24)
    assert len(ours) == 80
    for prompt, (generated,) in zip(PROMPTS, ours[:4], strict=True):
        ids = torch.tensor([tokenizer(prompt)["input_ids"]])
        out = model.generate(ids, max_new_tokens=24, do_sample=False, attention_mask=torch.ones_like(ids))
        assert generated.text == tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
    assert [group[0].text for group in ours] == [group[0].text for group in ours[:4]] * 20


def test_samples_depend_on_seed_and_index_not_on_neighbours(live):
    local = LocalModel(live)
    together = local.complete(PROMPTS, n=3, temperature=0.8, seed=5, max_new_tokens=12)
    alone = local.complete(PROMPTS[2:3], n=3, temperature=0.8, seed=5, max_new_tokens=12)
    other = local.complete(PROMPTS[2:3], n=3, temperature=0.8, seed=6, max_new_tokens=12)
    assert [g.text for g in together[2]] == [g.text for g in alone[0]]
    assert len({g.text for g in together[2]}) == 3
    assert [g.text for g in alone[0]] != [g.text for g in other[0]]


def test_sampling_follows_the_distribution(live):
    model, tokenizer = live
    ids = torch.tensor([tokenizer("x")["input_ids"]])
    with torch.no_grad():
        expected = model(ids).logits[0, -1].softmax(-1)
    best = int(expected.argmax())
    (group,) = LocalModel(live).complete(["x"], n=2000, temperature=1.0, max_new_tokens=1)
    share = sum(g.text == tokenizer.decode([best]) for g in group) / 2000
    assert share == pytest.approx(float(expected[best]), abs=0.04)


def test_a_live_model_is_left_as_it_was(live):
    model, _ = live
    model.train()
    before = torch.get_rng_state()
    LocalModel(live).complete(["x"], n=2, temperature=1.0, max_new_tokens=4)
    assert model.training
    assert torch.equal(before, torch.get_rng_state())
    model.eval()


def test_stop_strings_end_a_row_early(live):
    (whole,) = LocalModel(live).complete(["def f(x):"], max_new_tokens=60)[0]
    mark = whole.text[8:10]
    (cut,) = LocalModel(live).complete(["def f(x):"], max_new_tokens=60, stop=[mark])[0]
    assert cut.text == whole.text[: whole.text.index(mark)]
    assert cut.finish_reason == "stop"
    assert cut.tokens < whole.tokens


def test_the_end_of_text_ends_a_row(live):
    model, tokenizer = live
    (free,) = LocalModel(live).complete(["def f(x):"], max_new_tokens=8)[0]
    first = tokenizer(free.text)["input_ids"][0] if free.text else 1
    model.generation_config.eos_token_id = [1, first]
    try:
        (ended,) = LocalModel(live).complete(["def f(x):"], max_new_tokens=8)[0]
    finally:
        model.generation_config.eos_token_id = 1
    assert (ended.text, ended.finish_reason, ended.tokens) == ("", "stop", 0)


def test_the_context_bounds_prompt_and_answer(live):
    long, short = LocalModel(live).complete(["x " * 400, "x"], max_new_tokens=300)
    assert "256 positions" in long[0].error
    assert short[0].tokens <= 255
    assert not short[0].error


def test_a_folder_loads_and_carries_its_contract(live, tmp_path):
    model, tokenizer = live
    model.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="holds no tokenizer"):
        LocalModel(tmp_path).complete(["x"])
    tokenizer.save_pretrained(tmp_path)
    contract = PROMPTING.model_copy(update={"stop": ("\n#",)})
    manifest = {"schema": 1, "prompting": contract.model_dump(mode="json")}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    local = LocalModel(tmp_path)
    assert local.prompting == contract
    assert (
        local.complete(PROMPTS, max_new_tokens=6)[0][0].text
        == LocalModel(live).complete(PROMPTS, max_new_tokens=6)[0][0].text
    )
    (tmp_path / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(ModelError, match="cannot be loaded"):
        LocalModel(tmp_path).complete(["x"])
    with pytest.raises(ModelError, match="no such model folder"):
        LocalModel(tmp_path / "none").complete(["x"])


def test_an_adapter_folder_answers_as_the_live_adapter(live, tmp_path):
    from peft import LoraConfig, get_peft_model

    model, tokenizer = live
    base = tmp_path / "base"
    model.save_pretrained(base)
    tokenizer.save_pretrained(base)
    adapted = get_peft_model(
        LlamaForCausalLM.from_pretrained(base), LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    )
    adapted.save_pretrained(tmp_path / "adapter")
    tokenizer.save_pretrained(tmp_path / "adapter")
    expected = LocalModel((adapted, tokenizer)).complete(PROMPTS, max_new_tokens=8)
    found = LocalModel(tmp_path / "adapter").complete(PROMPTS, max_new_tokens=8)
    assert [g[0].text for g in found] == [g[0].text for g in expected]
    assert [g[0].text for g in found] != [g[0].text for g in LocalModel(live).complete(PROMPTS, max_new_tokens=8)]


def test_retrieval_finds_its_own_training_problems_and_binds_names():
    problems = load_suite("mini-humaneval")
    model = RetrievalModel(problems)
    for problem, (found,) in zip(problems, model.complete([p.prompt for p in problems]), strict=True):
        assert PROMPTING.program(problem, found.text) == problem.solution
    asked = 'def total(values):\n    """Return the total of a list of numbers; an empty list totals zero."""'
    names: dict = {}
    exec(asked + model.complete([asked])[0][0].text, names)
    assert names["total"]([1, 2, 3]) == 6


def test_a_refused_connection_is_an_endpoint_error(monkeypatch):
    from evalkit.endpoint import Endpoint

    monkeypatch.setattr("evalkit.endpoint.client.TRIES", 1)
    model = EndpointModel(Endpoint(base_url="http://127.0.0.1:9/v1", model="m"))
    with pytest.raises(EndpointError, match=r"127\.0\.0\.1:9"):
        model.complete(["x"])


def served(route):
    """An OpenAI-compatible application that answers by echoing what it was asked."""
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    seen = []

    async def chat(request):
        body = await request.json()
        seen.append(body)
        text = "Sure:\n```python\ndef add_numbers(a, b):\n    return a + b\n```\n"
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        return JSONResponse(reply("chat.completion", choice))

    async def completions(request):
        seen.append(await request.json())
        return JSONResponse(
            reply("text_completion", {"index": 0, "finish_reason": "stop", "text": "\n    return a + b\n# end"})
        )

    def reply(kind, choice):
        usage = {"prompt_tokens": 3, "completion_tokens": 7, "total_tokens": 10}
        return {"id": "r", "object": kind, "created": 0, "model": "m", "choices": [choice], "usage": usage}

    app = Starlette(
        routes=[
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/completions", completions, methods=["POST"]),
        ]
    )
    return app, seen


@pytest.mark.parametrize("route", ["chat", "completions"])
def test_both_routes_of_an_endpoint_are_judged_and_paid_once(route, tmp_path):
    import httpx2

    from evalkit.endpoint import Endpoint
    from evalkit.evaluation import evaluate
    from evalkit.sandbox import Sandbox

    app, seen = served(route)
    problems = load_suite("mini-humaneval")[:1]
    endpoint = Endpoint(base_url="http://127.0.0.1/v1", model="m", route=route)
    with Sandbox(1) as sandbox:
        for _ in range(2):
            model = EndpointModel(endpoint, tmp_path / "journal.sqlite", transport=httpx2.ASGITransport(app=app))
            result = evaluate(problems, model, sandbox, n=2, temperature=0.5)
            assert result.summary["passed"] == result.summary["scored"] == 2
            assert result.summary["mean_tokens"] == 7
    assert len(seen) == 2
