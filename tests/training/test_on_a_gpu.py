"""The same numbers on a GPU as on the CPU; without one, all of this is skipped."""

from dataclasses import replace

import pytest
import torch
from helpers import (
    QUERIES,
    SHOWN,
    CharTokenizer,
    batch_for,
    distance,
    small_model,
)

from maml_en_llm import (
    Adam,
    PromptLoss,
    TrainConfig,
    evaluate,
    load_benchmark,
    load_model,
    meta_gradient,
    parameters,
    score_options,
    train,
)
from maml_en_llm.methods import METHODS

DEVICE = "cuda"
pytestmark = [
    pytest.mark.numeric,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]


@pytest.fixture
def exact(config) -> TrainConfig:
    return replace(config, dtype="float64", device="cpu")


def trained(config: TrainConfig, output) -> dict:
    """θ after a run, on the CPU."""
    train(config, output=output)
    return parameters(load_model(output, dtype=config.dtype)[0])


@pytest.mark.parametrize("mode", ["reverse", "unrolled", "first_order"])
def test_a_meta_gradient_in_float64(mode):
    model = small_model(dtype=torch.float64)
    support, query = [batch_for(model, n) for n in (0, 1)], batch_for(model, 2)
    found = {}
    for device in ("cpu", DEVICE):
        model = model.to(device)
        batches = [batch.to(device) for batch in support]
        grads = meta_gradient(
            PromptLoss(model),
            parameters(model),
            batches,
            query.to(device),
            Adam(1e-2),
            mode=mode,
        ).grads
        found[device] = {name: g.cpu() for name, g in grads.items()}
    assert distance(found[DEVICE], found["cpu"]) < 1e-11


@pytest.mark.parametrize("mode", ["direct", "channel"])
def test_scores_in_float64_whatever_is_asked_at_once(mode):
    model = small_model(dtype=torch.float64)
    found = {}
    for device in ("cpu", DEVICE):
        model = model.to(device)
        for most in (1, None):
            rows = score_options(
                *(model, CharTokenizer(), SHOWN, QUERIES),
                mode=mode,
                tokens_at_once=most,
            )
            found[device, most] = torch.tensor([x for row in rows for x in row])
    for scores in found.values():
        torch.testing.assert_close(scores, found["cpu", 1], rtol=1e-10, atol=0)


# without metaict, which needs instructions that these tasks lack
@pytest.mark.parametrize("method", sorted({*METHODS} - {"metaict"}))
def test_a_run_in_float64(exact, method, tmp_path):
    config = replace(exact, method=method)
    here = trained(config, tmp_path / "cpu")
    there = trained(replace(config, device=DEVICE), tmp_path / "gpu")
    assert distance(there, here) < 1e-9


def test_a_run_that_goes_on_ends_as_if_it_had_not_stopped(config, tmp_path):
    config = replace(config, device=DEVICE, dtype="float32")

    def stop(step: int, row: dict) -> None:
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, output=tmp_path / "two", checkpoint_every=1, progress=stop)
    whole, parts = trained(config, tmp_path / "one"), trained(config, tmp_path / "two")
    assert distance(parts, whole) < 1e-6


def test_first_order_and_scores_in_bfloat16(config, tmp_path):
    config = replace(config, device=DEVICE, dtype="bfloat16", method="fomaml")
    output = tmp_path / "run"
    record = train(config, output=output)
    assert torch.tensor(record["losses"]).isfinite().all()
    model, tokenizer = load_model(output, device=DEVICE, dtype="bfloat16")
    targets = load_benchmark(config.benchmark, "mini")
    assert 0 <= evaluate(model, tokenizer, targets, max_length=128)["mean"] <= 100


def test_second_order_in_bfloat16_is_refused(config, tmp_path):
    half = dict(vars(config), device=DEVICE, dtype="bfloat16")
    with pytest.raises(ValueError, match="dtype"):
        train(TrainConfig(**half), output=tmp_path / "run")
