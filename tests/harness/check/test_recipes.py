"""All laws hold for methods with a recipe: bench's own, torch's, and routes."""

import pytest

from bench.harness.check.subject import check

RECIPES = (
    "nag[lr=0.1,batch=8,lr_schedule=cosine,lr_warmup=0.2,ema=0.9,clip_norm=0.5,accumulation=2]",
    "sgd[lr=0.5,lr_schedule=wsd,lr_warmup=2,polyak=0.5,weight_decay=0.01]",
    "hf[batch=8,lr_schedule=linear,lr_warmup=3,accumulation=2,weight_decay=0.01]",
    "torch.optim.AdamW[lr=0.05,lr_schedule=wsd,lr_warmup=2,weight_decay=0.01,"
    "weight_decay_schedule=linear,polyak=0.5]",
    "torch.optim.LBFGS[lr=0.1,batch=8,clip_value=0.5,weight_decay=0.01,ema=0.5]",
    "torch.optim.Muon[on=matrices,lr=0.05]+torch.optim.AdamW[on=rest,lr=0.05,"
    "lr_schedule=cosine,clip_norm=1,accumulation=2,batch=8]",
)


@pytest.mark.slow
@pytest.mark.parametrize("text", RECIPES)
def test_laws_hold(text: str) -> None:
    found = check(text, "quick", None).findings
    assert not [each for each in found if each.state == "fails"]
