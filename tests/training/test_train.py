"""The training loop: reproducible, and does what its configuration says."""

import json
import math
import random
import shutil
from dataclasses import replace
from statistics import fmean

import pytest
import torch
from helpers import (
    CharTokenizer,
    small_model,
    write_benchmark,
)
from peft import LoraConfig, get_peft_model
from peft.tuners.lora.config import MontecloraConfig
from transformers import GPT2Config, GPT2LMHeadModel

from maml_en_llm import (
    DataError,
    PromptEncoder,
    PromptLoss,
    TrainConfig,
    load_model,
    meta_train,
    train,
)
from maml_en_llm.models.adapters import with_adapters
from maml_en_llm.models.guards import active_dropout
from maml_en_llm.tasks import limit, load_benchmark

METHODS = pytest.mark.parametrize(
    "method", ["metaicl", "multi-task", "maml-en-llm", "fomaml", "reptile"]
)


def run(config, tasks, **changes):
    model = small_model()
    return meta_train(model, CharTokenizer(), tasks, replace(config, **changes)), model


# --- reproducible ---


@METHODS
def test_same_seed_same_losses_to_the_bit(config, method):
    first = train(replace(config, method=method))
    torch.rand(3), random.random()  # nothing may depend on the global generators
    again = train(replace(config, method=method))
    for key in ("losses", "inner_losses", "norms", "hash"):
        assert first[key] == again[key]
    other = train(replace(config, method=method, seed=2))
    assert not set(first["losses"]) & set(other["losses"])


def test_a_run_leaves_the_global_generators_alone(config, tasks):
    state = torch.get_rng_state(), random.getstate()
    run(config, tasks)
    assert (
        torch.equal(torch.get_rng_state(), state[0]) and random.getstate() == state[1]
    )


# --- learns ---


@METHODS
@pytest.mark.parametrize("mode", ["direct", "channel"])
def test_loss_falls(config, tasks, method, mode):
    record, _ = run(
        config, tasks, method=method, mode=mode, steps=30, lr=3e-3, inner_lr=3e-3
    )
    first, last = fmean(record["losses"][:5]), fmean(record["losses"][-5:])
    assert last < 0.7 * first


def test_the_model_is_trained_in_place(config, tasks):
    record, model = run(config, tasks)
    start = small_model()
    assert any(
        not torch.equal(p, q)
        for p, q in zip(model.parameters(), start.parameters(), strict=True)
    )
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert (
        len(record["losses"])
        == len(record["norms"])
        == len(record["inner_losses"])
        == 4
    )
    assert [[len(losses) for losses in step] for step in record["inner_losses"]] == [
        [1, 1]
    ] * 4


def spoil(step, row):
    row["inner_losses"].clear()
    row["loss"] = "mine"
    del row["norm"]


def test_what_progress_does_to_a_row_is_not_in_the_record(config, tasks):
    whole = train(config)
    found = [
        train(config, progress=spoil),
        meta_train(
            *load_model(config.model, seed=config.seed), tasks, config, progress=spoil
        ),
    ]
    for record in found:
        for name in ("losses", "inner_losses", "norms"):
            assert record[name] == whole[name]


# --- schedule, clipping ---


def test_outer_rate_falls_linearly(config, tasks):
    told = []
    meta_train(
        small_model(),
        CharTokenizer(),
        tasks,
        replace(config, steps=5, lr=0.1),
        progress=lambda n, row: told.append((n, row)),
    )
    assert [n for n, _ in told] == list(range(5))
    assert [row["lr"] for _, row in told] == pytest.approx(
        [0.1, 0.08, 0.06, 0.04, 0.02]
    )
    keys = {"lr", "loss", "inner_losses", "norm"}
    assert all(row.keys() - {"inner_loop"} == keys for _, row in told)


