"""Benchmarks from a hub: a server on this machine, and all that can go wrong."""

import gzip
import hashlib
import json
import math
import socket
import struct
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, unquote, urlsplit

import huggingface_hub
import pytest
from helpers import record, records, write_benchmark, write_lines, write_model

from maml_en_llm import DataError, TrainConfig, load_benchmark, train
from maml_en_llm.tasks import hub

HUB = "hf://datasets/allenai/metaicl-data/data"
NAME = "allenai/metaicl-data"
OLD, NEW = "0" * 40, "c" * 40  # commits


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Hub(ThreadingHTTPServer):
    """One dataset repository: ``commits`` maps a commit to its files.

    "main" is the newest.

    ``fault(method, path)`` may return a status to answer with, or what to do to a file:
    "cut" (the connection is closed in the middle), "reset" (it breaks there), "short"
    (half of it, as if that were all), "altered" (another first byte).
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.commits, self.lfs, self.log, self.fault = (
            {NEW: {}},
            True,
            [],
            lambda method, path: None,
        )

    def asked(self, method: str, part: str) -> list[str]:
        return [
            path.partition(part)[2]
            for how, path in self.log
            if how == method and part in path
        ]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.path = unquote(urlsplit(self.path).path)
        self.server.log.append((self.command, self.path))
        fault = self.server.fault(self.command, self.path)
        api, files = f"/api/datasets/{NAME}/", f"/datasets/{NAME}/resolve/"
        if isinstance(fault, int):
            self.answer(
                b"", fault, {"X-Error-Code": "EntryNotFound"} if fault == 404 else {}
            )
        elif self.path.startswith(api + "revision/"):
            revision = self.path.removeprefix(api + "revision/")
            self.answer(
                json.dumps(
                    {
                        "id": NAME,
                        "sha": revision if revision in self.server.commits else NEW,
                    }
                ).encode()
            )
        elif self.path == f"/api/datasets/{NAME}":
            self.answer(json.dumps({"id": NAME, "sha": NEW}).encode())
        elif self.path.startswith(api + "paths-info/"):
            self.answer(
                self.listing(
                    self.server.commits[self.path.removeprefix(api + "paths-info/")]
                )
            )
        elif self.path.startswith(files):
            commit, _, name = self.path.removeprefix(files).partition("/")
            content = self.server.commits[commit][name]
            self.answer(
                content,
                200,
                {"ETag": f'"{self.checksum(content)}"', "X-Repo-Commit": commit},
                fault,
            )
        else:  # the hub does not say whether a repository is private or not there
            self.answer(b"", 401, {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_POST = do_GET

    def checksum(self, content: bytes) -> str:
        return sha256(content) if self.server.lfs else git_sha1(content)

    def listing(self, files: dict[str, bytes]) -> bytes:
        paths = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())[
            "paths"
        ]
        assert len(paths) <= hub.NAMES_PER_QUESTION
        rows = []
        for path in filter(files.get, paths):
            size, lfs = (
                len(files[path]),
                {
                    "oid": sha256(files[path]),
                    "size": len(files[path]),
                    "pointerSize": 130,
                },
            )
            row = {
                "type": "file",
                "path": path,
                "size": size,
                "oid": git_sha1(files[path]),
            }
            rows.append(row | {"lfs": lfs} if self.server.lfs else row)
        return json.dumps(
            rows + [{"type": "directory", "path": "data", "oid": OLD}]
        ).encode()

    def answer(
        self,
        content: bytes,
        status: int = 200,
        headers: dict | None = None,
        fault: str | None = None,
    ):
        if fault == "short":
            content = content[: len(content) // 2]
        if fault == "altered":
            content = bytes([content[0] ^ 1]) + content[1:]
        self.send_response(status)
        for name, value in {"Content-Length": len(content), **(headers or {})}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(
                content[: len(content) // 2] if fault in ("cut", "reset") else content
            )
        if (
            fault == "reset"
        ):  # with this option a close breaks the connection instead of ending it
            self.connection.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            self.connection.close()

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A hub with five tasks, beside each file some that nobody needs.

    The cache is the test's own, waits are none.
    """
    for task in ["glue-sst2", "glue-wnli", "glue-rte", "my-glue-sst2", "piqa"]:
        write_benchmark(tmp_path / "hub" / "data", train=[task], test=[task])
        for other in ["16_13_dev.jsonl", "16_13_test.jsonl", "16_100_test.tsv"]:
            write_lines(
                tmp_path / "hub" / "data" / task / f"{task}_{other}", records(task, 2)
            )
    with Hub() as server:
        server.commits[NEW] = contents(tmp_path / "hub")
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
        server.waits = []
        monkeypatch.setattr("time.sleep", server.waits.append)  # the client's waits too
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield server
        server.shutdown()


