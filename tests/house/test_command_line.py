"""The command line: quick to answer, one line for a mistake, whole files or none."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import pytest
from helpers import write_benchmark, write_model

from maml_en_llm import TrainConfig
from maml_en_llm.__main__ import COMMANDS
from maml_en_llm.assessment import EVALUATED
from maml_en_llm.endings import run_command
from maml_en_llm.training.config import CHOICES

SMALL = ["--layers", "1", "--width", "16", "--heads", "2", "--tokens", "256"]
TRAIN = [
    *("--model", "tiny-base", "--benchmark", "minicrossfit:easy", "--steps", "2"),
    *("--tasks-per-step", "1", "--demonstrations", "2", "--max-length", "256"),
]


def command(*words, **more) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "maml_en_llm", *map(str, words)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | more,
    )


def test_every_option_of_training_says_what_it_is(capsys):
    for name, only in (("train", None), ("evaluate", EVALUATED)):
        with pytest.raises(SystemExit):
            COMMANDS[name](["--help"])
        told = capsys.readouterr().out
        entries = re.split(r"\n  (?=-)", told[told.index("options:") :])
        for field in fields(TrainConfig):
            if only is None or field.name in only:
                flag = re.compile(rf"--{field.name.replace('_', '-')}[ ,\n]")
                (entry,) = filter(flag.match, entries)
                about = re.sub(r"--\S+|\[?[A-Z_]{2,}( \.\.\.\])?", "", entry)
                assert re.search("[a-z]{2}", about.split("(")[0]), field.name
        told = " ".join(told.split())
        for field in CHOICES.keys() & set(only or CHOICES):
            assert f"one of {', '.join(CHOICES[field])}" in told.replace("- ", "-")


@pytest.mark.parametrize(
    "words, code",
    [
        (["--help"], 0),
        ([], 0),
        (["reproduec"], 2),
        (["tasks", "--difficulty", "x", "--out", "x"], 2),
    ],
    ids=["help", "nothing", "misspelt command", "misspelt value"],
)
def test_answers_before_torch_is_loaded(words, code):
    """In processor time, which a busy machine does not lengthen."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = command(*words)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == code
    assert after.ru_utime - before.ru_utime < 1


def test_the_help_says_what_is_required(capsys):
    with pytest.raises(SystemExit) as ended:
        COMMANDS["train"](["--steps", "1", "--help"])
    assert ended.value.code == 0
    assert re.search(r"[^\[]--output OUTPUT[^\]]", capsys.readouterr().out)


def test_the_help_is_there_without_docstrings():
    done = subprocess.run(
        [sys.executable, "-OO", "-m", "maml_en_llm"], capture_output=True, text=True
    )
    assert done.returncode == 0 and "meta-train a model" in done.stdout


def test_without_docstrings_a_command_says_so():
    words = [sys.executable, "-OO", "-m", "maml_en_llm", "plan", "--model", "tiny-base"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("expected docstrings") and "-OO" in done.stderr


def test_options_are_there_without_a_source(monkeypatch, capsys):
    def none(_):
        raise OSError("could not get source code")

    monkeypatch.setattr("inspect.getsource", none)
    with pytest.raises(SystemExit):
        COMMANDS["train"](["--help"])
    assert "--inner-lr" in capsys.readouterr().out


def test_a_working_folder_that_was_removed_is_named(tmp_path):
    root = Path(__file__).parents[2]
    script = 'cd "$0" && rmdir "$0" && exec "$@"'
    words = [sys.executable, "-m", "maml_en_llm", "plan", "--model", "tiny-base"]
    done = subprocess.run(
        ["sh", "-c", script, tmp_path, *words],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(root)},
    )
    assert done.returncode == 2
    assert done.stderr == (
        "expected a working folder, found one that was removed; cd to another\n"
    )


