"""The generated benchmark in the cache: checked, made again, shared, or absent."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from maml_en_llm import DataError
from maml_en_llm.minicrossfit import Difficulty, benchmark, cache, cached

SMALL = [plan for plan in benchmark.plans() if plan.domain == "sea"]


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty cache, and a benchmark of few tasks."""
    monkeypatch.setattr(benchmark, "plans", lambda: SMALL)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cache._temporary.cache_clear()
    return tmp_path / "cache" / "maml_en_llm"


def texts(folder: Path) -> dict[str, bytes]:
    paths = sorted(folder.rglob("*"))
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths if p.is_file()}


def test_it_is_made_once(root):
    folder = cached()
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert cached() == folder and list(root.iterdir()) == [folder]
    assert times == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def some_files(folder: Path) -> None:
    for path in sorted(folder.rglob("*.jsonl"))[:5]:
        path.unlink()


def the_digests(folder: Path) -> None:
    (folder / "digests").unlink()


def the_settings(folder: Path) -> None:
    (folder / "settings.json").unlink()


def everything(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize("clean", [some_files, the_digests, the_settings, everything])
def test_what_was_cleaned_away_is_made_again(root, clean):
    before = texts(cached())
    clean(cached())
    with pytest.warns(UserWarning, match="not all there; they are made again"):
        again = cached()
    assert texts(again) == before and list(root.iterdir()) == [again]


DIGESTS = {
    "a list": "[]",
    "a number": "5",
    "null": "null",
    "a text": '"a"',
    "nothing": "",
    "no entry": "{}",
    "half an object": '{"a":',
    "deep": "[" * 10**5,
    "deep in an object": '{"a":' * 10**5,
}


@pytest.mark.parametrize("text", DIGESTS.values(), ids=DIGESTS)
def test_damaged_digests_are_made_again(root, text):
    before = texts(cached())
    (cached() / "digests").write_text(text)
    with pytest.warns(UserWarning, match="not all there; they are made again"):
        again = cached()
    assert texts(again) == before and list(root.iterdir()) == [again]


def a_folder(path: Path) -> None:
    path.mkdir()


def a_dangling_link(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize("name", ["digests", "settings.json"])
@pytest.mark.parametrize("make", [a_folder, os.mkfifo, a_dangling_link])
def test_what_is_no_file_is_made_again(root, make, name):
    folder = cached()
    before = texts(folder)
    (folder / name).unlink()
    make(folder / name)
    with pytest.warns(UserWarning, match="not all there; they are made again"):
        again = cached()
    assert texts(again) == before and list(root.iterdir()) == [again]


@pytest.mark.parametrize("size", [0, 300])
def test_what_was_changed_is_named(root, size):
    path = sorted(cached().rglob("*_test.jsonl"))[0]
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DataError, match=f"{path.name}; delete this folder") as caught:
        cached()
    assert str(root) in str(caught.value)


def test_without_a_place_to_write_it_is_made_for_this_process(root, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nobody/.cache")
    with pytest.warns(UserWarning, match="set XDG_CACHE_HOME to keep it"):
        folder = cached()
    assert cached() == folder and (folder / "settings.json").is_file()
    shutil.rmtree(folder)


@pytest.mark.parametrize("named", [None, "~", "~nobody-here/cache", "relative"])
def test_a_path_that_is_not_whole_is_no_cache(root, tmp_path, monkeypatch, named):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os.path, "expanduser", str)  # no home stands for a ~
    monkeypatch.delenv("XDG_CACHE_HOME")
    if named is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", named)
    with pytest.warns(UserWarning, match="no absolute path in XDG_CACHE_HOME or HOME"):
        folder = cached()
    shutil.rmtree(folder)
    assert not list(tmp_path.iterdir())


def test_a_home_of_the_cache_is_the_users(root, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "~/c")
    assert cached().parent == tmp_path / "c" / "maml_en_llm"


def test_a_full_disk_leaves_nothing(root, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "fill", full)
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="No space left"):
        cached()
    assert list(root.iterdir()) == []


def test_two_processes_at_once(tmp_path):
    code = "from maml_en_llm.minicrossfit import cached; print(cached('minicrossfit'))"
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-W", "error", "-c", code]
    both = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    one, two = (process.communicate()[0] for process in both)
    assert one == two and [process.returncode for process in both] == [0, 0]
    assert list((tmp_path / "maml_en_llm").iterdir()) == [Path(one.strip())]


def test_two_writers_of_one_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "plans", lambda: SMALL)
    fill = benchmark.fill

    def meanwhile(folder, difficulty):
        monkeypatch.setattr(benchmark, "fill", fill)
        benchmark.write_benchmark(tmp_path / "t", difficulty)
        fill(folder, difficulty)

    monkeypatch.setattr(benchmark, "fill", meanwhile)
    with pytest.raises(FileExistsError, match="is there already; name a new folder"):
        benchmark.write_benchmark(tmp_path / "t")
    assert list(tmp_path.iterdir()) == [tmp_path / "t"]


OUT = {"name of 300 letters": "x" * 300, "no folder of ours": "/proc/x"}


@pytest.mark.parametrize("out", OUT.values(), ids=OUT)
def test_a_place_that_cannot_be_written(tmp_path, out):
    with pytest.raises(ValueError, match="out: expected a new folder that can be"):
        benchmark.write_benchmark(tmp_path / out)


BAD = {
    "labels 1": dict(labels=1),
    "labels 7": dict(labels=7),
    "labels a string": dict(labels="3"),
    "labels a float": dict(labels=3.0),
    "labels true": dict(labels=True),
    "cues 0": dict(cues=0),
    "facts 1": dict(facts=1),
    "facts 8": dict(facts=8),
    "noise above 1": dict(noise=1.5),
    "noise negative": dict(noise=-0.1),
    "noise NaN": dict(noise=float("nan")),
    "noise a string": dict(noise="0.1"),
    "foreign infinite": dict(foreign=float("inf")),
    "swapped none": dict(swapped=None),
    "distractors a list": dict(distractors=[0.1]),
}


@pytest.mark.parametrize("fields", BAD.values(), ids=BAD)
def test_bad_difficulties_are_named(fields):
    (name,) = fields
    with pytest.raises(ValueError, match=f"{name}: expected .*, found "):
        Difficulty(**fields)


def test_a_difficulty_of_another_type():
    with pytest.raises(ValueError, match="difficulty: expected a name or a Diffic"):
        benchmark.write_benchmark("nowhere", 3)


@pytest.mark.parametrize("source", ["minicrossfit:", "minicrossfit:hart"])
def test_a_difficulty_that_is_none(root, source):
    with pytest.raises(ValueError, match="difficulty: expected .*normal.*, found '"):
        cached(source)
    assert not root.exists()
