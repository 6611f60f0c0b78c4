"""Can meta-training be tested on a real model, at the budget at hand?

    python benchmarks/smollm2.py FOLDER OUT.jsonl --device cuda --workers 8

FOLDER holds task files in MetaICL's format (a setting ``hr_to_lr``). Jobs are taken
from one list by several processes, the most telling first, and every line of OUT is
written as it comes:

1. the raw model on the targets, zero-shot and in context, direct and channel;
2. MetaICL at four outer rates, all parameters or adapters (LoRA, rank 8), judged on
   tasks with options that are held out of meta-training, and on new examples of those
   that are not: the rate is chosen there, no target is looked at;
3. the methods at the best of these rates: the targets, in context.

``--seconds`` bounds all of it. ``--steps 2 --small`` tries everything once.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import torch
from report import at_least_one, new_file
from smollm2_jobs import compare_jobs, first_jobs

import maml_en_llm
from maml_en_llm import (
    TrainConfig,
    evaluate,
    load_benchmark,
    load_model,
    meta_train,
    parameters,
    score_options,
)
from maml_en_llm.evaluation.benchmark import score_predictions

DEMONSTRATIONS = 8
LENGTH = 256  # tokens of a training prompt and of a held one
TARGET_LENGTH = 512  # of a target's prompt
EXAMPLE = 128
SHOTS, ASKED = 16, 24  # examples of a held task to draw on, and to ask
LOOKS = (0, 25, 50, 100, 150, 200)  # outer steps, and the last, to look at held tasks
HELD = (  # whole families of tasks with options, of which none is trained on
    *("subj", "trec", "question_type", "winowhy", "qnli", "tellmewhy_answerable"),
    *("roc_title_choice", "art_abductive"),
)
SEEDS = (100, 13)


class OutOfTime(Exception):
    """The time for all jobs is over."""


class Worker:
    """One process: it takes jobs that no other has taken, until the time is over."""

    def __init__(self, options):
        self.options, self.out = options, Path(options.out)
        self.device, self.until = options.device, options.until
        self.small = options.small
        where = load_benchmark(options.tasks, "hr_to_lr", seeds=SEEDS)
        with_options = [t for t in where.train if t.kind != "free-form"]
        self.benchmark = where
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

    def take(self, job: dict) -> bool:
        """Whether the job is this process's from now on."""
        marks = self.out.with_suffix(".taken")
        marks.mkdir(exist_ok=True)
        try:
            (marks / job["name"]).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def work(self) -> None:
        """First the jobs that are known, then those that depend on their results."""
        for jobs in (lambda: first_jobs(self.options.steps), self.chosen):
            for job in jobs():
                if not job["name"].startswith(tuple(self.options.only)):
                    continue
                if time.time() > self.until or not self.take(job):
                    continue
                start = time.time()
                try:
                    getattr(self, job["kind"])(job)
                except OutOfTime:
                    self.note(job=job, stopped=round(time.time() - start, 1))
                except Exception as error:  # one job's failure is not the others'
                    self.note(job=job, failed=f"{type(error).__name__}: {error}"[:600])
                    traceback.print_exc()
                if self.device == "cuda":
                    torch.cuda.empty_cache()  # others share its memory

    def chosen(self) -> list[dict]:
        """The comparison, at the rate that served the held tasks best."""
        best = {}
        for row in map(json.loads, self.out.read_text().splitlines()):
            job = row.get("job", {})
            if job.get("kind") != "sweep" or "held" not in row:
                continue
            value = row["held"]["choice"]
            key = job["mode"], job["lora"]
            if value < best.get(key, (math.inf, None))[0]:
                best[key] = value, job["lr"]
        self.note(best={f"{mode} {lora}": v for (mode, lora), v in best.items()})
        rates = {key: lr for key, (_, lr) in best.items()}
        return compare_jobs(rates, self.options.steps)

    def raw(self, job: dict) -> None:
        """The model as it is, on the targets."""
        model, tokenizer = self.model(job)
        self.targets(job, model, tokenizer, demonstrations=job["demonstrations"])

    def sweep(self, job: dict) -> None:
        """MetaICL, with `LOOKS` at the held tasks."""
        model, tokenizer = self.model(job)
        config = self.config(job)
        start, losses = time.time(), []

        def look(step: int) -> None:
            if time.time() > self.until:
                raise OutOfTime
            rows = {"held": asked(model, tokenizer, self.held, job["mode"])}
            if step in (0, config.steps):
                rows["seen"] = asked(model, tokenizer, self.seen, job["mode"])
            loss = fmean(losses) if losses else None
            losses.clear()
            seconds = round(time.time() - start, 1)
            self.note(job=job, step=step, loss=loss, seconds=seconds, **rows)

        def progress(step: int, row: dict) -> None:
            if time.time() > self.until:
                raise OutOfTime
            if step in LOOKS:
                look(step)  # the model has θ of this step, not yet moved
            losses.append(row["loss"])

        meta_train(model, tokenizer, self.train, config, progress=progress)
        look(config.steps)

    def compare(self, job: dict) -> None:
        """Train by a method, look at the held tasks, then at the targets."""
        model, tokenizer = self.model(job)
        start = time.time()

        def progress(*_) -> None:
            if time.time() > self.until:
                raise OutOfTime

        record = meta_train(
            model, tokenizer, self.train, self.config(job), progress=progress
        )
        held = asked(model, tokenizer, self.held, job["mode"])
        self.note(
            job=job,
            step=job["steps"],
            held=held,
            seconds=round(time.time() - start, 1),
            loss=fmean(record["losses"][-25:]),
            budget=record["budget"],
        )
        self.targets(job, model, tokenizer)

    def config(self, job: dict) -> TrainConfig:
        """The run of a job; α = 0 is MAML-en-LLM with an inner rate of nothing."""
        how = {"sampling": "uniform", "demonstrations": DEMONSTRATIONS, "looks": 0}
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
            adapt(model, job["lora"])
        return model, tokenizer

    def targets(self, job: dict, model, tokenizer, **how) -> None:
        """The targets' scores, task by task: nothing of their texts is kept."""
        start = time.time()
        seeds = SEEDS[:1] if self.small else SEEDS
        benchmark = self.benchmark
        if self.small:
            benchmark = replace(benchmark, test=benchmark.test[:2])
        found = evaluate(
            model,
            tokenizer,
            benchmark,
            k=how.get("demonstrations", DEMONSTRATIONS),
            seeds=seeds,
            mode=job["mode"],
            separator=job.get("separator", "newline"),
            max_length=TARGET_LENGTH,
            max_example_length=EXAMPLE,
            max_records=4 if self.small else self.options.records,
        )
        tasks = {name: row["scores"] for name, row in found["tasks"].items()}
        totals = {n: found[n] for n in ("mean", "unseen_mean", "failed")}
        seconds = round(time.time() - start, 1)
        self.note(job=job, targets=tasks, **totals, evaluation_seconds=seconds)