# the words after `python -m maml_en_llm`, and what has to be said; {0} is a folder
MISTAKES = [
    ("plan --model {0}/fiel", "--model: expected .*; nearest: file in /"),
    ("train --output {0}/a --model fiel --benchmark minicrossfit", "; nearest: file$"),
    (
        "evaluate --model tiny-base --benchmark {0}/fiel",
        "--benchmark: .*; nearest: file in /",
    ),
    ("evaluate --model tiny-base --benchmark minicrosfit", "; nearest: minicrossfit$"),
    ("evaluate --model tiny-base --benchmark {0}/other", "found '.*/other'$"),
    ("trian", "expected a command, found 'trian'; nearest: train"),
    ("tasks --out {0}/" + "x" * 300, "out: expected a "),
    ("tasks --out /proc/x", "out: expected a "),
    ("tasks --out {0}", "is there already; name a new folder"),
    ("pretrain --out {0}/a --heads 3", "width: expected a multiple of 6"),
    ("pretrain --out {0}/a --warmup 0", "warmup: expected a whole number"),
    ("pretrain --out {0}/a --tokens 8", "lengths: expected a whole number"),
    ("pretrain --out {0}/a --lr nan", "lr: expected a finite number"),
    ("pretrain --out {0}/a --lr 1e300", "lr: expected .* at most 1e.34, found 1e.300"),
    ("pretrain --out {0}/a --init 1.5", "init: expected .* at most 1, found 1.5"),
    ("pretrain --out {0}/a --rope-theta 1e-300", "rope-theta: expected .* at least 1"),
    (
        "evaluate --model tiny-base --output {0}/new/",
        "--output: expected a file, found a folder, '.*/new'",
    ),
    (
        "evaluate --model tiny-base --benchmark minicrossfit --demonstration-seeds -1",
        "--demonstration-seeds: expected a whole number",
    ),
    (
        "evaluate --model tiny-base --benchmark minicrossfit --adaptation-steps -1",
        "--adaptation-steps: expected a whole number",
    ),
    ("pretrain --out {0}/file", "output: expected a folder, found a file"),
    ("pretrain --out {0}", "output: expected a new folder or a run to go on with"),
    ("train --output {0}/a --steps 0", "steps: expected a whole number"),
    ("train --output {0}/a --method mamll", "method: expected one of"),
    ("train --output {0}/a --model none/such --benchmark minicrossfit", "none/such"),
    ("train --output /proc/a --model tiny-base --benchmark minicrossfit", "output"),
    ("evaluate --output {0}/file --model tiny-base", "is there already"),
    ("evaluate --mode chanel", "mode: expected one of direct, channel"),
    ("evaluate --model tiny-base --benchmark {0}/none", "none"),
    ("reproduce baseline", "experiment: expected one of"),
    (
        "reproduce --log {0} --out {0}/o --settings hr_to_lr",
        "--log: expected a file, found a folder",
    ),
    ("reproduce --settings hr_to_rl --out {0}/o", "settings: expected one of"),
    (
        "reproduce tuning --out {0}/file",
        "--out: expected a file of records as this command writes them, or none yet",
    ),
    (
        "reproduce tuning --out {0}/new.json --log {0}/new.json",
        "--out: expected another file than --log",
    ),
    ("reproduce tuning --out /proc/x.json", "--out: expected a path that can be writ"),
    ("reproduce tuning --compare 1 --out {0}/file", "--compare: expected --out, a fil"),
    ("plan --model tiny-base --length 2000", "length: expected at most 512, the mod"),
    ("plan --model tiny-base --at-once 0", "--at-once: expected a whole number"),
    ("plan --model tiny-base --lora 10000000000", "lora: expected .* at most 128"),
    ("plan --model tiny-base --lora -1", "lora: expected a whole number"),
    ("plan --model tiny-base --prompts 100000000000", "prompts: expected .* 100000"),
    ("reproduce cells --compare nan", "--compare: expected a finite number"),
    ("reproduce cells --compare 0.5", "--compare: expected --out, a file of records"),
    ("reproduce --experiment=", "experiment: expected one of .*, found ''"),
    ("reproduce E1 --log=", "--log: expected a path"),
    ("reproduce tuning --out=", "--out: expected a path"),
    ("reproduce E1 --steps 0", "steps: expected a whole number of at least 1"),
    ("reproduce E4 --times 3", "times: expected one of 1.0, 0.5, 2.0, 4.0, found 3"),
    ("reproduce tuning --names in-context", "names: expected one of multi-task"),
    (
        "reproduce --check 1 --seeds 1 --minutes 1 --out z --compare 2",
        "--check: expected no other option than .*--out.*--seeds",
    ),
    ("plan --model {0}/none --memory nan", "--memory: expected a finite number"),
    ("plan --model {0}/none --dtype float16", "--dtype: expected float32 .* fomaml"),
    ("evaluate --model {0}/none --pmi --mode channel", "--pmi: expected --mode direct"),
    (
        "evaluate --model {0}/none --demonstrations 0 --random-labels",
        "--random-labels: expected --demonstrations of at least 1",
    ),
    (
        "evaluate --model {0}/none --demonstrations 17",
        "--demonstrations: .* at most 16",
    ),
    ("train --output {0}/a --dtype float16", "--dtype: .* --gradient first_order$"),
    ("train --output {0}/a --tasks-per-step 0", "train: --tasks-per-step: expected a"),
    (
        "train --output {0}/a --inner-optimizer sgd",
        "--moments: expected 'fresh' where --inner-optimizer, 'sgd', has",
    ),
    ("train --output=", "output: expected a path"),
    (
        "train --output {0}/a --checkpoint-every 0",
        "--checkpoint-every: expected a whole",
    ),
    ("pretrain --output=", "output: expected a path"),
    ("train --outpu x", "train: unknown option '--outpu'; nearest: --output"),
    ("train –output x", "train: unknown option '–output'; nearest: --output"),
    ("train -output x", "train: unknown option '-output'; nearest: --output"),
    ("train --steps 1", "train: expected --output, found none; .* --help lists all"),
    ("pretrain", "pretrain: expected --output/--out, found none"),
    ("train --output {0}/a --lr -1e-3", "lr: expected .*, found -0.001"),
    ("train --output {0}/a --lr -.5E+2", "lr: expected .*, found -50.0"),
    ("train --output {0}/a --lr -inf", "lr: expected a finite .*, found -inf"),
    ("train --output {0}/a --lr -x", "train: .*--lr: expected one argument"),
    ("train --output=~/a", "output: expected a path without '~', .*; write '/.*/a'"),
    ("tasks --out=~/a", "--out: expected a path without '~', found '~/a'; write '/"),
    ("evaluate --output=~/a", "--output: expected a path without '~', found '~/a'"),
    ("evaluate --output=~nobody-here/a", "--output: .*; write './~nobody-here/a'"),
    ("reproduce E1 --log=~/a", "--log: expected a path without '~', found '~/a'"),
]


