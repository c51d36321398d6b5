"""The files that a study leaves beside its records: answers in lm-evaluation-harness's form, steps, results."""

import hashlib
import json
import math
import random
from typing import Any

from evals.result import EvalResult
from sweep.files import write_json
from sweep.record import TrialRecord
from sweep.store import RunDirectory, write_config, write_record

HOSTILE = "</script><img src=x onerror=alert(1)> | `code` **bold** =1+1\n\u202egnp.exe\x00 ]( {{ 7*7 }}"
STAMP = "2026-01-02T03-04-05.000000"
SAMPLES = f"samples_own_{STAMP}.jsonl"
GSM8K_ITEMS = 50


def put(run: RunDirectory, record: TrialRecord) -> None:
    """Write a trial's files as a study does."""
    directory = run.directory_of(record.config)
    write_config(directory, record.config)
    if record.reused_from is None and record.evaluation is not None:
        directory.eval.mkdir(parents=True, exist_ok=True)
        (directory.eval / SAMPLES).write_text("".join(samples(record)), "utf-8")
        if "gsm8k/exact_match,strict-match" in record.evaluation.metrics:
            (directory.eval / f"samples_gsm8k_{STAMP}.jsonl").write_text("".join(gsm8k_samples()), "utf-8")
        write_json(directory.eval / f"results_{STAMP}.json", results(record.evaluation))
    if record.reused_from is None and record.training is not None:
        directory.steps.write_text("".join(steps(record)), "utf-8")
    write_record(directory, record)


def steps(record: TrialRecord) -> list[str]:
    noise = random.Random(record.config.number)  # noqa: S311
    last = record.objective or 1.0
    lines: list[dict[str, Any]] = []
    for step in range(1, 25):
        loss = last + 1.5 * math.exp(-step / 6) + 0.1 * noise.random()
        lines.append({"step": step, "loss": loss, "learning_rate": 1e-4, "grad_norm": None, "seconds": step * 1.5})
        if step % 6 == 0:
            lines.append({"step": step, "rung": step // 6, "validation_loss": last + 1.2 * math.exp(-step / 6)})
    return [json.dumps(line) + "\n" for line in lines]


def samples(record: TrialRecord) -> list[str]:
    """What lm-evaluation-harness writes for the own rows: the first as many right as the score says."""
    assert record.evaluation is not None
    metric = record.evaluation.metrics["own/exact_match"]
    right = round(metric.value * metric.n)
    valid = round(record.evaluation.metrics["own/json_valid"].value * metric.n)
    losses = item_losses(record.evaluation.metrics["own/loss"].value, metric.n, record.config.method)
    lines = []
    for place in range(metric.n):
        target = json.dumps({"topic": "refund", "urgent": place % 2 == 0, "order": 1000 + place})
        wrong = HOSTILE if place == 1 else f"Dear customer, we are sorry to hear about order {1000 + place}."
        answer = target if place < right else wrong
        prompt = (
            f"<|im_start|>user\nMessage {place}: where is my order #{1000 + place}?<|im_end|>\n<|im_start|>assistant\n"
        )
        sample = {
            "doc_id": place,
            "doc": {
                "row": 10 + place,
                "prompt": prompt,
                "completion": target,
                "answer": target,
                "group": f"c{place % 7}",
            },
            "target": target,
            "arguments": {"gen_args_0": {"arg_0": prompt, "arg_1": {}}},
            "resps": [[answer], [[-1.0, 5]]],
            "filtered_resps": [answer, [-1.0, 5]],
            "filter": "none",
            "metrics": ["exact_match", "json_valid", "loss"],
            "doc_hash": hashlib.sha256(f"{record.config.split}{place}".encode()).hexdigest(),
            "prompt_hash": "p",
            "target_hash": "t",
            "exact_match": float(place < right),
            "json_valid": float(place < valid),
            "loss": [losses[place] * 5, 5],
        }
        lines.append(json.dumps(sample) + "\n")
    return lines


def item_losses(mean: float, count: int, method: str | None) -> list[float]:
    """Losses of this mean; hard items are hard for every method, and each method has its own besides."""
    shared, own = random.Random(0), random.Random(method)  # noqa: S311
    noise = [shared.gauss(0, 0.1) + own.gauss(0, 0.03) for _ in range(count)]
    return [mean + one - sum(noise) / count for one in noise]


def gsm8k_samples() -> list[str]:
    """Problems that no model of this size solves."""
    sample = {
        "doc": {},
        "target": "#### 4",
        "filtered_resps": ["[invalid]"],
        "filter": "strict-match",
        "metrics": ["exact_match"],
        "exact_match": 0.0,
    }
    numbers = range(GSM8K_ITEMS)
    return [json.dumps(sample | {"doc_id": place, "doc_hash": f"gsm8k-{place}"}) + "\n" for place in numbers]


def results(found: EvalResult) -> dict[str, Any]:
    """The results file beside the samples, as far as anything here reads it."""
    scores: dict[str, dict[str, float]] = {}
    better: dict[str, dict[str, bool]] = {}
    for name, metric in found.metrics.items():
        task, _, rest = name.partition("/")
        scores.setdefault(task, {})[rest if "," in rest else f"{rest},none"] = metric.value
        better.setdefault(task, {})[rest.partition(",")[0]] = metric.higher_is_better
    return {"results": scores, "higher_is_better": better, "group_subtasks": {task: [] for task in scores}}
