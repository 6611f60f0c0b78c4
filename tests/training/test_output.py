"""What a run leaves on the disk: whole, its own, and enough to go on from."""

import errno
import fcntl
import json
import os
import shutil
import signal
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from helpers import write_benchmark, write_model
from transformers import PreTrainedModel

from maml_en_llm import checkpoint, load_benchmark, load_model, meta_train, train
from maml_en_llm.checkpoint import check_room
from maml_en_llm.models import load_tokenizer
from maml_en_llm.training import Interrupted, run
from maml_en_llm.training.record import origin_of


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def weights(folder) -> bytes:
    return (folder / "model.safetensors").read_bytes()


NUMBERS = ("losses", "norms", "inner_losses", "budget", "hash", "weights", "data")


def same_run(one, other) -> bool:
    return all(one[name] == other[name] for name in NUMBERS)


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    """An undisturbed run: its folder and its record."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return folder, train(config, output=folder)


class Stop(Exception):
    pass


def stop_after(step, error=Stop):
    def progress(done, row):
        if done + 1 == step:
            raise error

    return progress


def test_saved_folder_holds_the_trained_model(config, whole):
    folder, record = whole
    assert json.loads((folder / "record.json").read_text()) == json.loads(
        json.dumps(record)
    )
    assert names(folder.parent) == ["run"]
    saved, words = load_model(folder)
    model, _ = load_model(config.model, seed=config.seed)
    tasks = load_benchmark(config.benchmark, config.setting).train
    again = meta_train(model, words, tasks, config)
    for (name, p), q in zip(saved.named_parameters(), model.parameters(), strict=True):
        assert torch.equal(p, q), name
    assert words.encode("a text") == load_model(config.model)[1].encode("a text")
    assert same_run(again, record)


def test_a_run_that_is_complete_is_not_made_again(config, whole, monkeypatch):
    folder, record = whole
    before = weights(folder)
    told = []
    again = train(config, output=folder, progress=lambda *row: told.append(row))
    assert same_run(again, record) and not told and weights(folder) == before


def test_another_configuration_is_refused(config, whole):
    other = replace(config, lr=0.5, steps=9)
    message = "is there already, of another configuration .*steps: 4 there, 9 here"
    with pytest.raises(FileExistsError, match=message):
        train(other, output=whole[0])
    with pytest.raises(ValueError, match="lr: 0.01 there, 0.5 here"):
        train(other, output=whole[0])


@pytest.mark.parametrize("content", ["nothing", "file", "record", "a file instead"])
def test_what_is_not_a_run_is_refused_before_any_work(config, tmp_path, content):
    folder = tmp_path / "run"
    if content == "a file instead":
        folder.write_text("mine")
    else:
        folder.mkdir()
    if content in ("file", "record"):
        (folder / f"{content}.json").write_text("[1, 2]")
    before = [path.name for path in tmp_path.rglob("*")]
    with pytest.raises(
        FileExistsError, match=f"output: {folder} is there already; name a new folder"
    ):
        train(replace(config, benchmark="nowhere"), output=folder)
    assert [path.name for path in tmp_path.rglob("*")] == before


@pytest.mark.parametrize(
    "output", ["/proc/out/run", "file/run", "", "n/..", "\0", 3, "/"]
)
def test_an_output_that_cannot_be_written_is_found_first(config, tmp_path, output):
    (tmp_path / "file").write_text("mine")
    where = tmp_path / output if str(output).startswith("file") else output
    told = []
    with pytest.raises(ValueError, match="^output: "):
        train(config, output=where, progress=lambda *row: told.append(row))
    assert not told and names(tmp_path) == ["file"]


def test_a_disk_with_too_little_room_is_found_first(config, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(ValueError, match="output: expected .* GiB of room"):
        train(config, output=tmp_path / "run")
    assert not names(tmp_path)


def test_a_run_that_goes_on_needs_no_room_for_what_it_keeps(tmp_path, monkeypatch):
    """A disk of three checkpoints: two are there, and a third is to be written."""
    tensors = {"x": torch.zeros(2**20)}
    size = tensors["x"].nbytes
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=size))
    with pytest.raises(ValueError, match="expected .* GiB of room"):
        check_room(tmp_path, tensors)
    for step in (1, 2):
        (tmp_path / f"step-{step:09}.safetensors").write_bytes(bytes(size))
    check_room(tmp_path, tensors)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=size - 1))
    with pytest.raises(ValueError, match="expected .* GiB of room"):
        check_room(tmp_path, tensors)


# --- put down, and gone on with ---


@pytest.mark.parametrize("every", [1, 2, None])
@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_a_run_that_was_stopped_goes_on_to_the_bit(
    config, whole, tmp_path, every, step
):
    output = tmp_path / "deep" / "run"
    with pytest.raises(Stop):
        train(config, output=output, checkpoint_every=every, progress=stop_after(step))
    assert names(tmp_path / "deep") == ["run.checkpoint"]
    steps = []
    record = train(config, output=output, progress=lambda done, row: steps.append(done))
    assert steps == list(range(step, 4))
    assert weights(output) == weights(whole[0]) and same_run(record, whole[1])
    assert names(tmp_path / "deep") == ["run"]


@pytest.mark.parametrize(
    "changes",
    [
        dict(method="metaicl"),
        dict(method="reptile", moments="shared-frozen"),
        dict(optimizer="sgd"),
        dict(optimizer="momentum", gradient="unrolled"),
        dict(inner_optimizer="lion", moments="fresh"),
        dict(optimizer="adam-8bit", method="fomaml"),
        dict(dtype="float64", inner_steps=2),
        dict(dtype="bfloat16", method="metaicl"),
    ],
    ids=str,
)
def test_every_kind_of_state_is_kept_to_the_bit(config, tmp_path, changes):
    if changes.get("optimizer") == "adam-8bit":
        pytest.importorskip("bitsandbytes")
    changed = replace(config, steps=3, **changes)
    whole = train(changed, output=tmp_path / "whole")
    for step in (1, 2):  # put down twice
        with pytest.raises(Stop):
            train(changed, output=tmp_path / "run", progress=stop_after(step))
    record = train(changed, output=tmp_path / "run")
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")
    assert same_run(record, whole)


def test_the_newest_checkpoint_is_damaged(config, whole, tmp_path):
    with pytest.raises(Stop):
        train(
            config,
            output=tmp_path / "run",
            checkpoint_every=1,
            progress=stop_after(4),
        )
    newest = max((tmp_path / "run.checkpoint").glob("*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:-1] + b"!")
    steps = []
    with pytest.warns(UserWarning, match="step-000000004.json is damaged"):
        train(
            config, output=tmp_path / "run", progress=lambda *row: steps.append(row[0])
        )
    assert steps == [2, 3] or steps == [3]
    assert weights(tmp_path / "run") == weights(whole[0])


WRONG_FACTS = {  # what is put in a checkpoint's facts, or its tensors
    "no origin": lambda facts, _: facts.pop("origin"),
    "origin": lambda facts, _: facts.update(origin=[1]),
    "seconds": lambda facts, _: facts.update(seconds="x"),
    "made": lambda facts, _: facts.update(made=5),
    "no state": lambda facts, _: facts.pop("state"),
    "rows": lambda facts, _: facts["state"].update(rows=[]),
    "rows of nothing": lambda facts, _: facts["state"].update(rows=[{}] * 2),
    "slots": lambda facts, _: facts["state"].update(slots="x"),
    "budget": lambda facts, _: facts["state"]["budget"].update(zzz=1),
    "optimizer_step": lambda facts, _: facts["state"].update(optimizer_step="x"),
    "skipped": lambda facts, _: facts["state"].update(skipped=5),
    "moments": lambda _, tensors: [
        tensors.pop(name) for name in list(tensors) if name.startswith("moments")
    ],
    "weird": lambda _, tensors: tensors.update(weird=torch.ones(1)),
}


@pytest.mark.filterwarnings("ignore:checkpoint. .* is damaged")
@pytest.mark.parametrize("change", WRONG_FACTS.values(), ids=WRONG_FACTS)
def test_a_checkpoint_of_what_no_run_keeps_is_damaged(config, tmp_path, change):
    where = tmp_path / "run.checkpoint"
    with pytest.raises(Stop):
        train(config, output=tmp_path / "run", progress=stop_after(2))
    found = checkpoint.load_checkpoint(where)
    assert found is not None
    step, tensors, facts = found
    change(facts, tensors)
    checkpoint.save_checkpoint(where, step, tensors, facts)
    with pytest.raises(ValueError, match="damaged.*remove (it|the folder)"):
        train(config, output=tmp_path / "run")


def stopped_with_two(config, output):
    """The folder of the checkpoints of steps 1 and 2."""
    with pytest.raises(Stop):
        train(config, output=output, checkpoint_every=1, progress=stop_after(2))
    return output.with_name(f"{output.name}.checkpoint")


def test_the_one_before_wrong_facts_is_used(config, whole, tmp_path):
    where = stopped_with_two(config, tmp_path / "run")
    facts = where / "step-000000002.json"
    content = json.loads(facts.read_text())
    content["facts"]["state"]["rows"] = []
    content.pop("sha256")
    content["sha256"] = checkpoint._hash_of(content)
    facts.write_text(json.dumps(content))
    with pytest.warns(UserWarning, match="2.json is damaged .*the rows of step 2"):
        record = train(config, output=tmp_path / "run")
    assert record["losses"] == whole[1]["losses"]


@pytest.mark.parametrize("other", [3, 99])
def test_a_checkpoint_under_another_name_is_not_used(config, whole, tmp_path, other):
    where = stopped_with_two(config, tmp_path / "run")
    for end in ("json", "safetensors"):
        old = where / f"step-000000001.{end}"
        shutil.copy(old, where / f"step-{other:09}.{end}")
    with pytest.warns(UserWarning, match="is damaged .*it is of step 1, under another"):
        record = train(config, output=tmp_path / "run")
    assert record["losses"] == whole[1]["losses"]


def test_a_checkpoint_beyond_the_last_step_is_damaged(config, tmp_path):
    with pytest.raises(Stop):
        train(config, output=tmp_path / "run", progress=stop_after(2))
    found = checkpoint.load_checkpoint(tmp_path / "run.checkpoint")
    assert found is not None
    checkpoint.save_checkpoint(tmp_path / "run.checkpoint", 7, *found[1:])
    with pytest.warns(UserWarning, match="07.json is damaged .*the step of step 7"):
        record = train(config, output=tmp_path / "run")
    assert len(record["losses"]) == config.steps


def test_checkpoints_of_another_run_are_refused(config, tmp_path):
    output = tmp_path / "run"
    write_benchmark(tmp_path / "tasks")
    write_model(tmp_path / "model")
    own = replace(
        config, benchmark=str(tmp_path / "tasks"), model=str(tmp_path / "model")
    )
    with pytest.raises(Stop):
        train(own, output=output, progress=stop_after(2))
    with pytest.raises(ValueError, match="holds a run of another .*clip: 1.0 there, 2"):
        train(replace(own, clip=2), output=output)
    write_benchmark(tmp_path / "tasks", n_train=41)
    with pytest.raises(ValueError, match="holds a run that began with other examples"):
        train(own, output=output)
    write_benchmark(tmp_path / "tasks")
    write_model(tmp_path / "model", layer_norm_epsilon=1e-3, initializer_range=0.5)
    with pytest.raises(ValueError, match="holds a run that began with other weights"):
        train(own, output=output)
    write_model(tmp_path / "model", layer_norm_epsilon=1e-3)
    with pytest.raises(ValueError, match="began with other settings of the model"):
        train(own, output=output)
    write_model(tmp_path / "model")
    with pytest.raises(ValueError, match="holds a run that began with other tokens"):
        train(with_other_words(tmp_path / "model", own), output=output)
    write_model(tmp_path / "model")
    record = train(own, output=output)
    with pytest.warns(UserWarning, match="complete, and began with other tokens"):
        again = train(with_other_words(tmp_path / "model", own), output=output)
    assert again["weights"] == record["weights"]


def with_other_words(model, config):
    """Two of its words change places."""
    words = json.loads((model / "vocab.json").read_text())
    words["a"], words["e"] = words["e"], words["a"]
    (model / "vocab.json").write_text(json.dumps(words))
    return config


def write_python_words(folder, merges=("g o", "t e"), **given):
    """The tokenizer of CTRL, written in Python, of letters and some pairs of them.

    It has every pair for a word, merged or not.
    """
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    words = [each + end for each in (*letters, "go", "te") for end in ("@@", "")]
    numbers = {word: n for n, word in enumerate([*words, "<unk>"])}
    (folder / "vocab.json").write_text(json.dumps(numbers))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    about = {"tokenizer_class": "CTRLTokenizer", "unk_token": "<unk>"} | given
    (folder / "tokenizer_config.json").write_text(json.dumps(about))


def test_other_merges_of_a_tokenizer_in_python_are_noticed(config, tmp_path):
    """Its words and their numbers are the same; no backend says what is merged."""
    write_model(tmp_path / "model", words=99)
    write_python_words(tmp_path / "model")
    own = replace(config, model=str(tmp_path / "model"), separator="space", steps=3)
    for output in (tmp_path / "run", tmp_path / "whole"):
        with pytest.raises(Stop):
            train(own, output=output, progress=stop_after(2))
    train(own, output=tmp_path / "whole")  # nothing has changed
    write_python_words(tmp_path / "model", merges=("o o",))
    with pytest.raises(ValueError, match="began with other tokens as saved"):
        train(own, output=tmp_path / "run")
    with pytest.warns(UserWarning, match="complete, and began with other tokens as"):
        train(own, output=tmp_path / "whole")


def write_tweet_words(folder, merges=("g o",), **given):
    """BERTweet's files: a list of words with counts, and codes."""
    words = [letter + end for letter in "abcdefghijklmnopqrst" for end in ("", "@@")]
    (folder / "vocab.txt").write_text("".join(f"{word} 1\n" for word in words))
    (folder / "bpe.codes").write_text("".join(f"{merge} 1\n" for merge in merges))
    about = {"tokenizer_class": "BertweetTokenizer"} | given
    (folder / "tokenizer_config.json").write_text(json.dumps(about))