def contents(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file()
    }


def kept(tmp_path) -> list[str]:
    """What the cache holds that a later call might take for a file, or part of one."""
    cache = tmp_path / "cache"
    return [
        p.name
        for p in cache.rglob("*")
        if p.is_symlink() or p.is_file() and p.suffix not in (".TAG", ".lock")
    ]


def one_file(**arguments):
    """A benchmark of a single file."""
    return load_benchmark(HUB, "hr_to_lr", tasks=["glue-sst2"], **arguments)


FILE = "data/glue-sst2/glue-sst2_16384_100_train.jsonl"


# --- what is fetched ---


@pytest.mark.parametrize("lfs", [True, False], ids=["lfs", "git"])
def test_the_needed_files_travel_once_and_are_noted(server, lfs):
    server.lfs = lfs
    benchmark = load_benchmark(
        HUB, "hr_to_lr", tasks=["glue-sst2", "glue-wnli", "glue-rte"], seeds=[13, 21]
    )
    target = ["{0}/{0}_16_100_test", "{0}/{0}_16_13_train", "{0}/{0}_16_21_train"]
    needed = ["glue-sst2/glue-sst2_16384_100_train"] + [
        n.format(t) for t in ("glue-wnli", "glue-rte") for n in target
    ]
    assert sorted(server.asked("GET", f"resolve/{NEW}/data/")) == sorted(
        f"{name}.jsonl" for name in needed
    )
    assert [task.name for task in benchmark.train + benchmark.test] == [
        "glue-sst2",
        "glue-wnli",
        "glue-rte",
    ]
    assert (len(benchmark.train[0].train), benchmark.test[0].kind) == (
        40,
        "classification",
    )
    assert benchmark.revision == NEW
    assert benchmark.checksums == {
        f"{n}.jsonl": sha256(server.commits[NEW][f"data/{n}.jsonl"]) for n in needed
    }

    server.log.clear()
    assert (
        load_benchmark(
            HUB,
            "hr_to_lr",
            tasks=["glue-sst2", "glue-wnli", "glue-rte"],
            seeds=[13, 21],
        )
        == benchmark
    )
    assert Counter(method for method, _ in server.log) == {
        "GET": 1,
        "POST": 1,
    }  # the commit, the names; no file


def test_the_address_of_a_server_may_end_in_a_slash(server, monkeypatch):
    address = f"http://127.0.0.1:{server.server_port}/"
    monkeypatch.setenv("HF_ENDPOINT", address)
    assert len(one_file().train[0].train) == 40
    assert not [path for _, path in server.log if path.startswith("//")]


@pytest.mark.parametrize("end", [".jsonl", ".jsonl.gz"])
def test_the_best_name_of_those_that_are_there(server, end):
    text = json.dumps(record()).encode()
    server.commits[NEW] |= {"data/glue-sst2/glue-sst2_train.jsonl": text}
    assert (len(one_file().train[0].train), *one_file().checksums) == (
        40,
        FILE.removeprefix("data/"),
    )
    text = gzip.compress(text) if end == ".jsonl.gz" else text
    server.commits[OLD] = {
        f"data/glue-sst2/glue-sst2{name}{end}": text for name in ("_mt_train", "_train")
    }
    benchmark = load_benchmark(
        f"hf://datasets/{NAME}@{OLD}/data", "hr_to_lr", tasks=["glue-sst2"]
    )
    assert (len(benchmark.train[0].train), *benchmark.checksums) == (
        1,
        f"glue-sst2/glue-sst2_mt_train{end}",
    )


