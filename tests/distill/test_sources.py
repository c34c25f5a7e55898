"""The table of divergence and source: what it says is what the loss does, and what the guide prints."""

from pathlib import Path

import pytest
import torch

from distill.losses import DIVERGENCES, Head, LossSpec, Sparse, tiled_loss
from distill.sources import SOURCES, TABLE, Standing, markdown, refuse_impossible, standing


def test_every_divergence_has_a_standing_with_every_source():
    assert set(TABLE) == set(DIVERGENCES)
    assert all(set(row) == set(SOURCES) for row in TABLE.values())


def test_the_guide_prints_it():
    guide = Path(__file__).parents[2] / "docs" / "distill.md"
    assert markdown() in guide.read_text()


@pytest.mark.parametrize("divergence", TABLE)
@pytest.mark.parametrize("source", SOURCES)
def test_the_loss_and_the_recipe_refuse_what_the_table_refuses(divergence: str, source: str):
    g = torch.Generator().manual_seed(0)
    hidden, head = torch.randn(3, 4, generator=g), Head(torch.randn(9, 4, generator=g))
    probs = torch.full((3, 2), 0.4)
    rest = None if source == "sampled" else torch.full((3,), 0.2)
    sparse = Sparse(torch.tensor([[1, 2]] * 3), probs, rest, torch.ones(3))
    teacher = (hidden, head) if source in ("local", "states") else sparse

    def loss() -> None:
        tiled_loss(
            hidden, head, torch.zeros(3, dtype=torch.long), torch.ones(3), LossSpec(9, divergence=divergence), teacher
        )

    if standing(divergence, source) is Standing.REFUSED:
        with pytest.raises(ValueError, match="cannot be had"):
            refuse_impossible(source, divergence, 1.0)
        if (source, divergence) != ("words", "reverse_kl"):  # what those targets lack cannot be seen in their form
            with pytest.raises(ValueError, match="cannot be had"):
                loss()
    else:
        refuse_impossible(source, divergence, 1.0)
        loss()


def test_servers_score_at_temperature_one():
    assert standing("forward_kl", "served", temperature=2.0) is Standing.REFUSED
    assert standing("forward_kl", "words", temperature=2.0) is Standing.REFUSED
    assert standing("forward_kl", "top_k", temperature=2.0) is Standing.BIASED
    with pytest.raises(ValueError, match="at temperature 1"):
        refuse_impossible("served", "jsd", 0.5)
