"""Meta-training of a real model: can it be tested here, and which method is ahead?

    python benchmarks/smollm2.py FOLDER OUT.jsonl --more MORE --device cuda --workers 8

FOLDER holds task files in MetaICL's format (a setting ``hr_to_lr``). Jobs are taken
from one list by several processes, the most telling first, and every line of OUT is
written as it comes:

1. "sweep": the raw model on the targets, zero-shot and in context, direct and channel;
   MetaICL at four outer rates, all parameters or adapters (LoRA, rank 8), judged on
   tasks with options that are held out of meta-training, and on new examples of those
   that are not: no target is looked at;
2. "compare": each method's trials, judged on the same held tasks; its other seeds at
   the better rate; the targets, in context and after steps on their demonstrations;
   then in context with the published protocol's sizes, on these targets and on those
   of MORE, MetaICL's own files, whose prompts are not cut.

``--seconds`` bounds all of it. ``--steps 2 --compare-steps 2 --small`` tries everything
once. Weights of the comparison are kept beside OUT until its end.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import torch
from report import at_least_one, new_file
from smollm2_jobs import ADAPTED, compare_jobs, sweep_jobs
from smollm2_tasks import (
    DEMONSTRATIONS,
    EXAMPLE,
    HELD,
    LENGTH,
    SEEDS,
    SHOTS,
    as_held,
    asked,
    fits,
)

import maml_en_llm
from maml_en_llm import (
    Adaptation,
    Format,
    TrainConfig,
    evaluate,
    load_benchmark,
    load_model,
    meta_train,
    parameters,
)
from maml_en_llm.protocol import SEEDS as ALL_SEEDS
from maml_en_llm.runs.adapted import Chosen
from maml_en_llm.runs.presets import REAL_EPS_ROOT
from maml_en_llm.tasks import load_settings

ASKED = dict(  # how targets are asked, and by the published protocol's sizes
    k=DEMONSTRATIONS, max_length=512, max_example_length=EXAMPLE, seeds=SEEDS
)
PUBLISHED = dict(k=SHOTS, max_length=1024, max_example_length=256, seeds=ALL_SEEDS)
LOOKS = (0, 25, 50, 100, 150, 200)  # outer steps, and the last, to look at held tasks
TRIES, PATIENCE = 4, 10  # of a job that runs out of memory; s between two of them
ADAPTATION_RATES = (1e-5, 1e-4)  # of Adam, chosen per model on the held tasks


class OutOfTime(Exception):
    """The time for all jobs is over."""


class Worker:
    """One process: it takes jobs that no other has taken, until the time is over."""

    def __init__(self, options):
        self.options, self.out = options, Path(options.out)
        self.device, self.until = options.device, options.until
        self.small = options.small
        where = load_benchmark(options.tasks, "hr_to_lr")
        with_options = [t for t in where.train if t.kind != "free-form"]
        self.benchmark, self.further = where, None  # MORE is read by its first job
        self.held = [as_held(t) for t in with_options if t.name in HELD]
        rest = [t for t in with_options if t.name not in HELD]
        self.seen = [as_held(t, 8) for t in rest]
        last = SHOTS + 8
        self.train = [replace(t, train=t.train[:-last]) for t in rest]
        if self.small:
            self.held, self.seen = self.held[:2], self.seen[:1]

    def note(self, **row) -> None:
        """Append a line, in one write: others append to the same file."""
        with self.out.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def jobs(self) -> list[dict]:
        """All jobs that are known by now, in their order."""
        rows = [json.loads(line) for line in self.out.read_text().splitlines()]
        parts = dict(
            sweep=lambda: sweep_jobs(self.options.steps),
            compare=lambda: compare_jobs(self.options.compare_steps, rows),
        )
        found = [job for part in self.options.parts for job in parts[part]()]
        only = tuple(self.options.only)
        return [job for job in found if job["name"].startswith(only)]

    def take(self, job: dict) -> bool:
        """Whether the job is this process's from now on."""
        try:
            (self.beside("taken") / job["name"]).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def beside(self, what: str) -> Path:
        """A folder beside OUT."""
        folder = self.out.with_suffix(f".{what}")
        folder.mkdir(exist_ok=True)
        return folder

    def work(self) -> None:
        """Job after job; others' results may bring new ones."""
        while time.time() < self.until:
            # asked first: a job that ends after this may bring new ones
            quiet = len(self.names("over")) == len(self.names("taken"))
            job = next((job for job in self.jobs() if self.take(job)), None)
            if job is not None:
                self.do(job)
                (self.beside("over") / job["name"]).touch()
            elif quiet:
                return
            else:
                time.sleep(1)

    def names(self, what: str) -> list[str]:
        """The jobs that are taken, or over."""
        return os.listdir(self.beside(what))

    def do(self, job: dict) -> None:
        """One job; its failure is not the others'."""
        start = time.time()
        try:
            self.tried(job)
        except OutOfTime:
            self.note(job=job, stopped=round(time.time() - start, 1))
        except Exception as error:
            self.note(job=job, failed=f"{type(error).__name__}: {error}"[:600])
            traceback.print_exc()
        if self.device == "cuda":
            torch.cuda.empty_cache()  # others share its memory

    def tried(self, job: dict) -> None:
        """A job; where others hold the memory it needs, again when they are done."""
        for left in reversed(range(TRIES)):
            try:
                getattr(self, job["kind"])(job)
                return
            except torch.OutOfMemoryError:
                if not left:
                    raise
            torch.cuda.empty_cache()  # here, where no frame of the job is held
            time.sleep(PATIENCE)
            self.in_time()

    def raw(self, job: dict) -> None:
        """The model as it is, on the targets."""
        model, tokenizer = self.model(job)
        how = dict(k=job["demonstrations"], separator=job["separator"])
        self.targets(job, model, tokenizer, **how)

    def sweep(self, job: dict) -> None:
        """MetaICL, with `LOOKS` at the held tasks."""
        model, tokenizer = self.model(job)
        config = self.config(job)
        start, losses = time.time(), []

        def look(step: int) -> None:
            self.in_time()
            rows = {"held": asked(model, tokenizer, self.held, job["mode"])}
            if step in (0, config.steps):
                rows["seen"] = asked(model, tokenizer, self.seen, job["mode"])
            loss = fmean(losses) if losses else None
            losses.clear()
            seconds = round(time.time() - start, 1)
            self.note(job=job, step=step, loss=loss, seconds=seconds, **rows)

        def progress(step: int, row: dict) -> None:
            self.in_time()
            if step in LOOKS:
                look(step)  # the model has θ of this step, not yet moved
            losses.append(row["loss"])

        meta_train(model, tokenizer, self.train, config, progress=progress)
        look(config.steps)

    def compare(self, job: dict) -> None:
        """Train by a method, look at the held tasks, then at the targets."""
        model, tokenizer = self.model(job)
        before = {n: p.detach().cpu().clone() for n, p in parameters(model).items()}
        start = time.time()
        record = meta_train(
            model, tokenizer, self.train, self.config(job), progress=self.in_time
        )
        after = parameters(model)
        squares = [(after[n].cpu() - p).square().sum() for n, p in before.items()]
        held = asked(model, tokenizer, self.held, job["mode"])
        self.note(
            job=job,
            step=job["steps"],
            held=held,
            seconds=round(time.time() - start, 1),
            loss=fmean(record["losses"][-25:]),
            moved=float(sum(squares)) ** 0.5,
            budget=record["budget"],
        )
        torch.save(model.state_dict(), self.beside("models") / f"{job['name']}.pt")
        self.targets(job, model, tokenizer)

    def adapt(self, job: dict) -> None:
        """Steps on each target's demonstrations, at the rate that served held tasks."""
        model, tokenizer = self.kept(job | dict(exact=True))
        chosen = Chosen(steps=ADAPTED, rates=ADAPTATION_RATES)
        how = Format(mode="direct", max_length=LENGTH, max_example_length=EXAMPLE)
        tried = chosen.losses(model, tokenizer, self.held, DEMONSTRATIONS, how)
        rate = min(tried, key=tried.__getitem__)
        self.note(job=job, adaptation_rates=tried, rate=rate)
        steps = Adaptation(steps=ADAPTED, optimizer=chosen.made(rate))
        self.targets(job, model, tokenizer, adapt=steps)

    def whole(self, job: dict) -> None:
        """In context with the published protocol's sizes, on all targets there are."""
        model, tokenizer = self.kept(job)
        self.targets(job, model, tokenizer, **PUBLISHED)
        if self.options.more is not None:
            self.further = self.further or self.more(tokenizer)
            how = dict(benchmark=self.further, files="more")
            self.targets(job, model, tokenizer, **how, **PUBLISHED)

    def more(self, tokenizer):
        """The targets of MORE whose prompts are not cut."""
        names = load_settings(self.options.more)["hr_to_lr"]["test"]
        found = load_benchmark(
            self.options.more, "hr_to_lr", tasks=names, allow_missing=True
        )
        limits = (PUBLISHED["max_length"], PUBLISHED["max_example_length"])
        asked = ALL_SEEDS, self.options.records, *limits
        return replace(
            found, test=[t for t in found.test if fits(tokenizer, t, *asked)]
        )

    def kept(self, job: dict):
        """The model that a job of the comparison has trained, or the raw one."""
        model, tokenizer = self.model(job)
        if job["trained"] != "raw":
            weights = self.beside("models") / f"{job['trained']}.pt"
            model.load_state_dict(torch.load(weights, map_location=self.device))
        return model, tokenizer

    def in_time(self, *_) -> None:
        """Raise `OutOfTime` once the time is over."""
        if time.time() > self.until:
            raise OutOfTime

    def config(self, job: dict) -> TrainConfig:
        """The run of a job; α = 0 is MAML-en-LLM with an inner rate of nothing."""
        how = {"sampling": "uniform", "demonstrations": DEMONSTRATIONS, "looks": 0}
        how["eps_root"] = REAL_EPS_ROOT
        if job.get("method", "metaicl") != "metaicl":
            how |= {"inner_steps": 1, "inner_lr": job["inner_lr"], "moments": "fresh"}
        return TrainConfig(
            benchmark="superni-mini",
            setting="hr_to_lr",
            model=self.options.model,
            method=job.get("method", "metaicl"),
            mode=job["mode"],
            lr=job["lr"],
            steps=job["steps"],
            seed=job["seed"],
            tasks_per_step=job["n"],
            prompts=job["prompts"],
            max_length=LENGTH,
            max_example_length=EXAMPLE,
            **how,
        )

    def model(self, job: dict):
        """SmolLM2, all of it or adapters alone; TF32 where nothing is second order."""
        tf32 = job.get("method", "metaicl") != "maml-en-llm" and not job.get("exact")
        torch.backends.cuda.matmul.allow_tf32 = tf32
        model, tokenizer = load_model(self.options.model, device=self.device)
        if job.get("lora"):
            insert_adapters(model, job["lora"])
        return model, tokenizer

    def targets(
        self, job: dict, model, tokenizer, benchmark=None, files="tasks", **changes
    ) -> None:
        """The targets' scores, task by task: nothing of their texts is kept."""
        start = time.time()
        benchmark = benchmark or self.benchmark
        how = ASKED | changes
        if self.small:
            benchmark = replace(benchmark, test=benchmark.test[:2])
            how |= dict(seeds=how["seeds"][:1])
        found = evaluate(
            model,
            tokenizer,
            benchmark,
            mode=job["mode"],
            max_records=4 if self.small else self.options.records,
            progress=self.in_time,
            **how,
        )
        if any("OutOfMemoryError" in why for why in found["failed"].values()):
            raise torch.OutOfMemoryError(f"{job['name']}: {found['failed']}")
        tasks = {name: row["scores"] for name, row in found["tasks"].items()}
        totals = {n: found[n] for n in ("mean", "unseen_mean", "failed")}
        totals["unseen"] = sorted(benchmark.unseen & tasks.keys())
        totals["evaluation_seconds"] = round(time.time() - start, 1)
        self.note(job=job, files=files, targets=tasks, **totals)


