"""Small models, a small tokenizer and small task folders.

Nothing here needs a network or real data.
"""

import ast
import copy
import gzip
import importlib.util
import json
import os
import re
import string
import subprocess
import sys
import traceback
import warnings
from pathlib import Path

import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    OPTConfig,
    PretrainedConfig,
    Qwen2Config,
)
from transformers.utils import logging

from maml_en_llm.meta import loss_and_grad
from maml_en_llm.methods import Episode
from maml_en_llm.optimizers import SGD, Adam, AdamW, Lion, Momentum, NAdam, RMSprop
from maml_en_llm.prompts import Prompt, collate
from maml_en_llm.protocol import SEEDS
from maml_en_llm.tasks import Example

TWO = ("yes", "no")
SHOWN = [Example("the cat sat", "yes", TWO), Example("a dog ran off", "no", TWO)]
QUERIES = [Example("birds fly", "yes", (*TWO, "maybe so")), Example("fish", "no", TWO)]
OPTIMIZERS = [  # one of each rule
    SGD(0.1),
    Momentum(0.1, 0.8),
    Adam(0.01),
    AdamW(0.01, weight_decay=0.3),
    NAdam(0.01),
    RMSprop(0.01, 0.9),
    Lion(0.01, eps_root=1e-2, weight_decay=0.3),
]
WORDS = 97  # vocabulary of the models and of `CharTokenizer`

# Large initial weights: with the default 0.02 every prediction is uniform, and no test
# could tell two apart.
LLAMA = dict(
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=2,
    intermediate_size=64,
    max_position_embeddings=1024,
    initializer_range=0.3,
)
CONFIGS = {
    "gpt2": lambda: GPT2Config(
        vocab_size=WORDS,
        n_positions=1024,
        n_embd=32,
        n_layer=2,
        n_head=2,
        initializer_range=0.3,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        resid_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
    ),
    "gpt-neox": lambda: GPTNeoXConfig(
        vocab_size=WORDS,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=1024,
        initializer_range=0.3,
    ),
    "llama": lambda: LlamaConfig(vocab_size=WORDS, **LLAMA),
    "qwen2": lambda: Qwen2Config(vocab_size=WORDS, **LLAMA),
    "opt": lambda: OPTConfig(
        vocab_size=WORDS,
        hidden_size=32,
        word_embed_proj_dim=32,
        num_hidden_layers=2,
        ffn_dim=64,
        num_attention_heads=2,
        max_position_embeddings=1024,
        init_std=0.3,
        dropout=0.0,
    ),
}


def small_model(
    kind: str | PretrainedConfig = "gpt2",
    *,
    seed: int = 0,
    dtype=torch.float64,
    attention="eager",
):
    """A 2-layer model of width 32 with random weights, in evaluation mode."""
    config = CONFIGS[kind]() if isinstance(kind, str) else kind
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(
            config, attn_implementation=attention, dtype=dtype
        ).eval()


class CharTokenizer:
    """A token per character, and one for two newlines in a row.

    Like GPT-2's BPE it depends on where a text is cut.
    """

    words = {
        word: n for n, word in enumerate([*map(chr, range(32, 127)), "\n", "\n\n"])
    }

    def encode(
        self, text: str, add_special_tokens: bool = False, verbose: bool = False
    ) -> list[int]:
        return [self.words[word] for word in re.findall(r"\n\n|.", text, re.DOTALL)]

    def __len__(self) -> int:
        return len(self.words)


def write_bpe(folder: Path) -> Path:
    """GPT-2's file format with single bytes for words (257 of them)."""
    folder.mkdir(parents=True, exist_ok=True)
    words = [*sorted(ByteLevel.alphabet()), "<|endoftext|>"]
    (folder / "vocab.json").write_text(
        json.dumps({word: n for n, word in enumerate(words)})
    )
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return folder


def write_model(folder: Path, words: int = 257, **changes) -> Path:
    """A model folder without weights: a GPT-2 configuration and a tokenizer."""
    write_bpe(folder)
    GPT2Config(
        vocab_size=words,
        n_positions=256,
        n_embd=32,
        n_layer=2,
        n_head=2,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        resid_pdrop=0.0,
        bos_token_id=256,
        eos_token_id=256,
        **changes,
    ).save_pretrained(folder)
    return folder