def test_a_task_that_the_hub_lacks_is_missing(server):
    message = (
        "1 tasks of setting 'qa_to_qa' lack their files: unifiedqa:squad2; pass .* "
        "one of unifiedqa:squad2/unifiedqa:squad2_16384_100_train.jsonl, "
    )
    with pytest.raises(DataError, match=message):
        load_benchmark(HUB, "qa_to_qa", tasks=["unifiedqa:squad2"])
    server.commits[NEW]["data/unifiedqa:squad2/unifiedqa:squad2_train.jsonl"] = (
        json.dumps(record()).encode()
    )
    (task,) = load_benchmark(HUB, "qa_to_qa", tasks=["unifiedqa:squad2"]).train
    assert len(task.train) == 1


def test_seeds_that_the_hub_has_are_named(server):
    message = r"all targets have, seeds=\(100, 21\), or put there .*_16_14_train.jsonl"
    with pytest.raises(DataError, match=message):
        load_benchmark(HUB, "hr_to_lr", tasks=["glue-wnli"], seeds=[100, 14, 21])
    with pytest.raises(DataError, match="to go on without, or put there"):
        load_benchmark(HUB, "hr_to_lr", tasks=["glue-wnli"], seeds=[14])


def test_all_files_are_of_one_commit(server):
    server.commits[OLD] = {FILE: json.dumps(record()).encode()}
    benchmark = load_benchmark(
        f"hf://datasets/{NAME}@{OLD}/data", "hr_to_lr", tasks=["glue-sst2"]
    )
    assert (benchmark.revision, len(benchmark.train[0].train)) == (OLD, 1)
    assert (one_file().revision, len(one_file().train[0].train)) == (NEW, 40)


def test_the_record_notes_commit_and_checksums(server, tmp_path):
    config = TrainConfig(
        benchmark=HUB,
        setting="hr_to_lr",
        model=str(write_model(tmp_path / "model")),
        allow_missing=True,
        steps=1,
        tasks_per_step=1,
        prompts=1,
        demonstrations=2,
        max_length=128,
    )
    with pytest.warns(
        UserWarning, match="tasks of setting 'hr_to_lr' lack their files"
    ):  # 730 names are asked for
        found = json.loads(json.dumps(train(config)))
    assert found["revision"] == NEW
    assert found["checksums"][FILE.removeprefix("data/")] == sha256(
        server.commits[NEW][FILE]
    )
    assert "glue-sst2" not in found["missing_tasks"]


def test_one_progress_bar_for_many_files(server, capsys, monkeypatch):
    monkeypatch.setenv(
        "TQDM_POSITION", "-1"
    )  # the client would show its bars though nobody looks
    one_file()
    assert capsys.readouterr().err == ""
    for shown in (True, False):  # nothing is new the second time
        load_benchmark(HUB, "hr_to_lr", tasks=["glue-wnli"])
        out, err = capsys.readouterr()
        assert ("allenai/metaicl-data: 6 new files" in err, ".jsonl" in err, out) == (
            shown,
            False,
            "",
        )
        assert shown or err == ""


# --- what can go wrong ---

HEAD, GET, INFO, LIST = (
    ("HEAD", FILE),
    ("GET", FILE),
    ("GET", "/api/"),
    ("POST", "/api/"),
)
PASSING = {  # where and what → what the error says where it does not pass
    "repository 500": (
        INFO,
        500,
        "a dataset repository .*Error .*500 Internal Server Error",
    ),
    "list 503": (LIST, 503, "a list of files .*Error .*503 Service Unavailable"),
    "list 429": (LIST, 429, "a list of files .*Error .*429 Too Many Requests"),
    "head 500": (HEAD, 500, f"'{FILE}' .*Error .*500 Internal Server Error"),
    "file 500": (GET, 500, f"'{FILE}' .*Error .*500 Internal Server Error"),
    "cut off": (
        GET,
        "cut",
        f"'{FILE}' .*Error .*closed connection without sending complete message body",
    ),
    "connection broken": (GET, "reset", f"'{FILE}' .*Error .*reset by peer"),
    "half of it": (
        GET,
        "short",
        f"'{FILE}' .*Error .*file should be of size {{size}} but has size {{half}}",
    ),
    "altered": (
        GET,
        "altered",
        f"'{FILE}' .*OSError .*expected checksum {{sum}}, found [0-9a-f]+",
    ),
}
faults = pytest.mark.parametrize(
    ("where", "fault", "message"), PASSING.values(), ids=PASSING
)


