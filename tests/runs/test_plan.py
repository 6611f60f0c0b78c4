"""The plan of an outer step: its peak against the bytes of all tensors, counted."""

import weakref
from dataclasses import replace

import pytest
import torch
from helpers import small_model
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    MixtralConfig,
    Phi3Config,
)

from maml_en_llm import Episode, PromptLoss, TrainConfig, tensors
from maml_en_llm.methods import METHODS
from maml_en_llm.models.adapters import with_adapters
from maml_en_llm.models.loading import fuse_gelu
from maml_en_llm.prompts import Prompt, collate
from maml_en_llm.runs.plan import (
    GIB,
    PLANNED,
    Sizes,
    Step,
    advice,
    in_lines,
    peak_bytes,
    seconds_per_gradient,
    sizes_of,
)
from maml_en_llm.training.loop import Loop
from maml_en_llm.training.ranks import Ranks

LLAMA = dict(
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=512,
    tie_word_embeddings=True,
)
LONG = LLAMA | dict(  # whose activations count
    vocab_size=300, hidden_size=96, intermediate_size=256, num_hidden_layers=3
)
HEAVY = LLAMA | dict(  # whose parameters count
    vocab_size=2000, hidden_size=128, intermediate_size=384, num_hidden_layers=3
)
GPT2 = dict(n_positions=512, n_head=4, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0)
CASES = {
    "MetaICL, long prompts": (
        LlamaConfig(**LONG),
        Step(method="metaicl", n=1, length=200, target=4),
    ),
    "second order, long prompts": (
        LlamaConfig(**LONG | {"intermediate_size": 200}),
        Step(n=1, k=1, length=200, target=4),
    ),
    "second order, mostly parameters": (
        LlamaConfig(**HEAVY),
        Step(n=1, k=2, length=12, target=4),
    ),
    "MetaICL, the tasks' prompts together": (
        LlamaConfig(**LONG),
        Step(method="metaicl", n=4, length=100, target=4),
    ),
    "MetaICL, two by two": (
        LlamaConfig(**LONG | {"num_hidden_layers": 2, "max_position_embeddings": 1024}),
        Step(method="metaicl", n=4, length=800, target=4),
    ),
    "MetaICT, the tasks' prompts together": (
        LlamaConfig(**LONG),
        Step(method="metaict", n=4, length=100, target=4),
    ),
    "multi-task, long prompts": (
        LlamaConfig(**LONG),
        Step(method="multi-task", n=1, length=200, target=4),
    ),
    "Reptile, long prompts": (
        LlamaConfig(**LONG),
        Step(method="reptile", n=2, k=1, prompts=4, length=400, target=4),
    ),
    "Reptile, mostly parameters": (
        LlamaConfig(**HEAVY),
        Step(method="reptile", n=1, k=2, length=12, target=4),
    ),
    "Reptile, mostly parameters, more tasks": (
        LlamaConfig(**HEAVY),
        Step(method="reptile", n=3, k=4, length=12, target=4),
    ),
    "FOMAML, long prompts": (
        LlamaConfig(**LONG),
        Step(method="fomaml", n=2, k=2, prompts=4, length=400, target=4),
    ),
    "GPT-2, second order": (
        GPT2Config(vocab_size=300, n_embd=96, n_layer=3, **GPT2),
        Step(n=1, k=1, length=200, target=4),
    ),
    "second order, gate and width in one matrix": (
        Phi3Config(
            vocab_size=300,
            hidden_size=96,
            intermediate_size=200,
            num_hidden_layers=3,
            pad_token_id=0,
            **LLAMA,
        ),
        Step(n=1, k=1, length=200, target=4),
    ),
    "second order, two of four experts": (
        MixtralConfig(
            vocab_size=300,
            hidden_size=96,
            intermediate_size=100,
            num_hidden_layers=3,
            num_local_experts=4,
            num_experts_per_tok=2,
            **LLAMA,
        ),
        Step(n=1, k=1, length=400, target=4),
    ),
}


