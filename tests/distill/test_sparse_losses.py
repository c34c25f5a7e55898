"""The loss on targets that were kept, against a dense float64 reference that autograd differentiates."""

import pytest
import torch
from test_losses import TOKENS, VALID, case, dense, gradients
from torch.nn import functional as F

from distill.losses import DIVERGENCES, LossSpec, Sparse, tiled_loss

BUCKETS = [name for name in DIVERGENCES if name != "mse"]


def student_logits(hidden, head, spec):
    out = hidden @ head.weight.T + (0 if head.bias is None else head.bias)
    out = out if head.softcap is None else head.softcap * torch.tanh(out / head.softcap)
    return out[:, : spec.valid]


def teacher_probs(teacher, spec):
    hidden, head = teacher
    return F.softmax(student_logits(hidden, head, spec) / spec.temperature, 1)


def top(q, k):
    probs, ids = q.topk(k, 1)
    return Sparse(ids, probs, (1 - probs.sum(1)).clamp_min(0))


def reference(hidden, head, labels, weights, spec, targets):
    """The definition, written out, of what targets mean."""
    z = student_logits(hidden, head, spec)
    log_p = F.log_softmax(z / spec.temperature, 1)
    ce = F.cross_entropy(z, labels, reduction="none", label_smoothing=spec.label_smoothing)
    listed = log_p.gather(1, targets.ids)
    if targets.rest is None:
        divergence = -(targets.probs * listed).sum(1) - targets.entropy
    else:
        others = log_p.scatter(1, targets.ids, -torch.inf).logsumexp(1, keepdim=True)
        q, log_p = torch.cat([targets.probs, targets.rest[:, None]], 1), torch.cat([listed, others], 1)
        p, log_q = log_p.exp(), q.log()
        m = spec.beta * q + (1 - spec.beta) * p
        divergence = {
            "forward_kl": lambda: q * (log_q - log_p),
            "reverse_kl": lambda: p * (log_p - log_q),
            "jsd": lambda: spec.beta * q * (log_q - m.log()) + (1 - spec.beta) * p * (log_p - m.log()),
            "skew_kl": lambda: q * (log_q - m.log()),
        }[spec.divergence]().sum(1)
    return (weights * (spec.alpha * ce + (1 - spec.alpha) * spec.temperature**2 * divergence)).sum()


def drawn(spread):
    """Shares of draws; some slots are not used: they have probability 0 at an id that another slot lists."""
    g = torch.Generator().manual_seed(5)
    ids = torch.stack([torch.randperm(VALID, generator=g)[:6] for _ in range(TOKENS)])
    counts = torch.randint(1, spread, (TOKENS, 6), generator=g).double()
    ids[::2, 4:], counts[::2, 4:] = ids[::2, :2], 0
    return Sparse(ids, counts / counts.sum(1, keepdim=True), None, torch.rand(TOKENS, generator=g, dtype=torch.float64))


SETTINGS = pytest.mark.parametrize(
    ("alpha", "temperature", "softcap", "smoothing"),
    [(0, 1, None, 0), (0.3, 1, None, 0.1), (0.3, 2, 3.0, 0.1), (0.5, 0.7, None, 0)],
)
TILES = pytest.mark.parametrize(("token_tile", "vocab_tile"), [(None, None), (4, 10), (1, 1), (5, 37)])


def check(spec, targets, softcap):
    hidden, head, labels, weights, _ = case(bias=softcap is not None, softcap=softcap)
    sums = tiled_loss(hidden, head, labels, weights, spec, targets)
    expected = reference(hidden, head, labels, weights, spec, targets)
    torch.testing.assert_close(sums.loss, expected, rtol=1e-10, atol=1e-10)
    ours, theirs = gradients(sums.loss * 0.7, hidden, head), gradients(expected * 0.7, hidden, head)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("divergence", BUCKETS)
@SETTINGS
@TILES
def test_top_k_equals_the_reference(divergence, alpha, temperature, softcap, smoothing, token_tile, vocab_tile):
    spec = LossSpec(VALID, alpha, temperature, divergence, 0.3, smoothing, token_tile, vocab_tile)
    teacher = case(softcap=softcap)[4]
    check(spec, top(teacher_probs(teacher, spec), 5), softcap)