@pytest.mark.parametrize("words, message", MISTAKES, ids=[m[0][:60] for m in MISTAKES])
def test_a_mistake_is_said_in_one_line(words, message, tmp_path, monkeypatch, capsys):
    from maml_en_llm import __main__ as command_line

    (tmp_path / "file").write_text("mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("maml_en_llm.runs.workers.compute", None)  # not even begun
    arguments = [word.format(tmp_path) for word in words.split()]
    monkeypatch.setattr(sys, "argv", ["maml_en_llm", *arguments])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    (last,) = capsys.readouterr().err.strip().splitlines()  # and no bar before it
    assert ended.value.code in (1, 2)
    assert re.search(message, last), last
    assert len(last) < 700
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    "error, said",
    [
        (MemoryError(), "train: not enough memory for what was asked; ask for less at"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "train: Default"),
    ],
)
def test_memory_that_there_is_not_is_said_in_one_line(error, said, capsys):
    def command():
        raise error

    with pytest.raises(SystemExit) as ended:
        run_command("train", command, "stopped")
    assert ended.value.code == 1 and capsys.readouterr().err.startswith(said)
    with pytest.raises(RuntimeError, match="a fault"):
        run_command("train", lambda: fault(), "stopped")


def fault():
    raise RuntimeError("a fault")