@pytest.mark.filterwarnings("ignore")  # of packages that BERTweet's can do without
@pytest.mark.parametrize("write", [write_python_words, write_tweet_words])
def test_a_tokenizer_in_python_is_known_by_all_that_it_is_made_from(tmp_path, write):
    model, words = load_model(write_model(tmp_path / "model"))

    def origin(folder, **given):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder, **given)
        return origin_of(model, load_tokenizer(tmp_path / folder), [], "")

    first = origin("first")
    (name,) = first.keys() - origin_of(model, words, [], "").keys()
    assert name.startswith("tokens as saved (transformers ")
    assert origin("same") == first
    other = origin("other", merges=("o o", "g o"))
    assert [each for each in first if other[each] != first[each]] == [name]
    if write is write_tweet_words:
        assert origin("switch", normalization=True)[name] != first[name]


def test_a_checkpoint_that_says_nothing_of_tokens_is_gone_on_with(
    config, whole, tmp_path, monkeypatch
):
    def older(*arguments):
        origin = origin_of(*arguments)
        return {name: origin[name] for name in ("weights", "examples")}

    monkeypatch.setattr(run, "origin_of", older)
    with pytest.raises(Stop):
        train(config, output=tmp_path / "run", progress=stop_after(2))
    monkeypatch.undo()
    train(config, output=tmp_path / "run")
    assert weights(tmp_path / "run") == weights(whole[0])


