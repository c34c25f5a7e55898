"""What is kept of a teacher: draws without bias, bytes that come back as they went."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.losses import Head
from distill.targets.codec import Form, decode_drawn, decode_top, encode_drawn, encode_top
from distill.targets.drawing import Drawn, Top, draw, top

VALID, TOKENS = 31, 9


def teacher(scale: float = 1.0):
    g = torch.Generator().manual_seed(1)
    hidden = torch.randn(TOKENS, 8, generator=g) * scale
    head = Head(torch.randn(VALID + 5, 8, generator=g))
    return hidden, head


def probs(hidden, head, temperature):
    return torch.softmax((hidden.double() @ head.weight.double().T)[:, :VALID] / temperature, 1).numpy()


def shares(drawn: Drawn, draws: int) -> np.ndarray:
    dense = np.zeros((TOKENS, VALID))
    rows = np.repeat(np.arange(TOKENS), drawn.uniques)
    np.add.at(dense, (rows, drawn.ids), drawn.counts / draws)
    return dense


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("draws", [1, 7, 50])
def test_draws_are_unbiased_and_never_a_whole_draw_off(temperature: float, draws: int):
    """The offsets are all there is of chance: over an even grid of them the mean is the teacher's own probability."""
    hidden, head = teacher()
    q = probs(hidden, head, temperature)
    grid = 2000
    mean = np.zeros((TOKENS, VALID))
    for i in range(grid):
        found = shares(draw(hidden, head, VALID, temperature, draws, np.full(TOKENS, (i + 0.5) / grid)), draws)
        np.testing.assert_allclose(found.sum(1), 1)
        assert np.abs(found - q).max() < 1 / draws + 1e-6
        mean += found / grid
    np.testing.assert_allclose(mean, q, atol=2 / (grid * draws) + 1e-6)


def test_the_spread_is_far_below_that_of_independent_draws():
    hidden, head = teacher()
    q, draws, rng = probs(hidden, head, 1.0), 50, np.random.default_rng(0)
    ours = [shares(draw(hidden, head, VALID, 1.0, draws, rng.random(TOKENS)), draws) for _ in range(300)]
    independent = [np.stack([rng.multinomial(draws, row / row.sum()) for row in q]) / draws for _ in range(300)]
    assert np.square(np.array(ours) - q).mean() < 0.4 * np.square(np.array(independent) - q).mean()


def test_entropy_is_that_of_the_whole_distribution():
    hidden, head = teacher()
    q = probs(hidden, head, 2.0)
    found = draw(hidden, head, VALID, 2.0, 3, np.zeros(TOKENS)).entropy
    np.testing.assert_allclose(found, -(q * np.log(q)).sum(1), rtol=1e-4)


def test_padding_is_never_drawn_and_a_certain_teacher_costs_one_id():
    hidden, head = teacher(scale=100.0)
    drawn = draw(hidden, head, VALID, 1.0, 255, np.full(TOKENS, 0.999999))
    assert drawn.ids.max() < VALID
    assert (drawn.uniques == 1).sum() >= TOKENS - 2


def test_top_and_the_rest():
    hidden, head = teacher()
    q = probs(hidden, head, 1.5)
    found = top(hidden, head, VALID, 1.5, 4)
    np.testing.assert_array_equal(found.ids, np.argsort(-q, 1)[:, :4])
    np.testing.assert_allclose(np.exp(found.log_probs).sum(1) + np.exp(found.rest), 1, rtol=1e-5)
    assert np.isneginf(top(hidden, head, VALID, 1.5, 1000).rest).all()


@st.composite
def records(make):
    valid = make(st.integers(2, 200_000))
    uniques = make(st.lists(st.integers(1, 12), min_size=1, max_size=20))
    ids = [sorted(make(st.lists(st.integers(0, valid - 1), min_size=u, max_size=u))) for u in uniques]
    counts = [make(st.permutations([50 - u + 1] + [1] * (u - 1))) for u in uniques]
    entropy = make(st.lists(st.integers(0, 12), min_size=len(uniques), max_size=len(uniques)))
    drawn = Drawn(np.array(uniques), np.concatenate(ids), np.concatenate(counts), np.array(entropy, np.float32))
    return Form(valid, draws=50), drawn


@given(records())
@settings(max_examples=80, deadline=None)
def test_drawn_records_come_back(case):
    form, drawn = case
    data = np.frombuffer(encode_drawn(drawn, form), np.uint8)
    for sent, found in zip(drawn, decode_drawn(data, len(drawn.uniques), form), strict=True):
        np.testing.assert_array_equal(sent, found)
    with pytest.raises(ValueError, match=r"marks|bytes"):
        decode_drawn(data[:-1], len(drawn.uniques), form)
    with pytest.raises(ValueError, match="marks"):
        decode_drawn(np.append(data, np.uint8(0)), len(drawn.uniques), form)


@given(st.integers(2, 200_000), st.integers(1, 9), st.integers(1, 9), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_top_records_come_back(valid, k, positions, random):
    k = min(k, valid)
    ids = np.array([random.sample(range(valid), k) for _ in range(positions)])
    log_probs = -np.arange(positions * k, dtype=np.float32).reshape(positions, k) / 8
    rest = np.full(positions, -np.inf, np.float32)
    form = Form(valid, k=k)
    found = decode_top(np.frombuffer(encode_top(Top(ids, log_probs, rest), form), np.uint8), positions, form)
    np.testing.assert_array_equal(found.ids, ids)
    np.testing.assert_array_equal(found.log_probs, log_probs)
    assert (np.exp(found.rest) == 0).all()


def test_ids_of_a_large_vocabulary_take_few_bytes():
    positions, uniques, rng = 100, 20, np.random.default_rng(0)
    counts = np.ones((positions, uniques), np.int64)
    counts[:, 0] = 11
    drawn = Drawn(
        np.full(positions, uniques),
        np.sort(rng.integers(0, 151_936, (positions, uniques)), 1).reshape(-1),
        counts.reshape(-1),
        np.ones(positions, np.float32),
    )
    assert len(encode_drawn(drawn, Form(151_936, draws=30))) / positions <= 44