def as_held(task, asked: int = ASKED):
    """The last examples of a task, as demonstrations and queries."""
    shots = task.train[-SHOTS:]
    queries = task.train[-SHOTS - asked : -SHOTS]
    return replace(task, demonstrations={0: shots}, test=queries)


def asked(model, tokenizer, tasks, mode: str) -> dict:
    """Means over tasks: points, nats per target token of the right answer, and nats
    that the right one costs among the options; and the three of each task."""
    rows = {}
    for task in tasks:
        table = score_options(
            model,
            tokenizer,
            task.few_shot(0, DEMONSTRATIONS),
            task.test,
            mode=mode,
            max_length=LENGTH,
            max_example_length=EXAMPLE,
            tokens_at_once=2048,
        )
        right = [q.options.index(q.output) for q in task.test]
        nll = fmean(row[i] for row, i in zip(table, right, strict=True))
        choice = []
        for row, i in zip(table, right, strict=True):
            scores = -torch.tensor(row)
            choice.append(float(scores.logsumexp(0) - scores[i]))
        points = score_predictions(task.kind, task.test, table)
        rows[task.name] = [round(x, 4) for x in (points, nll, fmean(choice))]
    means = [round(fmean(column), 4) for column in zip(*rows.values(), strict=True)]
    return dict(zip(("points", "nll", "choice"), means, strict=True), tasks=rows)


def adapt(model, rank: int) -> None:
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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tasks")
    parser.add_argument("out", type=new_file)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=at_least_one, default=1)
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--steps", type=at_least_one, default=250)
    parser.add_argument("--records", type=at_least_one, default=48)
    parser.add_argument("--only", nargs="+", default=[""], help="jobs by their start")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--until", type=float)
    options = parser.parse_args()
    if options.until is not None:
        torch.set_num_threads(1 if options.device == "cuda" else 2)
        Worker(options).work()
        return
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


if __name__ == "__main__":
    main()