@pytest.mark.parametrize("clip", [0.01, 1e6])
@METHODS
def test_gradients_are_clipped_by_their_joint_norm(config, tasks, method, clip):
    record, model = run(
        config,
        tasks,
        method=method,
        optimizer="sgd",
        steps=1,
        lr=0.5,
        inner_lr=1e-3,
        clip=clip,
    )
    moved = torch.stack(
        [
            (p - q).detach().norm()
            for p, q in zip(model.parameters(), small_model().parameters(), strict=True)
        ]
    ).norm()
    assert 0.01 < record["norms"][0] < 1e6
    assert moved.item() == pytest.approx(0.5 * min(record["norms"][0], clip), rel=1e-9)


# --- record ---


def test_record_is_json_and_says_how_it_was_made(config):
    record = train(config)
    back = json.loads(json.dumps(record))
    assert back["losses"] == record["losses"]
    assert (
        TrainConfig(**back["config"] | {"betas": tuple(back["config"]["betas"])})
        == config
    )
    assert (record["hash"], record["device"], record["missing_tasks"]) == (
        config.hash,
        "cpu",
        [],
    )
    assert all(map(math.isfinite, record["losses"]))


def test_training_asks_for_no_file_of_a_target(config, tmp_path):
    write_benchmark(tmp_path)
    shutil.rmtree(tmp_path / "c")
    record = train(replace(config, benchmark=str(tmp_path)))
    assert record["losses"] == train(config)["losses"]
    assert not record["missing_tasks"]
    with pytest.raises(DataError, match="lack their files: c"):
        load_benchmark(tmp_path, config.setting)


def test_a_task_in_both_lists_is_trained_on_only_where_leaks_are_kept(config, tmp_path):
    write_benchmark(tmp_path, train=("a", "b"), test=("a", "b"))
    own = replace(config, benchmark=str(tmp_path))
    with pytest.raises(DataError, match="expected tasks to train on in 'mini', found"):
        train(own)
    for file in tmp_path.glob("*/*_test.jsonl*"):
        file.unlink()
    assert train(replace(own, faithful=True))["losses"] == train(config)["losses"]


def test_record_names_the_tasks_left_out(config, tmp_path):
    write_benchmark(tmp_path, train=("a", "b", "z"))
    (tmp_path / "z" / "z_16384_100_train.jsonl").unlink()
    with pytest.raises(
        DataError, match="1 tasks of setting 'mini' lack their files: z"
    ):
        train(replace(config, benchmark=str(tmp_path)))
    with pytest.warns(UserWarning, match="z; they are left out"):
        assert train(replace(config, benchmark=str(tmp_path), allow_missing=True))[
            "missing_tasks"
        ] == ["z"]


# --- methods and data ---


def test_fomaml_is_maml_by_first_order_gradients(config, tasks):
    first, other = (
        run(config, tasks, method="fomaml")[0],
        run(config, tasks, gradient="first_order")[0],
    )
    assert first["losses"] == other["losses"] != run(config, tasks)[0]["losses"]


def test_metaict_is_metaicl_with_an_instruction_in_every_prompt(
    config, tasks, monkeypatch
):
    def prompts_of(method, instruction):
        seen, build = [], PromptEncoder.training_prompt
        monkeypatch.setattr(
            PromptEncoder,
            "training_prompt",
            lambda *a: seen.append(build(*a)) or seen[-1],
        )
        record, _ = run(
            config,
            [replace(task, instruction=instruction) for task in tasks],
            method=method,
        )
        monkeypatch.undo()
        return record["losses"], [prompt.ids for prompt in seen]

    plain, prompts = prompts_of("metaicl", "say it")
    told, instructed = prompts_of("metaict", "say it")
    start = PromptEncoder(CharTokenizer(), config.format)
    assert plain != told and len(prompts) == len(instructed)
    for without, with_it in zip(prompts, instructed, strict=True):
        assert with_it == start.tokens("say it") + start.tokens("\n\n\n") + without


def test_multi_task_training_shows_no_demonstrations(config, tasks):
    record, bare = (
        run(config, tasks, method="multi-task")[0],
        run(config, tasks, method="metaicl", demonstrations=0)[0],
    )
    assert (
        record["losses"]
        == bare["losses"]
        != run(config, tasks, method="metaicl")[0]["losses"]
    )