def test_a_plan_has_prompts_as_long_as_the_model_takes(monkeypatch, capsys):
    from maml_en_llm import __main__ as command_line

    words = ["plan", "--model", "tiny-base", "--no-measure", "--k", "1"]
    monkeypatch.setattr(sys, "argv", ["maml_en_llm", *words])
    command_line.main()
    assert "4 prompts of 512 tokens per batch" in capsys.readouterr().out


def test_a_plan_takes_the_options_of_training(capsys):
    told = []
    for words in (
        "--tasks-per-step 3 --inner-steps 2 --max-length 64 --prompts-at-once 2",
        "--tasks_per_step 3 --inner_steps 2 --max_length 64 --prompts_at_once 2",
        "--n 3 --k 2 --length 64 --at-once 2",
    ):
        COMMANDS["plan"](["--model", "tiny-base", "--no-measure", *words.split()])
        told.append(capsys.readouterr().out)
    assert told[0] == told[1] == told[2]
    assert "first order (--method fomaml)" in told[0]
    assert "micro-batching (--prompts-at-once 1)" in told[0]
    assert "3 tasks, 2 inner steps, 4 prompts of 64 tokens" in told[0]


def test_a_prompt_is_evaluated_as_it_was_trained():
    """Every field of the format that `train` takes is one that `evaluate` takes."""
    from maml_en_llm.prompts import Format

    assert {field.name for field in fields(Format)} <= set(EVALUATED)


def test_comparing_with_no_record_computed_is_no_agreement(tmp_path, monkeypatch):
    from maml_en_llm.reproduction import reproduce_command
    from maml_en_llm.runs.workers import Outcome

    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").write_text('{"rows": []}')
    monkeypatch.setattr(
        "maml_en_llm.runs.workers.compute", lambda *_, **__: Outcome([], left=1)
    )
    with pytest.raises(ValueError, match="--compare: expected records, found none"):
        reproduce_command(["cells", "--compare", "0.5", "--out", "out"])


def test_a_record_of_a_search_is_replaced_by_the_next(tmp_path, monkeypatch):
    from maml_en_llm import reproduction
    from maml_en_llm.runs.workers import Outcome

    monkeypatch.chdir(tmp_path)
    found = {"rates": {"MetaICL": {"lr": 0.1, "nll": 0.5}}}
    monkeypatch.setattr("maml_en_llm.runs.rates.best_rates", lambda _: found)
    outcome, asked = Outcome([]), []

    def compute(runs, *_):
        asked.append(runs)
        return outcome

    monkeypatch.setattr("maml_en_llm.runs.workers.compute", compute)
    words = ["tuning", "--out", "out"]
    reproduction.reproduce_command([*words, "--trials", "2"])
    assert json.loads((tmp_path / "out").read_text()) == found
    rows = [{"hash": run.hash} for run in asked.pop()]
    kept = json.dumps({"rows": rows, "rates": {}})
    (tmp_path / "out").write_text(kept)
    for other in (
        *("--trials=1", "--names=MetaICL", "--steps=40", "--preset=smoke"),
        *("--model=tiny-base", "--benchmark=minicrossfit:easy"),
    ):
        few = [] if other.startswith("--trials") else ["--trials", "2"]
        with pytest.raises(ValueError, match="--out: expected runs that include all"):
            reproduction.reproduce_command([*words, other, *few])
    assert not asked
    outcome.left = 1
    reproduction.reproduce_command([*words, "--trials", "3"])
    assert (tmp_path / "out").read_text() == kept
    outcome.left = 0
    reproduction.reproduce_command([*words, "--trials", "3"])
    assert json.loads((tmp_path / "out").read_text()) == found