@SETTINGS
@TILES
def test_sampled_equals_the_reference(alpha, temperature, softcap, smoothing, token_tile, vocab_tile):
    spec = LossSpec(VALID, alpha, temperature, "forward_kl", 0.3, smoothing, token_tile, vocab_tile)
    check(spec, drawn(9), softcap)


@pytest.mark.parametrize("divergence", BUCKETS)
@pytest.mark.parametrize("vocab_tile", [None, 10])
def test_all_ids_listed_is_the_dense_loss(divergence, vocab_tile):
    hidden, head, labels, weights, teacher = case()
    spec = LossSpec(VALID, 0.2, 1.5, divergence, 0.3, vocab_tile=vocab_tile)
    sums = tiled_loss(hidden, head, labels, weights, spec, top(teacher_probs(teacher, spec), VALID))
    expected = dense(hidden, head, labels, weights, spec, teacher)
    torch.testing.assert_close(sums.loss, expected)
    for one, other in zip(gradients(sums.loss, hidden, head), gradients(expected, hidden, head), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("divergence", BUCKETS)
def test_buckets_never_see_more_than_the_whole(divergence):
    hidden, head, labels, weights, teacher = case()
    spec = LossSpec(VALID, 0.0, 1.0, divergence, 0.3)
    q = teacher_probs(teacher, spec)
    found = [tiled_loss(hidden, head, labels, weights, spec, top(q, k)).divergence.item() for k in (1, 3, 9, 20, VALID)]
    assert found == sorted(found)
    assert found[-1] == pytest.approx(tiled_loss(hidden, head, labels, weights, spec, teacher).divergence.item())


def test_the_mean_over_exact_shares_is_the_dense_gradient():
    """Targets that are the teacher's own probabilities, listed as if drawn, are the dense forward KL; and the gradient
    is linear in the targets, so unbiased draws give an unbiased gradient."""
    hidden, head, labels, weights, teacher = case()
    spec = LossSpec(VALID, 0.3, 2.0)
    q = teacher_probs(teacher, spec)
    everything = torch.arange(VALID).expand(TOKENS, -1)
    exact = Sparse(everything, q, None, -(q * q.log()).sum(1))
    sums, expected = (tiled_loss(hidden, head, labels, weights, spec, t) for t in (exact, teacher))
    torch.testing.assert_close(sums.loss, expected.loss)
    for one, other in zip(gradients(sums.loss, hidden, head), gradients(expected.loss, hidden, head), strict=True):
        torch.testing.assert_close(one, other)
    halves = []
    for keep in (torch.arange(VALID) % 2 == 0, torch.arange(VALID) % 2 == 1):
        shares = Sparse(everything, 2 * q * keep, None, exact.entropy)
        halves.append(gradients(tiled_loss(hidden, head, labels, weights, spec, shares).loss, hidden, head)[0])
    whole = gradients(tiled_loss(hidden, head, labels, weights, spec, exact).loss, hidden, head)[0]
    torch.testing.assert_close((halves[0] + halves[1]) / 2, whole)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_student_that_empties_the_rest_stays_finite(dtype):
    """1 - sum(p) cancels where the listed ids have all the mass; the sum over the others does not."""
    hidden, head, labels, weights, teacher = case(dtype, scale=8.0)
    for divergence in BUCKETS:
        spec = LossSpec(VALID, 0.1, 1.0, divergence, 0.3)
        q = F.softmax((teacher[0].float() @ teacher[1].weight.float().T)[:, :VALID], 1)
        sums = tiled_loss(hidden, head, labels, weights, spec, top(q, 3))
        assert torch.isfinite(sums.loss)
        assert all(torch.isfinite(g).all() for g in gradients(sums.loss, hidden, head))


def test_what_targets_cannot_give_is_refused():
    hidden, head, labels, weights, teacher = case()
    q = teacher_probs(teacher, LossSpec(VALID))
    with pytest.raises(ValueError, match="mse cannot be had"):
        tiled_loss(hidden, head, labels, weights, LossSpec(VALID, divergence="mse"), top(q, 4))
    for divergence in ("reverse_kl", "jsd", "skew_kl", "mse"):
        with pytest.raises(ValueError, match="cannot be had"):
            tiled_loss(hidden, head, labels, weights, LossSpec(VALID, divergence=divergence), drawn(4))