def test_the_record_counts_the_budget(config, tasks):
    record, _ = run(config, tasks, method="maml-en-llm", inner_steps=2, steps=3)
    budget = record["budget"]
    assert budget["outer_steps"] == 3 and budget["gradients"] == 3 * 2 * (4 * 2)
    assert 0 < budget["tokens_forward"] < budget["tokens_backward"]


def test_shares_of_the_data_are_nested(tasks):
    many = [replace(tasks[0], name=f"t{i}") for i in range(10)]
    names = [
        {task.name for task in limit(many, task_share=share, seed=3)}
        for share in (0.25, 0.5, 1.0)
    ]
    assert [len(some) for some in names] == [3, 5, 10] and names[0] < names[1] < names[
        2
    ]
    assert names[1] != {task.name for task in limit(many, task_share=0.5, seed=4)}
    half, whole = limit(tasks, record_share=0.5)[0].train, tasks[0].train
    assert len(half) == len(whole) / 2 and [e for e in whole if e in set(half)] == list(
        half
    )
    assert set(limit(tasks, record_share=0.25)[0].train) < set(half)
    assert limit(tasks) == tuple(tasks)


def test_fused_attention_is_refused_for_the_second_order(config, tasks):
    model = small_model(attention="sdpa")
    with pytest.raises(
        ValueError,
        match="'reverse' needs 'eager' or 'twice' attention, found 'sdpa'",
    ):
        meta_train(model, CharTokenizer(), tasks, config)
    meta_train(model, CharTokenizer(), tasks, replace(config, gradient="first_order"))
    meta_train(model, CharTokenizer(), tasks, replace(config, method="metaicl"))


@pytest.mark.numeric
@pytest.mark.parametrize("method", ["metaicl", "maml-en-llm", "reptile"])
def test_batches_in_parts_give_the_same_run(config, tasks, method, monkeypatch):
    sizes = []
    whole = PromptLoss.split

    def split(self, batch):
        parts = whole(self, batch)
        sizes.extend(len(part.input_ids) for _, part in parts)
        return parts

    monkeypatch.setattr("maml_en_llm.training.config.TOKENS_AT_ONCE", 0)
    plain, _ = run(config, tasks, method=method, prompts=3)
    monkeypatch.setattr(PromptLoss, "split", split)
    parts, _ = run(config, tasks, method=method, prompts=3, prompts_at_once=1)
    assert set(sizes) == {1}
    assert parts["losses"] == pytest.approx(plain["losses"], rel=1e-9)
    again = int(method == "maml-en-llm")  # the last support batch, per task and step
    more = again * config.steps * config.tasks_per_step
    assert parts["budget"]["gradients"] == plain["budget"]["gradients"] + more


def test_methods_of_one_seed_see_the_same_meta_batches(config, tasks):
    """The first query losses of n tasks are those of the first n of more."""
    few, many = (
        run(config, tasks, method="metaicl", steps=1, tasks_per_step=n)[0]
        for n in (1, 2)
    )
    maml, _ = run(config, tasks, steps=1, tasks_per_step=1, inner_lr=0)
    assert maml["losses"] == pytest.approx(few["losses"], rel=1e-12)
    assert many["losses"] != few["losses"]


@pytest.mark.parametrize("method", ["metaicl", "maml-en-llm", "fomaml"])
@pytest.mark.parametrize("part", ["", "transformer.h.1"])
def test_dropout_is_refused_by_every_method(config, tasks, method, part):
    shape = dict(vocab_size=257, n_positions=256, n_embd=32, n_layer=2, n_head=2)
    model = small_model(GPT2Config(**shape, bos_token_id=0, eos_token_id=0))
    model.get_submodule(part).train()
    changed = replace(config, method=method)
    message = (
        r"model: expected one without dropout.* = 0\.1 and \d+ more.*model.eval\(\)"
    )
    with pytest.raises(ValueError, match=message):
        meta_train(model, CharTokenizer(), tasks, changed)