def test_two_writers_do_not_meet(config, tmp_path):
    (tmp_path / "run.checkpoint").mkdir()
    handle = os.open(tmp_path / "run.checkpoint", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(ValueError, match="another process is training into"):
        train(config, output=tmp_path / "run")
    os.close(handle)


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_at_a_checkpoint_loses_nothing(
    config, whole, tmp_path, monkeypatch
):
    count, save = [], checkpoint.save_file

    def second_fails(*arguments):
        count.append(1)
        return full() if len(count) > 1 else save(*arguments)

    monkeypatch.setattr(checkpoint, "save_file", second_fails)
    with pytest.raises(OSError, match="No space left on device") as caught:
        train(config, output=tmp_path / "run", checkpoint_every=1)
    assert "no checkpoint of step" in caught.value.__notes__[0]
    monkeypatch.undo()
    train(config, output=tmp_path / "run")
    assert weights(tmp_path / "run") == weights(whole[0])


def test_a_full_disk_at_the_end_loses_nothing(config, whole, tmp_path, monkeypatch):
    def half(self, folder):
        (folder / "model.safetensors").write_bytes(b"half")
        full()

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", half)
    with pytest.raises(OSError, match="No space left"):
        train(config, output=tmp_path / "run")
    assert names(tmp_path) == ["run.checkpoint"]
    monkeypatch.undo()
    steps = []
    train(config, output=tmp_path / "run", progress=lambda *row: steps.append(row))
    assert not steps and weights(tmp_path / "run") == weights(whole[0])
    assert names(tmp_path) == ["run"]


@pytest.mark.parametrize("kind", ["folder", "file", "another run"])
def test_what_comes_to_the_output_is_kept_and_so_is_the_model(
    config, whole, tmp_path, kind
):
    output, finished = tmp_path / "run", tmp_path / "run.checkpoint" / "output"

    def comes(done, row):
        if done or output.exists():
            return
        if kind == "file":
            output.write_text("mine")
        else:
            output.mkdir()
            other = {**whole[1], "config": {**whole[1]["config"], "seed": 9}}
            text = json.dumps(other) if kind == "another run" else "mine"
            (output / "record.json").write_text(text)

    for _ in "at the end", "asked again":
        with pytest.raises(FileExistsError, match="is there already.*same comm") as no:
            train(config, output=output, progress=comes)
        assert str(finished) in str(no.value) and len(str(no.value)) < 700
    assert weights(finished) == weights(whole[0])
    os.rename(output, tmp_path / "moved")
    steps = []
    train(config, output=output, progress=lambda *row: steps.append(row))
    assert not steps and weights(output) == weights(whole[0])
    assert names(tmp_path) == ["moved", "run"]


# --- told to stop ---


@pytest.mark.parametrize(
    "number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["C", "TERM"]
)
def test_a_signal_saves_and_says_how_to_go_on(config, whole, tmp_path, number, code):
    def tell(step, row):
        if step == 1:
            os.kill(os.getpid(), number)

    usual = signal.getsignal(number)
    with pytest.raises(Interrupted, match="after 2 of 4 outer .* from step 2") as stop:
        train(config, output=tmp_path / "run", progress=tell)
    assert (stop.value.step, stop.value.code) == (2, code)
    assert signal.getsignal(number) is usual
    assert names(tmp_path) == ["run.checkpoint"]
    train(config, output=tmp_path / "run")
    assert weights(tmp_path / "run") == weights(whole[0])


def test_a_signal_while_a_file_is_written_comes_after_it(config, tmp_path, monkeypatch):
    save = checkpoint.save_file

    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return save(*arguments)

    monkeypatch.setattr(checkpoint, "save_file", interrupted)
    with pytest.raises(Interrupted, match="goes on from step"):
        train(config, output=tmp_path / "run", checkpoint_every=1)
    assert checkpoint.load_checkpoint(tmp_path / "run.checkpoint")


def test_a_signal_before_the_first_step_leaves_nothing(config, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "maml_en_llm.training.start.load_training",
        lambda *_, **__: os.kill(os.getpid(), signal.SIGINT),
    )
    with pytest.raises(Interrupted, match="after 0 .* begins again"):
        train(config, output=tmp_path / "run")
    assert not names(tmp_path)


def test_without_an_output_it_says_that_nothing_is_kept(config):
    with pytest.raises(Interrupted, match="after 1 of 4 .* no output was named"):
        train(config, progress=stop_after(1, KeyboardInterrupt))


def test_a_run_in_another_thread_leaves_signals_alone(config):
    found = []
    thread = threading.Thread(target=lambda: found.append(train(config)))
    thread.start()
    thread.join()
    assert len(found[0]["losses"]) == 4


def test_meta_train_that_is_stopped_leaves_trained_weights(config, tasks):
    from helpers import CharTokenizer, small_model

    model = small_model()
    with pytest.raises(KeyboardInterrupt):
        meta_train(
            model,
            CharTokenizer(),
            tasks,
            config,
            progress=stop_after(3, KeyboardInterrupt),
        )
    two = small_model()
    with pytest.raises(Stop):
        meta_train(two, CharTokenizer(), tasks, config, progress=stop_after(3))
    moved = zip(model.parameters(), small_model().parameters(), strict=True)
    assert any(not torch.equal(p, q) for p, q in moved)
    same = zip(model.parameters(), two.parameters(), strict=True)
    assert all(torch.equal(p, q) for p, q in same)
