"""Ends of commands and of outputs that are not the happy one."""

import errno
import itertools
import os
import pickle
import signal
import stat
import subprocess
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pytest

from maml_en_llm import __main__ as command_line
from maml_en_llm import provenance
from maml_en_llm.endings import LONGEST_MESSAGE, as_options, in_one_line, shortened
from maml_en_llm.locks import locked
from maml_en_llm.minicrossfit import benchmark
from maml_en_llm.provenance import check_file, check_path, whole_folder, write_whole
from maml_en_llm.signals import Interrupted, Signalled, Signals

RECORDS = "reproduce --settings hr_to_lr --log {0}/log "
MISTAKES = [
    ("tasks --out=", 1, "--out: expected a path"),
    ("pretrain --out=", 1, "output: expected a path"),
    ("train --output=", 1, "output: expected a path"),
    ("train --output {0}/a --steps 1 --steps 2", 2, "--steps: expected once"),
    ("train --output {0}/a --faithful --no-faithful", 2, "expected once"),
    ("train --output {0}/a --stpes 1", 2, "'--stpes'; nearest: --steps"),
    ("train --output {0}/a --steps " + "9" * 5000, 2, "a whole number, found '9"),
    ("train --output {0}/a --steps " + "9" * 5000, 2, "… of 5,000 characters;"),
    ("train --output {0}/a --steps 1e3", 2, "--steps: expected a whole number, found"),
    ("train --output {0}/a --lr x", 2, "argument --lr: expected a number, found 'x'"),
    ("evaluate --demonstration-seeds 1 " + "9" * 5000, 2, "of 5,000 characters;"),
    ("train --output {0}/a --tasks-per-step 1" + "0" * 12, 1, "at most 100000"),
    ("evaluate --output=", 1, "--output: expected a path"),
    ("evaluate --max-records 0", 1, "--max-records: expected a whole number"),
    (RECORDS + "--out {0}/mine", 1, "--out: expected a file of records"),
    (RECORDS + "--out {0}/log", 1, "--out: expected another file than --log"),
    (RECORDS + "--out {0}", 1, "--out: expected a file, found a folder"),
    (RECORDS + "--out {0}/none --compare 1", 1, "--out: expected a file of records"),
    (RECORDS + "--out {0}/mine --compare nan", 1, "--compare: expected a finite"),
    ("reproduce --preset smoke nonsense", 2, "experiment: 'nonsense'"),
]


