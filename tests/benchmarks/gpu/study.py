"""A whole study on the device, and how long a sweep takes against a process for each step."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import yaml
from drawn_models import build, save
from makespan import OURS, Measured, Place
from parity import packaged_model
from points import Ledger, Point, Row, Values, markdown, outcome
from setting import Setting
from workload import Config, Workload, configs

from studies import __file__ as studies_file

TITLE = "Whole studies"
NOTE = (
    "SmolLM2-135M-Instruct in bfloat16. The sweep is `tests/benchmarks/makespan.py`'s: LoRA configs over ranks 8-32 "
    "and rates 5e-5 to 1.6e-3, micro-batch 2, effective batch 8, one epoch of 96 rows, each scored on 40 generated "
    "answers and 20 MMLU 5-shot questions; `glued` is a fresh `trl sft` and a fresh `lm_eval run` process a config. "
    "The whole study is the bundled quickstart with eight trials a method, lanes and successive halving."
)
WAYS = ("lanes", "alone", "halving")
WHOLE = "whole study"


class Shop:
    """What the points of one call share."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    @cached_property
    def model(self) -> Path | None:
        """The trained model's directory; none where it is not here."""
        given = self.setting.model
        if self.setting.tiny:
            size, device = self.setting.sizes["1B"], torch.device("cpu")
            return save(build(size, "16-bit", device, dtype=torch.bfloat16), self.setting.scratch / "study-model")
        if given.startswith("package:"):
            return packaged_model() if find_spec(given.removeprefix("package:")) is not None else None
        return Path(given).resolve()

    @cached_property
    def place(self) -> Place:
        """Both sides of the makespan. The device is theirs."""
        self.setting.forget()
        path = self.setting.scratch / "makespan"
        path.mkdir()
        return Place(Workload(self.options, path))

    @cached_property
    def options(self) -> argparse.Namespace:
        """What the makespan benchmark is told."""
        small = {"configs": 1, "rows": 8, "answers": 2, "questions": 1, "batch_size": 2, "lanes": 2}
        large = {"configs": 8, "rows": 96, "answers": 40, "questions": 10, "batch_size": 16, "lanes": 8}
        return argparse.Namespace(
            **(small if self.setting.tiny else large),
            order=0,
            # The tiny model's tokens are bytes.
            max_length=1024 if self.setting.tiny else 256,
            micro_batch=2,
            data=self.setting.data,
            device="cuda:0" if self.setting.on_gpu else "cpu",
            model=self.model,
        )


def points(setting: Setting, ledger: Ledger) -> Iterator[Point]:
    """Ours first, then the pipeline config by config."""
    del ledger
    shop = Shop(setting)
    seconds = 120.0 if setting.tiny else 240.0
    yield Point(WHOLE, seconds, partial(_whole, shop, with_code=False))
    yield Point(f"{WHOLE} with HumanEval", seconds, partial(_whole, shop, with_code=True))
    for way in WAYS[:1] if setting.tiny else WAYS:
        yield Point(f"makespan/{way}", seconds, partial(_ours, shop, way))
    for number, config in enumerate(configs(1 if setting.tiny else 8, 0)):
        yield Point(f"makespan/glued/{number}", seconds / 2, partial(_glued, shop, config))


def _missing(shop: Shop, *data: str) -> str | None:
    if shop.model is None:
        return f"the model is not here: {shop.setting.model}; name a directory with --model"
    absent = [name for name in data if not (shop.setting.data / name).exists()]
    return f"{shop.setting.data} has no {', '.join(absent)}; name a directory with --data" if absent else None


def _ours(shop: Shop, way: str) -> Values:
    missing = _missing(shop, "restaurant8k_json", "hub/cais/mmlu")
    return {"note": missing} if missing else _values(shop.place.ours(way), shop.options.configs)


def _glued(shop: Shop, config: Config) -> Values:
    missing = _missing(shop, "restaurant8k_json", "hub/cais/mmlu")
    return {"note": missing} if missing else _values(shop.place.glued_config(config), 1)


def _values(found: Measured, count: int) -> Values:
    return {
        "configs": count,
        "seconds": found.seconds,
        "train_seconds": found.train_seconds,
        "score_seconds": found.score_seconds,
        "pruned": found.pruned,
        "scores": found.scores,
    }