def record(
    task: str = "t", text: str = "some text", answer: str = "yes", options=("yes", "no")
) -> dict:
    return {"task": task, "input": text, "output": answer, "options": list(options)}


def records(
    task: str, n: int, *, kind: str = "classification", start: int = 0
) -> list[dict]:
    """Different examples of one kind.

    The answer of a classification is "yes" where the text begins with a vowel.
    """
    out = []
    for i in range(start, start + n):
        letter = string.ascii_lowercase[i % 26]
        answer, options = ("yes" if letter in "aeiouy" else "no"), ["yes", "no"]
        if kind == "multi-choice":
            answer, options = f"right{i}", [f"wrong{i}", f"right{i}"]
        if kind == "free-form":
            options = []
        out.append(record(task, f"{letter}{i} {task}", answer, options))
    return out


def write_lines(path: Path, rows: list) -> Path:
    """JSON lines; a string is written as it is. Gzipped where the name ends in .gz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(
        (row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows
    ).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def write_benchmark(
    root: Path,
    train=("a", "b"),
    test=("c",),
    unseen=(),
    *,
    kinds=None,
    n_train=40,
    n_test=6,
    k=16,
    end=".jsonl",
    train_name="{}_16384_100_train",
    test_name="{}_16_100_test",
    setting="mini",
) -> Path:
    """A folder in MetaICL's format with one setting of its own in settings.json."""
    kinds = kinds or {}
    for task in train:
        write_lines(
            root / task / (train_name.format(task) + end),
            records(task, n_train, kind=kinds.get(task, "classification")),
        )
    for task in test:
        kind = kinds.get(task, "classification")
        write_lines(
            root / task / (test_name.format(task) + end),
            records(task, n_test, kind=kind),
        )
        for n, seed in enumerate(SEEDS, 1):
            write_lines(
                root / task / f"{task}_16_{seed}_train{end}",
                records(task, k, kind=kind, start=100 * n),
            )
    lists = {
        "train": list(train),
        "test": list(test),
        "unseen_domain_test": list(unseen),
    }
    (root / "settings.json").write_text(json.dumps({"settings": {setting: lists}}))
    return root


def distance(x: dict, y: dict) -> float:
    """Largest difference of two sets of tensors, relative to the largest entry."""
    gap = max((x[n] - y[n]).abs().max().item() for n in x)
    return gap / max(y[n].abs().max().item() for n in y)


def batch_for(model, seed: int = 0, prompts: int = 2):
    """A batch of random prompts of 12 tokens and fewer, two of them targets."""
    source = torch.Generator().manual_seed(seed)
    words = model.config.vocab_size
    rows = [
        torch.randint(0, words, (12 - n,), generator=source) for n in range(prompts)
    ]
    return collate([Prompt(tuple(row.tolist()), 2) for row in rows])


def episodes_for(model) -> list[Episode]:
    """Three tasks of two random support batches and one query batch each."""
    return [
        Episode(
            str(seed),
            (batch_for(model, seed), batch_for(model, seed + 10)),
            batch_for(model, seed + 20),
        )
        for seed in range(3)
    ]


def name(optimizer) -> str:
    """For the ids of parametrized tests."""
    return type(optimizer).__name__


SUBSETS = {"all": None, "head": {"transformer.wte.weight"}, "attention": "attn"}


def subset(params, which):
    """The names of `SUBSETS` among ``params``; None for all."""
    chosen = SUBSETS[which]
    return {n for n in params if chosen in n} if isinstance(chosen, str) else chosen


def warm_state(optimizer, loss, params, names, batch):
    """The optimizer's state after one step on ``batch``."""
    params = {n: params[n] for n in names or params}
    grads = loss_and_grad(loss, params, batch)[1]
    return optimizer.update(grads, optimizer.init(params), params)[1]


def rounding(compute, model) -> float:
    """How far a plain float32 computation is from float64.

    The `distance` of ``compute(model in float32)`` from ``compute(model in float64)``.
    """
    coarse, fine = (
        compute(copy.deepcopy(model).to(dtype))
        for dtype in (torch.float32, torch.float64)
    )
    return distance({n: t.double() for n, t in coarse.items()}, fine)