@pytest.mark.parametrize(
    "words, code, said", MISTAKES, ids=[row[0][:50] for row in MISTAKES]
)
def test_one_short_line_and_a_status(words, code, said, tmp_path, monkeypatch, capsys):
    (tmp_path / "mine").write_text("mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["x", *words.format(tmp_path).split()])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    line = capsys.readouterr().err.strip().splitlines()[-1]  # after the bar
    assert ended.value.code == code and said in line
    assert len(line) <= LONGEST_MESSAGE
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_reader_that_has_gone_and_a_full_disk():
    command = [sys.executable, "-m", "maml_en_llm", "--help"]
    read, write = os.pipe()
    os.close(read)
    gone = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (gone.returncode, gone.stderr) == (141, "")
    if not Path("/dev/full").exists():
        return
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1


def test_a_message_keeps_its_beginning_and_its_cure():
    text = shortened("steps: " + "x" * 10**6 + "; lower it")
    assert text.startswith("steps: ") and text.endswith("; lower it")
    assert len(text) <= LONGEST_MESSAGE
    error = OSError(28, "No space left on device", "file")
    error.add_note("no checkpoint")
    assert in_one_line(error) == "'file': No space left on device; no checkpoint"


FLAGS = {n: f"--{n.replace('_', '-')}" for n in ("lr", "max_length", "mode", "bos")}


@pytest.mark.parametrize(
    "text, told",
    [
        ("lr: expected 1; mode='direct'", "--lr: expected 1; --mode direct"),
        ("max_length=64 cuts them", "--max-length 64 cuts them"),
        ("set bos=True, or bos=False", "set --bos, or --no-bos"),
        ("lower max_length or lr", "lower --max-length or lr"),
        ("max_length=None is all", "no --max-length is all"),
        ("(lr=1e-3)", "(--lr 1e-3)"),
        *(
            (same, same)
            for same in (
                "found 'lr=3 max_length', the model's positions",
                "train(config, mode='direct')",
                "Adam(lr=1, betas=(0.9, 0.995), mode=1)",
                "/runs/lr=3/max_length/x: no file",
                "alr=3, lr.py, max_lengths, the mode: one",
                "--max-length: expected --mode direct",
            )
        ),
    ],
)
def test_a_message_has_options_as_they_are_given(text, told):
    assert as_options(text, FLAGS) == told
    assert as_options(text, {}) == text


@pytest.mark.parametrize("path", ["", " ", "\0", "\udcff", None, 3])
def test_what_is_no_path(path):
    with pytest.raises(ValueError, match="log: expected a path"):
        check_path(path, "log")


def test_files_only_where_files_can_be(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("", "pipe"):
        with pytest.raises(ValueError, match="expected a file, found"):
            check_file(tmp_path / name)


def test_a_check_leaves_no_folder_behind(tmp_path):
    code = (
        "from maml_en_llm.provenance import *\n"
        f"for name in 'empty', 'used': check_file('{tmp_path}/' + name + '/a/b.json')\n"
        f"write_whole('{tmp_path}/used/a/b.json', 'content')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert [path.name for path in tmp_path.iterdir()] == ["used"]
    write_whole(tmp_path / "empty" / "a" / "b.json", "the folder has gone meanwhile")


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "there").write_text("old")
    (tmp_path / "link").symlink_to("there")
    write_whole(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there").read_text() == "new"


@pytest.mark.parametrize("name", ["x" * 255, "\u6d4b" * 85, "\U0001f600" * 63])
def test_names_as_long_as_the_disk_takes_are_written(name, tmp_path):
    for _ in "new", "replaced":
        write_whole(tmp_path / name, "content")
        with whole_folder(tmp_path / name[1:]) as folder:
            (folder / "file").touch()
    assert {path.name for path in tmp_path.iterdir()} == {name, name[1:]}


def test_a_new_file_replaces_nothing(tmp_path):
    write_whole(tmp_path / "file", "mine", new=True)
    with pytest.raises(FileExistsError, match="file"):
        write_whole(tmp_path / "file", "other", new=True)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_a_new_file_is_whole_or_not_there(tmp_path):
    """Stopped where a file would take the place of another."""
    code = (
        "import os; from maml_en_llm.provenance import write_whole\n"
        "for name in 'replace', 'unlink': setattr(os, name, lambda *_: os._exit(9))\n"
        f"write_whole('{tmp_path}/file', 'content', new=True)"
    )
    subprocess.run([sys.executable, "-c", code])
    found = [path.read_text() for path in tmp_path.glob("file")]
    assert found in ([], ["content"])


def test_a_new_file_on_a_disk_without_links(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", none)
    test_a_new_file_replaces_nothing(tmp_path)


def interrupted_at(count, action):
    """Do it, with Ctrl-C at the ``count``-th line of what writes; whether it came."""
    files = {provenance.__file__, benchmark.__file__}
    left = [count]

    def trace(frame, event, _):
        if frame.f_code.co_filename not in files:
            return None
        left[0] -= event == "line"
        if event == "line" and not left[0]:
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def a_file(path, content):
    write_whole(path, content)


def a_folder(path, content):
    with whole_folder(path) as folder:
        (folder / "file").write_text(content)


def a_new_folder(path, content):
    with benchmark.new_folder(path) as folder:
        (folder / "file").write_text(content)


def contents(folder):
    """What the files below say, by the name at the top."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).parts[0]: path.read_text() for path in files}


# a file that a signal keeps from being closed is closed with a warning
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "write, there",
    [
        (a_file, False),
        (a_file, True),
        (a_folder, False),
        (a_folder, True),
        (a_new_folder, False),
    ],
)
def test_a_signal_at_any_line_leaves_the_old_or_the_new(write, there, tmp_path):
    none = {"it": "old"} if there else {}
    for count in itertools.count(1):
        folder = tmp_path / str(count)
        folder.mkdir()
        if there:
            write(folder / "it", "old")
        came = interrupted_at(count, partial(write, folder / "it", "new"))
        found = contents(folder)
        if not came:
            break
        # once the new one is in place, tidying up may be cut short
        assert found == none or found["it"] == "new"
    assert found == {"it": "new"}
    assert count > 8


def test_a_library_s_own_error_of_the_disk_names_the_folder(tmp_path):
    with (
        pytest.raises(OSError, match="File too large") as caught,
        whole_folder(tmp_path / "f"),
    ):
        raise RuntimeError("I/O error: File too large (os error 27)")
    assert caught.value.filename == str(tmp_path / "f")
    assert not list(tmp_path.iterdir())


def test_one_at_a_time_in_a_folder(tmp_path):
    with locked(tmp_path / "f", "busy"):
        with pytest.raises(ValueError, match="busy"), locked(tmp_path / "f", "busy"):
            pass
        assert (tmp_path / "f").is_dir()
    assert not list(tmp_path.iterdir())
    (tmp_path / "mine").mkdir()
    with locked(tmp_path / "mine", "busy"):
        pass
    assert (tmp_path / "mine").is_dir()


def test_a_signal_waits_for_the_outermost_hold():
    signals, done = Signals(), []
    with signals.caught(), pytest.raises(KeyboardInterrupt) as caught:
        with signals.held():
            with signals.held():
                os.kill(os.getpid(), signal.SIGTERM)
            done.append("step")
        done.append("more")
    assert done == ["step"] and caught.value.code == 143


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EIO])
def test_a_disk_that_cannot_flush_folders(number, tmp_path, monkeypatch):
    """Shared folders of virtual machines; a real fault of the disk is told."""
    flush = os.fsync

    def fsync(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(number, os.strerror(number))
        flush(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    told = pytest.raises(OSError) if number == errno.EIO else nullcontext()
    with told:
        write_whole(tmp_path / "file", "content")
    assert (tmp_path / "file").read_text() == "content"


@pytest.mark.parametrize(
    "error", [Interrupted("go on", 7, 143), Signalled(signal.SIGTERM)]
)
def test_what_ends_a_run_leaves_other_processes(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and vars(again) == vars(error)
    assert again.args == error.args