def test_a_table_is_replaced_only_by_one_that_holds_it(tmp_path, monkeypatch):
    from maml_en_llm.reproduction import reproduce_command

    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").write_text('{"rows": [{"hash": "h", "tasks": {"a": 1}}]}')
    with pytest.raises(ValueError, match="none for 1 of its 1 records"):
        reproduce_command(["baselines", "--out", "out"])


def test_train_then_evaluate(tmp_path):
    done = command("train", "--output", tmp_path / "model", *TRAIN)
    assert done.returncode == 0, done.stderr[-2000:]
    last = done.stdout.splitlines()[-1]
    assert last.startswith(f"{tmp_path / 'model'}: model, tokenizer and record.json")
    assert "loss=" in done.stderr  # the bar
    scored = command(
        *("evaluate", "--model", tmp_path / "model", "--output", tmp_path / "r.json"),
        *("--benchmark", "minicrossfit:easy", "--demonstrations", "2"),
        *("--demonstration-seeds", "13", "--max-records", "2"),
        *("--max-length", "256", "--setting", "non_paraphrase_to_paraphrase"),
    )
    assert scored.returncode == 0, scored.stderr[-2000:]
    record = json.loads((tmp_path / "r.json").read_text())
    assert record["config"]["model"] == str(tmp_path / "model")
    assert f"mean {record['mean']:.2f} points" in scored.stdout.splitlines()[-1]


def test_an_evaluation_takes_weights_of_half_the_bits(tmp_path):
    from maml_en_llm.assessment import evaluate_command

    words = [*("--model", "tiny-base", "--benchmark", "minicrossfit:easy")]
    words += [*("--demonstrations", "2", "--demonstration-seeds", "13")]
    words += [*("--max-records", "1", "--max-length", "256")]
    words += [*("--dtype", "bfloat16", "--output", str(tmp_path / "new" / "r.json"))]
    evaluate_command(words)
    record = json.loads((tmp_path / "new" / "r.json").read_text())
    assert record["config"]["dtype"] == "bfloat16" and 0 <= record["mean"] <= 100


EVALUATE = [
    *("--model", "tiny-base", "--benchmark", "minicrossfit:easy", "--max-records", "1"),
    *("--demonstrations", "2", "--demonstration-seeds", "13", "--max-length", "256"),
]


def test_an_evaluation_adapts_by_any_optimizer(tmp_path):
    from maml_en_llm.assessment import evaluate_command

    words = [*EVALUATE, "--adaptation-steps", "1", "--inner-optimizer", "sgd"]
    evaluate_command([*words, "--output", str(tmp_path / "r.json")])
    config = json.loads((tmp_path / "r.json").read_text())["config"]
    assert config["inner_optimizer"] == "sgd" and "inner_lr" in config
    assert not {"optimizer", "betas", "eps_root"} & set(config)


@pytest.mark.parametrize(
    "words, message",
    [
        ("--inner-lr 0.5", "--inner-lr: .* nothing without --adaptation-steps"),
        ("--optimizer sgd --betas 0 0", "--optimizer, --betas: .* leave them out"),
        (
            "--adaptation-steps 1 --optimizer sgd --betas 0 0",
            "--betas: .* 'sgd', which adapts, does not",
        ),
        (
            "--adaptation-steps 1 --optimizer sgd --inner-optimizer adam",
            "--optimizer: .* 'adam', which adapts, does not",
        ),
    ],
)
def test_an_evaluation_refuses_options_that_are_not_read(words, message):
    from maml_en_llm.assessment import evaluate_command

    with pytest.raises(ValueError, match=message):
        evaluate_command([*EVALUATE, *words.split()])