def forked(work) -> int:
    """Run ``work()`` in a process of its own that shares what is imported here.

    Returns its process id. It exits with 0, or with 1 after an exception, which is
    written to standard error.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other threads: none holds a lock here
        pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        warnings.simplefilter("ignore")
        without_bars()
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def without_bars() -> None:
    """For a forked process that may be killed: no progress bars.

    Their lock is shared with the process that forked it. Killed while it held the lock,
    it would never give it back.
    """
    logging.disable_progress_bar()


def status_of(pid: int) -> int:
    """How a process of `forked` ended: its exit status, or minus its signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def by_the_book(tokenizer, demonstrations, query, options, *, mode, separator, M, L):
    """(context, target) for every option: pieces of 2.1, cuts of 2.2 and 2.3."""

    def tok(text):
        return tokenizer.encode(text, add_special_tokens=False)

    def two(x, y, first):
        """Tokens of the x piece and the y piece, uncut, and whether x comes first."""
        delta, sep = (" ", " ") if separator == "space" else ("\n\n\n", "\n")
        delta_x = "\n\n" if separator == "newline" and x == "" else delta
        sep_x = "" if separator == "newline" and x == "" else sep
        if mode == "direct":
            return tok(x if first else delta_x + x), tok(sep + y)
        return tok(sep_x + x), tok(y if first else delta + y)

    shown = []
    for n, example in enumerate(demonstrations):
        x, y = two(example.input, example.output, n == 0)
        if len(x) >= M - 2 - len(y):
            x = x[: M - 2 - len(y)]
        shown += x + y if mode == "direct" else y + x
    pairs = [two(query.input, option, not demonstrations) for option in options]
    m = max(len(y) for _, y in pairs)
    result = []
    for x, y in pairs:
        if len(x) >= M - 2 - m:
            x = x[: M - 2 - m]
        context, target = (shown + x, y) if mode == "direct" else (shown + y, x)
        excess = len(context) + len(target) - L
        result.append((context[excess:] if excess > 0 else context, target))
    return result


def run_record(
    method: str,
    score: float | dict[str, float],
    *,
    seed: int = 1,
    setting: str = "hr_to_lr",
    mode: str = "direct",
    steps: int | None = None,
    evaluate: dict | None = None,
    **run,
) -> dict:
    """A row of `reproduce` that was not computed.

    ``score``: of all targets, or by target. ``steps`` are the outer steps of a row that
    trains. ``run`` are further parts of the run: train, budget, seeds, max_records.
    """
    targets = [f"{family}-{d}" for family in ("nli", "size", "topic") for d in "ab"]
    tasks = score if isinstance(score, dict) else dict.fromkeys(targets, score)
    config = {"model": "mini-base", "benchmark": "minicrossfit", "setting": setting}
    config |= {"mode": mode, "seed": seed}
    about = {"name": method, "config": config, "seeds": list(SEEDS)} | run
    if evaluate:
        about["evaluate"] = evaluate
    row = dict(method=method, setting=setting, mode=mode, seed=seed, run=about)
    row |= dict(tasks=tasks, unseen=[n for n in tasks if n.endswith("b")], failed={})
    row["mean"] = sum(tasks.values()) / len(tasks)
    if steps is not None:
        row |= dict(budget={"outer_steps": steps, "gradients": 16 * steps}, moved=1.0)
    return row


def script(folder: str, name: str):
    """A script of book/ or benchmarks/, which are no packages, as a module."""
    path = Path(__file__).parents[1] / folder / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{folder}_{name}", path)
    assert spec and spec.loader
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


# --- notebooks ---


def python(*command, timeout: int = 1200) -> subprocess.CompletedProcess:
    """Run Python with ``command`` in the repository's root.

    Under a timeout in seconds, which is no bound on the work: papermill waits for ever
    for a killed kernel. One thread: on a busy machine a second one costs more in
    waiting than it brings.
    """
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=Path(__file__).parents[1],
        timeout=timeout,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def code_cells(chapter: Path) -> list[dict]:
    """A notebook's cells of code, as they are stored."""
    cells = json.loads(chapter.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def source(cell: dict) -> str:
    """A cell's text."""
    return "".join(cell["source"])


def assigned(code: str) -> list[str]:
    """The names that statements of ``code`` give a value, in their order."""
    return [
        target.id
        for node in ast.parse(code).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]


def content(folder: Path) -> dict:
    """Every file of a folder; of the record, what does not differ from run to run."""
    found = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    record = json.loads(found["record.json"])
    own = dict.fromkeys(("seconds", "date", "command"))
    return found | {"record.json": record | own}