def _whole(shop: Shop, *, with_code: bool) -> Values:
    missing = _missing(shop, *(["hub/openai/openai_humaneval"] if with_code else []))
    if missing:
        return {"note": missing}
    study = whole_study(shop, with_code=with_code)
    place = shop.place
    file = place.path / f"{study['name']}.yaml"
    file.write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
    runs = place.path / "runs"
    seconds = place.run([sys.executable, "-c", OURS, "run", str(file), "--runs", str(runs)], study["name"])
    return {"seconds": seconds, **_of(runs / study["name"])}


def whole_study(shop: Shop, *, with_code: bool) -> dict[str, Any]:
    """The bundled quickstart, larger and with lanes."""
    folder = Path(studies_file).parent
    study = yaml.safe_load((folder / "quickstart.yaml").read_text(encoding="utf-8"))
    tiny = shop.setting.tiny
    study["name"] = "whole-with-code" if with_code else "whole"
    study["model"] = {"model_name_or_path": str(shop.model), "dtype": "bfloat16"}
    study["data"]["train"] = str(folder / study["data"]["train"])
    study["pruner"] = {"name": "successive_halving"}
    study["lanes"] = 2 if tiny else 8
    study["budget"] = {"trials_per_method": 1 if tiny else 8, "confirm_seeds": 1}
    study["training"] |= {"max_length": 1024, "max_steps": 2} if tiny else {"per_device_train_batch_size": 2}
    if tiny:
        study["data"] |= {"max_rows": 20}
        study["evaluation"]["scoring"] |= {"batch_size": 4, "max_new_tokens": 4}
    if with_code:
        study["evaluation"]["confirm"].append({"task": "humaneval", "limit": 2 if tiny else 40})
        study["evaluation"]["scoring"]["data_root"] = str(shop.setting.data / "hub")
    return study


def _of(run: Path) -> Values:
    """What a finished study left behind."""
    searched = [json.loads(path.read_text("utf-8")) for path in sorted(run.glob("search/*/*/record.json"))]
    finalists = [json.loads(path.read_text("utf-8")) for path in sorted(run.glob("confirm/*/*/record.json"))]
    spent: dict[str, float] = {}
    for record in (*searched, *finalists):
        for part, seconds in record["seconds"].items():
            spent[part] = spent.get(part, 0.0) + seconds
    return {
        "trials": len(searched),
        "states": Counter(record["state"] for record in searched),
        "finalists": {_method(record): _metrics(record) for record in finalists},
        "spent": spent,
        "report": (run / "report" / "index.html").is_file(),
    }  # fmt: skip


def _method(record: Mapping[str, Any]) -> str:
    return str(record["config"]["method"])


def _metrics(record: Mapping[str, Any]) -> dict[str, float]:
    metrics = (record.get("evaluation") or {}).get("metrics", {})
    # Single fields of an answer have names of three parts.
    return {name: found["value"] for name, found in metrics.items() if name.count("/") == 1}


def table(rows: Sequence[Row]) -> str:
    """Makespans a config, then the whole studies."""
    ways: dict[str, list[Values]] = {}
    notes = [f"- {row.name}: {outcome(row.values)}." for row in rows if outcome(row.values)]
    for row in rows:
        if row.name.startswith("makespan/") and not outcome(row.values):
            ways.setdefault(row.name.split("/")[1], []).append(row.values)
    each = {
        way: sum(one["seconds"] for one in many) / sum(one["configs"] for one in many) for way, many in ways.items()
    }
    lines = []
    for way, many in ways.items():
        parts = [sum(one[name] for one in many) for name in ("configs", "seconds", "train_seconds", "score_seconds")]
        gain = f"{each['glued'] / each[way]:.2f}x" if "glued" in each else None
        lines.append([way, *parts, each[way], gain, sum(one["pruned"] for one in many)])
    headings = ("how", "configs", "seconds", "training", "scoring", "s a config", "of glued", "pruned")
    whole = [line for row in rows if row.name.startswith(WHOLE) and not outcome(row.values) for line in _told(row)]
    return "\n\n".join(part for part in (markdown(headings, lines) if lines else "", *whole, "\n".join(notes)) if part)


def _told(row: Row) -> Iterator[str]:
    found = row.values
    states = ", ".join(f"{count} {state}" for state, count in found["states"].items())
    spent = ", ".join(f"{part} {seconds:.0f}" for part, seconds in found["spent"].items())
    report = "a report" if found["report"] else "no report"
    yield f"**{row.name}**: {found['seconds']:.0f} s; trials: {states}; seconds by part: {spent}; {report}."
    names = sorted({name for metrics in found["finalists"].values() for name in metrics})
    scores = [[method, *(metrics.get(name) for name in names)] for method, metrics in found["finalists"].items()]
    yield markdown(("finalist", *names), scores)
