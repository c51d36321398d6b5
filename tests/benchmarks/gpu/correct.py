"""How far lanes, trials alone, TRL and the stock scoring tool are apart, on a model of real shape."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch
from agreement import (
    NEAR,
    ROUNDED,
    SLACK,
    Apart,
    alone_beside_plain,
    apart,
    deviation,
    gradients_over_four_bits,
    lanes_beside_alone,
    reshaped,
    steps_of,
    with_attention,
    without_bars,
)
from drawn_models import build, save
from lanes_bench import Bench, ToyData, Trial, lora
from points import Ledger, Point, Row, Values, markdown, outcome
from scored_alike import Alike, beside_stock, random_adapters, together_beside_alone
from setting import Setting, method

from evals.spec import ModelSpec
from sweep.models import release_memory
from sweep.spec import MethodKind

TITLE = "Agreement"
NOTE = (
    "A random-weight model of 0.5B shape, trained on 12 rows of up to 30 tokens; scoring on made-up questions with "
    "shared examples. In bfloat16 what is allowed is twice what two batch shapes of TRL are apart in the same run; "
    "texts of a random model part at ties there."
)
SHORT = {"num_train_epochs": 1.0, "optim": "adamw_torch", "learning_rate": 1e-3}
GRADIENTS = {"float32": 1e-4, "bfloat16": 0.03}
NATS = {"float32": 1e-3, "bfloat16": 0.25}
EIGHT_BITS = 0.05
ATTENTION = {"float32": 1e-4, "bfloat16": 0.02}


@dataclass(frozen=True)
class Workshop:
    """The model on disk, and benches of it."""

    setting: Setting

    def spec(self, dtype: str) -> ModelSpec:
        """The model in a dtype; it is written once, in float32."""
        directory = self.setting.scratch / "correct-model"
        if not directory.is_dir():
            size = self.setting.sizes["0.5B"]
            model = build(size, "32-bit", self.setting.device, dtype=torch.float32)
            save(model, directory)
            del model
            release_memory()
        return ModelSpec(model_name_or_path=str(directory), dtype=dtype)

    def bench(self, dtype: str, name: str) -> Bench:
        """A bench with files of its own."""
        path = self.setting.scratch / name
        path.mkdir(parents=True, exist_ok=True)
        return Bench(self.spec(dtype), path, ToyData({"train": 12, "validation": 4}), self.setting.device)


def points(setting: Setting, ledger: Ledger) -> Iterator[Point]:
    """Trainings by method and dtype, then optimizers, back ends and scoring."""
    del ledger
    shop = Workshop(setting)
    seconds = 8.0 if setting.tiny else 45.0
    checks: dict[str, Callable[[], Values]] = {}
    for dtype in ("float32", "bfloat16"):
        for kind in ("lora", "qlora"):
            checks[f"lanes against alone/{kind}/{dtype}"] = partial(_lanes, shop, kind == "qlora", dtype)
        for kind in ("lora", "full"):
            checks[f"alone against TRL/{kind}/{dtype}"] = partial(_plain, shop, kind, dtype)
        checks[f"gradients over 4 bits/qlora/{dtype}"] = partial(_gradients, shop, dtype)
        for back_end in ("sdpa", "flash_attention_2"):
            checks[f"attention {back_end}/lora/{dtype}"] = partial(_attention, shop, back_end, dtype)
        checks[f"answers against the stock tool/base/{dtype}"] = partial(_stock, shop, dtype)
        checks[f"adapters together against alone/lora/{dtype}"] = partial(_adapters, shop, dtype)
    checks["paged 8-bit AdamW against torch's/lora/float32"] = partial(_paged, shop)
    checks["lanes on the GPU against the CPU/lora/float32"] = partial(_devices, shop)
    yield from (Point(name, seconds, measure) for name, measure in checks.items())


def _judged(found: Apart, allowed: Apart) -> Values:
    ok = found.losses <= allowed.losses
    if found.weights is not None and allowed.weights is not None:
        ok = ok and found.weights <= allowed.weights
    return {
        "losses": found.losses,
        "weights": found.weights,
        "allowed": f"{allowed.losses:.1e}" + ("" if found.weights is None else f" and {allowed.weights:.1e}"),
        "ok": ok,
    }


def _worst(found: Sequence[Apart]) -> Apart:
    return Apart(max(one.losses for one in found), max(one.weights or 0.0 for one in found))


def _lanes(shop: Workshop, quantized: bool, dtype: str) -> Values:
    bench = shop.bench(dtype, f"lanes-{quantized}-{dtype}")
    trials = {
        "rank": Trial(lora(peft={"lora_r": 16}, quantized=quantized, **SHORT), 4),
        "dropout": Trial(lora(peft={"lora_dropout": 0.3}, quantized=quantized, **SHORT), 5),
        "modules": Trial(lora(peft={"lora_target_modules": ("q_proj", "down_proj")}, quantized=quantized, **SHORT), 6),
    }
    found = _worst(list(lanes_beside_alone(bench, trials, width=len(trials)).values()))
    if dtype == "float32":
        return _judged(found, NEAR[shop.setting.device.type])
    shapes = []
    # Dropout is drawn for a whole batch: under another shape it is another training.
    for name in ("rank", "modules"):
        bench.alone(reshaped(trials[name]), f"{name}-reshaped")
        release_memory()
        shapes.append(apart(bench, f"{name}-reshaped", f"{name}-alone"))
    two = _worst(shapes)
    return _judged(found, Apart(SLACK * max(two.losses, ROUNDED), SLACK * (two.weights or 0.0)))


def _plain(shop: Workshop, kind: MethodKind, dtype: str) -> Values:
    full = method("full", 2, 64, steps=6, optim="adamw_torch", effective_batch_size=4)
    trial = Trial(full if kind == "full" else lora(**SHORT), 3)
    found = alone_beside_plain(shop.bench(dtype, f"plain-{kind}-{dtype}"), trial, kind)
    near = NEAR[shop.setting.device.type]
    return _judged(found, near if dtype == "float32" else Apart(0.02, 0.05))


def _gradients(shop: Workshop, dtype: str) -> Values:
    # With B at zero, as adapters start, A has no gradient.
    start = {"init_lora_weights": False}
    bench = shop.bench(dtype, "gradients")
    found = gradients_over_four_bits(bench, lora(peft=start, quantized=True), lora(peft=start))
    return {"gradients": found, "allowed": f"{GRADIENTS[dtype]:.1e}", "ok": found <= GRADIENTS[dtype]}


def _attention(shop: Workshop, back_end: str, dtype: str) -> Values:
    if back_end != "sdpa" and (not shop.setting.on_gpu or find_spec("flash_attn") is None):
        return {"note": "not installed, or no kernels for this device"}
    if back_end != "sdpa" and dtype == "float32":
        return {"note": "it has no float32"}
    bench, trial = shop.bench(dtype, "attention"), Trial(lora(**SHORT), 3)
    named = {name: with_attention(bench, name, bench.path / f"{name}-{dtype}") for name in ("eager", back_end)}
    eager, other = (steps_of(one, trial, name) for name, one in named.items())
    found = deviation(other, eager)
    return {"losses": found, "allowed": f"{ATTENTION[dtype]:.1e}", "ok": found <= ATTENTION[dtype]}


def _alike(found: Alike, dtype: str) -> Values:
    ok = found.deviation <= NATS[dtype] and (dtype == "bfloat16" or not found.texts)
    return {
        "items": found.items, "nats": found.deviation, "texts": found.texts, "allowed": f"{NATS[dtype]:.1e}", "ok": ok,
    }  # fmt: skip


def _stock(shop: Workshop, dtype: str) -> Values:
    return _alike(beside_stock(shop.spec(dtype), _place(shop, "stock"), shop.setting.device), dtype)


def _adapters(shop: Workshop, dtype: str) -> Values:
    spec, device = shop.spec(dtype), shop.setting.device
    place = _place(shop, f"adapters-{dtype}")
    return _alike(together_beside_alone(spec, random_adapters(spec, place, device), place, device), dtype)


def _paged(shop: Workshop) -> Values:
    if not shop.setting.on_gpu:
        return {"note": "paged memory is CUDA's"}
    bench = shop.bench("float32", "paged")
    losses = {}
    for optim in ("paged_adamw_8bit", "adamw_torch"):
        losses[optim] = steps_of(bench, Trial(lora(peft={"lora_r": 64}, **{**SHORT, "optim": optim}), 3), optim)
    found = deviation(losses["paged_adamw_8bit"], losses["adamw_torch"])
    return {"losses": found, "allowed": f"{EIGHT_BITS:.1e}", "ok": found <= EIGHT_BITS}


def _devices(shop: Workshop) -> Values:
    if not shop.setting.on_gpu:
        return {"note": "there is no GPU here"}
    here = shop.bench("float32", "devices")
    cpu = Bench(here.model, here.path, here.data, torch.device("cpu"))
    trial = Trial(lora(**SHORT), 3)
    with without_bars():
        here.together({"gpu": trial})
        cpu.together({"cpu": trial})
    return _judged(apart(here, "gpu", "cpu"), Apart(1e-3, 1e-2))


def _place(shop: Workshop, name: str) -> Path:
    path = shop.setting.scratch / name
    path.mkdir(parents=True, exist_ok=True)
    return path


def table(rows: Sequence[Row]) -> str:
    """What was compared, how far it is apart, and what is allowed."""
    lines = []
    for row in rows:
        found, (what, kind, dtype) = row.values, row.name.split("/")
        if outcome(found):
            lines.append([what, kind, dtype, None, outcome(found), None])
            continue
        named = ("losses", "weights", "gradients", "nats", "texts")
        apart_by = ", ".join(
            f"{name} {found[name]:.1e}" if name != "texts" else f"{found[name]} texts of {found['items']} items"
            for name in named
            if found.get(name) is not None
        )
        lines.append([what, kind, dtype, apart_by, found["allowed"], found["ok"]])
    return markdown(("what", "method", "dtype", "apart by", "allowed", "holds"), lines)
