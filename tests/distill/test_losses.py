"""The tiled loss against a dense float64 reference that autograd differentiates."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from distill.losses import DIVERGENCES, Head, LossSpec, tiled_loss

VALID, PADDED, TOKENS, WIDTH, TEACHER_WIDTH = 37, 48, 13, 8, 12


def dense(hidden, head, labels, weights, spec, teacher):
    """The definition, written out: no tiles, no closed forms."""

    def logits(h, side):
        out = h @ side.weight.T + (0 if side.bias is None else side.bias)
        out = out if side.softcap is None else side.softcap * torch.tanh(out / side.softcap)
        return out.masked_fill(torch.arange(out.shape[1]) >= spec.valid, -torch.inf)[:, : spec.valid]

    z, y = logits(hidden, head), logits(*teacher)
    ce = F.cross_entropy(z, labels, reduction="none", label_smoothing=spec.label_smoothing)
    log_p, log_q = F.log_softmax(z / spec.temperature, 1), F.log_softmax(y / spec.temperature, 1)
    p, q = log_p.exp(), log_q.exp()
    m = spec.beta * q + (1 - spec.beta) * p
    kl = {
        "forward_kl": lambda: q * (log_q - log_p),
        "reverse_kl": lambda: p * (log_p - log_q),
        "jsd": lambda: spec.beta * q * (log_q - m.log()) + (1 - spec.beta) * p * (log_p - m.log()),
        "skew_kl": lambda: q * (log_q - m.log()),
        "mse": lambda: ((z - y) / spec.temperature) ** 2 / spec.valid,
    }[spec.divergence]().sum(1)
    return (weights * (spec.alpha * ce + (1 - spec.alpha) * spec.temperature**2 * kl)).sum()


def case(dtype=torch.float64, *, bias=False, softcap=None, scale=1.0):
    g = torch.Generator().manual_seed(3)

    def rand(*shape):
        return (torch.randn(*shape, generator=g, dtype=torch.float64) * scale).to(dtype)

    hidden, weight = rand(TOKENS, WIDTH).requires_grad_(), rand(PADDED, WIDTH).requires_grad_()
    offset = rand(PADDED).requires_grad_() if bias else None
    teacher = (rand(TOKENS, TEACHER_WIDTH), Head(rand(PADDED + 16, TEACHER_WIDTH), None, softcap))
    labels = torch.randint(0, VALID, (TOKENS,), generator=g)
    weights = torch.rand(TOKENS, generator=g, dtype=torch.float64).to(dtype) + 0.5
    return hidden, Head(weight, offset, softcap), labels, weights, teacher


def gradients(loss, hidden, head):
    inputs = [hidden, head.weight] + ([head.bias] if head.bias is not None else [])
    return torch.autograd.grad(loss, inputs)


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize(
    ("alpha", "temperature", "softcap", "smoothing"), [(0, 1, None, 0), (0.3, 2, 3.0, 0.1), (1, 1, None, 0)]
)
@pytest.mark.parametrize(("token_tile", "vocab_tile"), [(None, None), (4, 10), (5, 37), (1, 1)])
def test_equals_the_dense_reference(divergence, alpha, temperature, softcap, smoothing, token_tile, vocab_tile):
    hidden, head, labels, weights, teacher = case(bias=softcap is not None, softcap=softcap)
    spec = LossSpec(VALID, alpha, temperature, divergence, 0.3, smoothing, token_tile, vocab_tile)
    sums = tiled_loss(hidden, head, labels, weights, spec, teacher)
    expected = dense(hidden, head, labels, weights, spec, teacher)
    torch.testing.assert_close(sums.loss, expected, rtol=1e-10, atol=1e-10)
    for ours, theirs in zip(
        gradients(sums.loss * 0.7, hidden, head), gradients(expected * 0.7, hidden, head), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_padding_rows_get_no_gradient_and_do_not_matter(divergence):
    hidden, head, labels, weights, teacher = case()
    spec = LossSpec(VALID, 0.5, 1.0, divergence)
    loss = tiled_loss(hidden, head, labels, weights, spec, teacher).loss
    (gradient,) = torch.autograd.grad(loss, [head.weight])
    assert not gradient[VALID:].any()
    with torch.no_grad():
        head.weight[VALID:] = 1e4
    assert torch.equal(tiled_loss(hidden, head, labels, weights, spec, teacher).loss, loss)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_float32_is_close_to_float64(divergence):
    exact, single = case(), case(torch.float32)
    spec = LossSpec(VALID, 0.2, 2.0, divergence)
    left = gradients(tiled_loss(*single[:4], spec, single[4]).loss, single[0], single[1])
    right = gradients(dense(*exact[:4], spec, exact[4]), exact[0], exact[1])
    for ours, theirs in zip(left, right, strict=True):
        assert (ours.double() - theirs).norm() / theirs.norm() < 1e-5


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_bfloat16_inputs_stay_within_their_own_rounding(divergence):
    rounded = case(torch.bfloat16)
    exact = [t.detach().double().requires_grad_(t.requires_grad) for t in (rounded[0], rounded[1].weight)]
    teacher = (rounded[4][0].double(), Head(rounded[4][1].weight.double()))
    spec = LossSpec(VALID, 0.2, 1.0, divergence)
    ours = tiled_loss(*rounded[:4], spec, rounded[4]).loss
    theirs = dense(exact[0], Head(exact[1]), rounded[2], rounded[3].double(), spec, teacher)
    assert abs(ours.item() - theirs.item()) / abs(theirs.item()) < 0.02
    for a, b in zip(gradients(ours, rounded[0], rounded[1]), torch.autograd.grad(theirs, exact), strict=True):
        assert (a.double() - b).norm() / b.norm() < 0.03


def test_a_frozen_head_gets_no_gradient_buffer():
    hidden, head, labels, weights, teacher = case()
    frozen = Head(head.weight.detach())
    loss = tiled_loss(hidden, frozen, labels, weights, LossSpec(VALID), teacher).loss
    loss.backward()
    assert hidden.grad is not None
    assert frozen.weight.grad is None


def test_tiles_do_not_change_the_gradient():
    results = []
    for tiles in itertools.product((None, 3), (None, 8)):
        hidden, head, labels, weights, teacher = case(torch.float32)
        spec = LossSpec(VALID, 0.5, 2.0, "jsd", token_tile=tiles[0], vocab_tile=tiles[1])
        results.append(gradients(tiled_loss(hidden, head, labels, weights, spec, teacher).loss, hidden, head))
    for other in results[1:]:
        for ours, theirs in zip(other, results[0], strict=True):
            assert (ours - theirs).norm() / theirs.norm() < 1e-6


def test_alpha_below_one_needs_a_teacher_and_alpha_one_reads_none():
    hidden, head, labels, weights, _ = case()
    with pytest.raises(ValueError, match="teacher"):
        tiled_loss(hidden, head, labels, weights, LossSpec(VALID, 0.5))
    sums = tiled_loss(hidden, head, labels, weights, LossSpec(VALID, 1.0))
    assert sums.divergence == 0


@pytest.mark.parametrize("offset", [0.0, 500.0, -500.0])
@pytest.mark.parametrize("alike", [True, False])
def test_small_divergences_keep_their_digits(offset: float, alike: bool):
    """Logits that have a large number in common (of both models, or of one) are the same distributions."""
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(64, VALID, generator=g)
    other = logits + 1e-2 * torch.randn(64, VALID, generator=g)
    exact = F.kl_div(logits.double().log_softmax(1), other.double().log_softmax(1), log_target=True, reduction="sum")
    eye = torch.eye(VALID)
    bias = torch.full((VALID,), offset)
    student, teacher = Head(eye, bias), Head(eye, bias if alike else -bias)
    labels, weights = torch.zeros(64, dtype=torch.long), torch.ones(64)
    sums = tiled_loss(logits, student, labels, weights, LossSpec(VALID), (other, teacher))
    ce = F.cross_entropy(logits.double(), labels, reduction="sum")
    rel = 1e-3 if offset == 0 else 5e-2  # adding the offset to fp32 logits has cost digits already
    torch.testing.assert_close(sums.loss.double(), exact, rtol=rel, atol=0)
    torch.testing.assert_close(sums.ce.double(), ce, rtol=1e-5, atol=0)


def test_a_second_derivative_is_refused():
    hidden = torch.randn(3, 4, requires_grad=True)
    weight = torch.randn(9, 4)
    out = tiled_loss(hidden, Head(weight), torch.zeros(3, dtype=torch.long), torch.ones(3), LossSpec(9, alpha=1.0))
    (first,) = torch.autograd.grad(out.loss, hidden, create_graph=True)
    with pytest.raises(RuntimeError, match="grad"):
        first.sum().backward()