class Bytes(TorchDispatchMode):
    """Counts the bytes of the tensors that are alive, operation by operation."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self.known: dict[int, int] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self.see(leaf.untyped_storage())
        return out

    def see(self, storage) -> None:
        """Count a storage, if it is new."""
        key, size = storage._cdata, storage.nbytes()
        if key in self.known:
            return
        self.known[key] = size
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, key)

    def _gone(self, key: int) -> None:
        self.now -= self.known.pop(key, 0)


class Fixed:
    """Stands for the sampler: prompts of one length."""

    left_out: dict = {}

    def __init__(self, step: Step, words: int):
        self.step, self.words = step, words

    def episode(self, number: int, index: int) -> Episode:
        source = torch.Generator().manual_seed(100 * number + index)

        def batch():
            shape = self.step.prompts, self.step.length
            ids = torch.randint(self.words, shape, generator=source).tolist()
            return collate([Prompt(tuple(row), self.step.target) for row in ids])

        support = tuple(batch() for _ in range(self.step.inner_steps))
        return Episode("random", support, batch())


def measured(model, step: Step) -> int:
    """The most bytes that an outer step holds, the model's own included."""
    config = TrainConfig(
        benchmark="none",
        method=step.method,
        steps=10,
        tasks_per_step=step.n,
        inner_steps=max(step.k, 1),
        prompts=step.prompts,
        max_length=step.length,
        moments=step.moments,
        looks=0,
    )
    loop = Loop(
        config,
        model,
        PromptLoss(model, step.at_once),
        config.make_method(),
        Fixed(step, model.config.vocab_size),
        config.make_outer_optimizer(),
        Ranks(),
    )
    with Bytes() as bytes_alive:
        for parameter in model.parameters():  # once, whatever views of it are seen
            bytes_alive.see(parameter.untyped_storage())
        state = loop.step(loop.start())  # the next one begins with moments of its own
        bytes_alive.peak = bytes_alive.now
        loop.step(state)
    return bytes_alive.peak


@pytest.mark.parametrize("name", CASES)
def test_peak_is_within_15_percent_of_the_bytes_that_are_counted(name):
    config, step = CASES[name]
    # as `load_model` does: GPT-2's own activation keeps eight tensors more
    model = fuse_gelu(small_model(config, dtype=torch.float32, attention="twice"))
    found = measured(model, step)
    assert peak_bytes(sizes_of(model), step) == pytest.approx(found, rel=0.15)


FEW = LlamaConfig(
    vocab_size=1200,
    hidden_size=96,
    intermediate_size=288,
    num_hidden_layers=2,
    **LLAMA,
)


@pytest.mark.parametrize("at_once", [1, None], ids=["one by one", "stacked"])
@pytest.mark.parametrize("moments", ["fresh", "shared"])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_peak_of_inner_loops_is_predicted(k, n, moments, at_once):
    """Mostly parameters; tasks so small are stacked unless a batch is split."""
    model = small_model(FEW, dtype=torch.float32, attention="twice")
    sizes = sizes_of(model)
    step = Step(n=n, k=k, prompts=2, length=12, target=4, moments=moments)
    for method in ("fomaml", "maml-en-llm"):
        step = replace(step, method=method, at_once=at_once)
        found = measured(model, step)
        assert peak_bytes(sizes, step) == pytest.approx(found, rel=0.1)


def test_metaicls_prompts_are_together_up_to_a_number_of_tokens():
    step = Step(method="metaicl", n=4, length=512)
    assert step.together == 4
    assert replace(step, length=1024).together == 2
    assert replace(step, length=4096).together == 1
    assert replace(step, prompts=4, length=1024).together == 4  # a batch stays whole
    assert replace(step, at_once=1).together == 1
    assert replace(step, method="fomaml", prompts=3).together == 3


def test_gradient_equivalents_are_those_of_the_budget():
    assert Step(method="metaicl", n=4).gradients == 4
    assert Step(method="metaict", n=4, k=3).gradients == 4
    assert Step(method="multi-task", n=4, k=3).gradients == 4
    assert Step(method="fomaml", n=4, k=2).gradients == 12
    assert Step(method="reptile", n=4, k=2).gradients == 12
    assert Step(method="maml-en-llm", n=4, k=1).gradients == 16
    assert Step(method="maml-en-llm", n=4, k=4).gradients == 64


def test_sizes_are_the_models():
    config, _ = CASES["MetaICL, long prompts"]
    model = small_model(config, dtype=torch.float32, attention="twice")
    sizes = sizes_of(model)
    assert sizes.parameters == sizes.moving == model.num_parameters()
    assert (sizes.layers, sizes.width, sizes.inner, sizes.vocabulary) == (
        3,
        96,
        256,
        300,
    )
    assert sizes.gated
    adapted = with_adapters(model, 2)
    few = sizes_of(adapted)
    assert few.moving == few.parameters - sizes.parameters
    assert few.table == 0


SMALL = dict(
    hidden_size=64,
    intermediate_size=112,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
)
EXPERTS = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=48)