def test_the_record_of_an_evaluation_says_what_was_scored(tmp_path, capsys):
    from maml_en_llm.assessment import evaluate_command

    tasks, model = tmp_path / "tasks", write_model(tmp_path / "model")
    words = [*EVALUATE[4:], "--model", str(model), "--benchmark", str(tasks)]
    words += ["--setting", "mini", "--allow-missing", "--output"]
    found = []
    for count in (6, 7):
        write_benchmark(tasks, test=("c", "gone"), n_test=count)
        shutil.rmtree(tasks / "gone")
        with pytest.warns(UserWarning):  # random weights
            evaluate_command([*words, str(tmp_path / f"{count}.json")])
        found.append(json.loads((tmp_path / f"{count}.json").read_text()))
        assert capsys.readouterr().out.splitlines()[-1].endswith("; missing: gone")
    one, other = found
    assert one["missing_tasks"] == ["gone"] and one["targets"] != other["targets"]
    assert one["weights"] == other["weights"] and len(one["weights"]) == 64
    assert one["model"] == {"name": "model", "revision": None}
    assert (one["revision"], one["checksums"]) == ("", {})


def test_what_came_to_the_output_since_is_kept_and_so_is_the_record(
    tmp_path, monkeypatch
):
    from maml_en_llm import assessment

    def evaluate(*_, **__):
        (tmp_path / "r.json").write_text("another's")
        return {"tasks": {}, "failed": {}, "mean": 1.0}

    monkeypatch.setattr("maml_en_llm.evaluation.evaluate", evaluate)
    words = [*("--output", str(tmp_path / "r.json")), "--model", "tiny-base"]
    words += ["--benchmark", "minicrossfit:easy"]
    with pytest.raises(FileExistsError, match="--output: .* already.*/record-") as said:
        assessment.evaluate_command(words)
    assert (tmp_path / "r.json").read_text() == "another's"
    (own,) = tmp_path.glob("record-*.json")
    assert json.loads(own.read_text())["mean"] == 1.0 and str(own) in str(said.value)


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_pretraining_with_a_word(number, code, tmp_path):
    output = tmp_path / "p"
    steps = ["--steps", "100000"]
    started = subprocess.Popen(
        [sys.executable, "-m", "maml_en_llm", "pretrain", "--out", output]
        + [*SMALL, *steps],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    while not list(output.glob("checkpoints/step-*.json")):
        assert started.poll() is None
        time.sleep(0.1)
    started.send_signal(number)
    said = started.communicate()[1]
    assert started.returncode == code
    assert "Traceback" not in said
    assert said.strip().endswith("the same command goes on from there")
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def test_sigterm_leaves_no_debris_of_tasks(tmp_path):
    started = subprocess.Popen(
        [sys.executable, "-m", "maml_en_llm", "tasks", "--out", tmp_path / "t"],
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list(tmp_path.iterdir()) and started.poll() is None:
        time.sleep(0.005)
    started.send_signal(signal.SIGTERM)
    said = started.communicate()[1]
    left = [path.name for path in Path(tmp_path).iterdir()]
    assert (started.returncode, left) in [(143, []), (0, ["t"])]
    assert "Traceback" not in said


class Full:
    """A stderr on a disk that is full: nothing that is drawn can be written."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")

    def flush(self) -> None:
        raise OSError(28, "No space left on device")


def test_a_bar_that_cannot_be_drawn_costs_no_work(monkeypatch):
    from maml_en_llm.bar import Bar

    monkeypatch.setattr(sys, "stderr", Full())
    with Bar(2) as bar:
        bar.bar.mininterval = 0
        for step in range(2):
            bar.step(step, 1.0)
    with Bar(2) as bar:
        bar.bar.mininterval = 0
        bar.count("one")
        bar.count("two")
    with Bar(0) as bar:
        bar.work(dict(method="x"), 1.0, 2.0)
    assert bar.bar.disable


def test_records_of_the_package_are_checked_where_a_folder_has_none(
    tmp_path, monkeypatch
):
    """Another project's ``results``, or that of a run which was ended at once."""
    from maml_en_llm import reproduction

    (tmp_path / "results").mkdir()
    monkeypatch.chdir(tmp_path)
    asked = []

    def again(rows, count, device):
        asked.append(len(rows))
        raise ValueError("reached")

    monkeypatch.setattr("maml_en_llm.runs.again.compute_again", again)
    with pytest.raises(ValueError, match="reached"):
        reproduction.reproduce_command(["--check", "1"])
    assert asked[0] > 1000