@pytest.mark.parametrize("method", ["metaicl", "maml-en-llm", "fomaml"])
def test_other_noise_of_training_is_refused(config, tasks, method):
    model, changed = small_model(), replace(config, method=method)
    model.transformer.h[0].mlp.router_jitter_noise = 0.01
    meta_train(model, CharTokenizer(), tasks, changed)
    why = r"dropout or noise.*h\.0\.mlp\.router_jitter_noise = 0\.01.*model\.eval"
    with pytest.raises(ValueError, match=why):
        meta_train(model.train(), CharTokenizer(), tasks, changed)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
@pytest.mark.filterwarnings("ignore:tasks are computed one by one")
def test_adapters_that_draw_weights_are_noise_of_training(config, tasks):
    how = dict(r=2, target_modules=["c_proj"], fan_in_fan_out=True)
    drawn = LoraConfig(**how, monteclora_config=MontecloraConfig())
    model = get_peft_model(small_model(), drawn)  # in training mode
    with pytest.raises(ValueError, match=r"noise.*sampler.*draws = 1.*model\.eval"):
        meta_train(model, CharTokenizer(), tasks, config)
    meta_train(model.eval(), CharTokenizer(), tasks, config)


def test_random_slopes_are_noise_of_training():
    model = small_model()
    model.transformer.h[0].mlp.act = torch.nn.RReLU(0.125, 0.375).eval()
    assert active_dropout(model) == []
    model.transformer.h[0].mlp.act.train()
    assert active_dropout(model) == ["transformer.h.0.mlp.act.upper - lower = 0.25"]


def test_training_mode_without_dropout_is_the_same_run(config, tasks):
    one, two = small_model(), small_model().train()
    records = [meta_train(m, CharTokenizer(), tasks, config) for m in (one, two)]
    assert records[0]["losses"] == records[1]["losses"]


class OtherNames(GPT2LMHeadModel):
    def forward(self, tokens, attention_mask=None, use_cache=None):
        return super().forward(tokens, attention_mask=attention_mask)


class Fewer(GPT2LMHeadModel):
    def forward(self, input_ids):
        return super().forward(input_ids)


class PassedOn(GPT2LMHeadModel):
    def forward(self, input_ids, **more):
        return super().forward(input_ids, **more)


@pytest.mark.filterwarnings("ignore:tasks are computed one by one")
def test_a_forward_with_other_arguments_is_refused(config, tasks):
    small = small_model().config
    for kind, lacking in (
        (OtherNames, "OtherNames without input_ids;"),
        (Fewer, "Fewer without attention_mask, use_cache;"),
    ):
        with pytest.raises(ValueError, match=f"^model: expected a forw.*{lacking}"):
            meta_train(kind(small).eval(), CharTokenizer(), tasks, config)
    own = PassedOn(small).eval()
    own.set_attn_implementation("eager")
    assert meta_train(own, CharTokenizer(), tasks, replace(config, steps=1))["losses"]


def test_two_tasks_of_one_name_are_refused(config, tasks):
    doubled = [*tasks, replace(tasks[1], train=tasks[0].train)]
    message = f"tasks: expected each name once, found '?{tasks[1].name}'? more than"
    with pytest.raises(DataError, match=message):
        meta_train(small_model(), CharTokenizer(), doubled, config)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of peft, about older names
@pytest.mark.parametrize(
    ("rank", "asked", "found"), [(0, 2, "none"), (2, 4, "those of rank 2")]
)
def test_adapters_that_the_model_does_not_have_are_refused(
    config, tasks, rank, asked, found
):
    """The record would name them."""
    model = small_model()
    if rank:
        model = with_adapters(model, rank)
    message = f"lora: expected a model with adapters of rank {asked} .* found {found};"
    with pytest.raises(ValueError, match=message):
        meta_train(model, CharTokenizer(), tasks, replace(config, lora=asked))
    if rank:
        for lora in (0, rank):
            short = replace(config, lora=lora, steps=1)
            record = meta_train(model, CharTokenizer(), tasks, short)
            assert record["config"]["lora"] == lora