@pytest.mark.parametrize(
    "kind, more, inner, gated",
    [
        ("llama", {}, 112, True),
        ("phi3", {"pad_token_id": 0}, 112, True),
        ("glm", {"head_dim": 16}, 112, True),
        ("modernbert-decoder", {"pad_token_id": 0}, 112, True),
        ("phi", {}, 112, False),
        ("gpt_neox", {}, 112, False),
        ("opt", {"ffn_dim": 112, "word_embed_proj_dim": 64}, 112, False),
        ("gpt2", {"n_embd": 64, "n_head": 4, "intermediate_size": None}, 256, False),
        ("mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}, 224, True),
        ("olmoe", {"num_experts": 4, "num_experts_per_tok": 2}, 224, True),
        ("qwen3_moe", EXPERTS | {"head_dim": 16}, 96, True),
        # an expert for all, and one layer of two without experts
        (
            "qwen2_moe",
            EXPERTS | {"shared_expert_intermediate_size": 48, "mlp_only_layers": [0]},
            (3 * 48 + 112) // 2,
            True,
        ),
    ],
)
def test_the_feed_forward_part_is_found_by_its_shapes(kind, more, inner, gated):
    config = AutoConfig.for_model(kind, **SMALL | more)
    with torch.device("meta"):
        sizes = sizes_of(AutoModelForCausalLM.from_config(config))
    assert (sizes.inner, sizes.gated) == (inner, gated)


BIG = Sizes(
    parameters=10**8,
    moving=10**8,
    table=10**7,
    vocabulary=50_000,
    layers=12,
    width=768,
    inner=3072,
    heads=12,
    gated=False,
)


def test_each_way_out_takes_less():
    step = Step(n=4, k=2, prompts=4, length=512)
    asked, *others = advice(BIG, step, GIB)
    assert asked[0] == "as asked"
    assert len(others) == 7
    assert all(peak < asked[1] for _, peak, _ in others)
    limit = min(peak for _, peak, _ in others)
    assert [fits for *_, fits in advice(BIG, step, limit)].count(True) == 1


def test_shared_moments_take_two_copies_more_where_tasks_are_summed():
    step = Step(n=2, k=1, length=64)
    more = peak_bytes(BIG, step) - peak_bytes(BIG, replace(step, moments="fresh"))
    assert more == 2 * 4 * BIG.moving
    for alike in (replace(step, n=1), replace(step, method="metaicl")):
        fresh = replace(alike, moments="fresh")
        assert peak_bytes(BIG, alike) == peak_bytes(BIG, fresh)


def test_peak_grows_with_what_is_asked():
    step = Step(n=4, k=1, prompts=2, length=512)
    for bigger in ("k", "prompts", "length"):
        more = replace(step, **{bigger: 4 * getattr(step, bigger)})
        assert peak_bytes(BIG, more) > peak_bytes(BIG, step)


def test_words_say_what_was_measured_and_what_fits():
    step = Step(n=4, k=1, prompts=2, length=512)
    text = in_lines(BIG, step, 2 * GIB, 0.5)
    assert "0.5 s per gradient (measured), 8 s per outer step (predicted)" in text
    assert "does not fit 2 GiB" in text
    assert "micro-batching" in text
    assert "measured" not in in_lines(BIG, step, None, None)


def test_every_method_is_planned():
    assert set(PLANNED) == set(METHODS)
    for method in PLANNED:
        assert "gradient equivalents" in in_lines(BIG, Step(method=method), None, None)


@pytest.mark.parametrize(
    "fields, message",
    [
        (dict(method="maml"), "method: expected"),
        (dict(moments="own"), "moments: expected .*shared.*, found 'own'"),
        (dict(length=0), "length: expected"),
        (dict(length=4), "length: expected more tokens than the target's 8, found 4"),
        (dict(length=8), "length: expected more tokens than the target's 8, found 8"),
        (dict(at_once=0), "at_once: expected a whole number of at least 1"),
        (dict(at_once=-1), "at_once: expected a whole number of at least 1"),
        (dict(prompts=10**11), "prompts: expected .* at most 100000"),
        (dict(k=10**11), "k: expected .* at most 100000"),
    ],
    ids=str,
)
def test_a_step_that_cannot_be_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Step(**fields)


def test_a_gradient_that_cannot_be_measured_is_refused(monkeypatch):
    model = small_model("gpt2")  # of 1,024 positions
    with pytest.raises(ValueError, match="length: .* at most 1024, .* found 1025"):
        seconds_per_gradient(model, Step(length=1025))
    assert seconds_per_gradient(model, Step(length=12)) > 0
    few = small_model(GPT2Config(vocab_size=40, n_embd=32, n_layer=1, n_head=2))
    assert seconds_per_gradient(few, Step(length=60)) > 0
    monkeypatch.setattr(tensors, "machine_memory", lambda: 2**20)
    with pytest.raises(ValueError, match="prompts: .* 0.000977 GiB, this machine's"):
        seconds_per_gradient(model, Step(length=12))