def insert_adapters(model, rank: int) -> None:
    """Put adapters of ``rank`` beside every matrix of the layers; only they move."""
    from peft import LoraConfig, inject_adapter_in_model

    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj"]
    config = LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules=[*names, "down_proj"]
    )
    torch.manual_seed(0)
    inject_adapter_in_model(config, model)
    model.eval()
    assert all("lora_" in name for name in parameters(model))


def forget(out: Path) -> None:
    """Remove marks and models; those of a killed run would hold its jobs for ever."""
    for name in ("taken", "over", "models"):
        shutil.rmtree(out.with_suffix(f".{name}"), ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tasks")
    parser.add_argument("out", type=new_file)
    parser.add_argument("--more", help="a folder of MetaICL's own files")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=at_least_one, default=1)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--steps", type=at_least_one, default=250)
    parser.add_argument("--compare-steps", type=at_least_one, default=48)
    parser.add_argument("--records", type=at_least_one, default=48)
    parser.add_argument(
        "--parts", nargs="+", choices=["sweep", "compare"], default=["sweep", "compare"]
    )
    parser.add_argument("--only", nargs="+", default=[""], help="jobs by their start")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--until", type=float)
    options = parser.parse_args()
    if options.until is not None:
        torch.set_num_threads(1 if options.device == "cuda" else 2)
        Worker(options).work()
        return
    forget(options.out)
    until = time.time() + options.seconds
    command = [sys.executable, *sys.argv, "--until", str(until)]
    about = maml_en_llm.provenance.describe(options.device)
    with Path(options.out).open("a") as file:
        file.write(json.dumps({"machine": about, "steps": options.steps}) + "\n")
    environment = {"OMP_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error"}
    workers = [
        subprocess.Popen(command, env={**environment, **os.environ})
        for _ in range(options.workers)
    ]
    print([worker.wait() for worker in workers])
    forget(options.out)


if __name__ == "__main__":
    main()