def failing(where, fault, times=math.inf):
    """A fault that occurs so many times."""
    left = [times]

    def occur(method, path):
        if method == where[0] and where[1] in path and left[0] > 0:
            left[0] -= 1
            return fault
        return None

    return occur


@faults
def test_a_failure_that_passes(server, tmp_path, where, fault, message):
    server.fault = failing(where, fault, times=1)
    benchmark = one_file()
    hit = next(
        asked for asked in server.log if asked[0] == where[0] and where[1] in asked[1]
    )
    assert server.log.count(hit) == 2
    assert len(benchmark.train[0].train) == 40
    assert sorted(kept(tmp_path)) == sorted(
        [Path(FILE).name, sha256(server.commits[NEW][FILE])]
    )


@faults
def test_a_failure_that_lasts_is_said_and_nothing_is_kept(
    server, tmp_path, where, fault, message
):
    server.fault = failing(where, fault)
    size, checksum = len(server.commits[NEW][FILE]), sha256(server.commits[NEW][FILE])
    message = message.format(size=size, half=size // 2, sum=checksum)
    with pytest.raises(
        DataError,
        match=f"source: expected {message}.*; check address .* a local folder",
    ) as caught:
        one_file()
    assert f"from '{HUB}'" in str(caught.value)
    assert kept(tmp_path) == []
    server.fault = failing(where, fault, times=0)
    assert len(one_file().train[0].train) == 40


def test_waits_grow(server, monkeypatch):
    monkeypatch.setattr(hub, "TRIES", 4)
    server.fault = failing(LIST, 500)
    with pytest.raises(DataError, match="in try 4 of 4"):
        one_file()
    assert server.waits == [hub.WAIT, 2 * hub.WAIT, 4 * hub.WAIT]


LASTING = {
    "unknown repository": (
        HUB.replace("metaicl-data", "metaicl"),
        None,
        "a dataset repository .*RepositoryNotFound.*'401 ",
    ),
    "no name of a repository": (
        "hf://datasets/a/b--c/data",
        None,
        "a dataset repository .*HFValidationError",
    ),
    "not for us": (HUB, (LIST, 403), "a list of files .*'403 Forbidden'"),
    "not the hub": (HUB, (INFO, 204), "a dataset repository .*JSONDecodeError"),
    "gone since it was listed": (
        HUB,
        (HEAD, 404),
        f"'{FILE}' .*NotFoundError .*'404 Not Found'",
    ),
}


@pytest.mark.parametrize(("address", "fault", "message"), LASTING.values(), ids=LASTING)
def test_what_cannot_pass_is_said_at_once(server, address, fault, message):
    if fault:
        server.fault = failing(*fault)
    with pytest.raises(DataError, match=f"source: expected {message}.* in try 1 of 3"):
        load_benchmark(address, "hr_to_lr", tasks=["glue-sst2"])
    assert server.waits == []


def test_out_of_reach(server, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as free:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
    with pytest.raises(
        DataError,
        match="a dataset repository from .*ConnectError .*refused.* in try 3 of 3",
    ):
        one_file()


def test_offline_mode(server, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        DataError, match="OfflineModeIsEnabled .*HF_HUB_OFFLINE.* in try 1 of 3"
    ):
        one_file()


@pytest.mark.parametrize("lfs", [True, False], ids=["lfs", "git"])
def test_a_file_spoilt_in_the_cache_is_fetched_anew(server, tmp_path, lfs):
    server.lfs = lfs
    benchmark = one_file()
    (path,) = (tmp_path / "cache").rglob(Path(FILE).name)
    path.write_bytes(path.read_bytes()[:-100])
    assert one_file() == benchmark
    assert path.read_bytes() == server.commits[NEW][FILE]


@pytest.mark.parametrize(
    "address",
    [
        "hf://models/a/b",
        "hf://datasets/only",
        "hf://datasets/a/@main/data",
        "hf://datasets/a/b/../c",
    ],
)
def test_address_of_another_form(address):
    with pytest.raises(
        ValueError,
        match=f"source: expected hf://datasets/<owner>/<name>/<.*>, found '{address}'",
    ):
        load_benchmark(address, "hr_to_lr", tasks=["glue-sst2"])
