"""The guide's table, measured: memory, time and trainable shares of the methods, and a 70B shape in 4 bits."""

from collections.abc import Iterator, Sequence
from functools import partial

from drawn_models import seconds_to_build
from points import Ledger, Point, Row, Values, markdown, outcome
from setting import GIBIBYTE, Setting
from ways import Work, alone, together

TITLE = "What each method takes"
NOTE = (
    "Random-weight models, bfloat16 compute, the optimizer that `auto` means on a GPU (paged 8-bit AdamW), rank 16 on "
    "all linear layers; alone where nothing else is said. The 70B shape recomputes activations and is quantized matrix "
    "by matrix as it is drawn. Weights are what the model takes before anything is trained."
)
STEPS = 5


def points(setting: Setting, ledger: Ledger) -> Iterator[Point]:
    """Each method by size; then what only 4 bits make possible."""
    del ledger
    rows, tokens = (1, 16) if setting.tiny else (1, 512)
    for size in ("1B",) if setting.tiny else ("1B", "3B", "0.5B"):
        for kind in ("lora", "qlora", "full"):
            yield _point(setting, Work(size, kind, rows, tokens))  # type: ignore[arg-type]
    if not setting.tiny:
        yield _point(setting, Work("8B", "lora", rows, tokens))
        yield _point(setting, Work("8B", "qlora", rows, tokens))
    large = Work("70B", "qlora", rows, tokens)
    yield _point(setting, large, gradient_checkpointing=True)
    yield _point(setting, large, lanes=2 if setting.tiny else 4, gradient_checkpointing=True)
    if not setting.tiny:
        yield _point(setting, Work("70B", "qlora", 4, 1024), gradient_checkpointing=True)


def _point(setting: Setting, work: Work, *, lanes: int = 0, **training: object) -> Point:
    size = setting.sizes[work.size]
    tokens = max(1, lanes) * work.tokens_a_step * (STEPS + 3)
    expected = 10.0 + seconds_to_build(size) + 2 * setting.seconds_of(work.size, work.kind, tokens)
    way = f"lanes-{lanes}" if lanes else "alone"
    return Point(f"{work.name}/{way}", expected, partial(_measured, setting, work, lanes, training))


def _measured(setting: Setting, work: Work, lanes: int, training: dict[str, object]) -> Values:
    base = setting.base(work.size, work.kind)
    weights = sum(weight.numel() * weight.element_size() for weight in base.parameters())
    total = setting.sizes[work.size].parameters
    del base
    settings = {"optim": "auto", **training}
    train = partial(together, lanes=lanes) if lanes else alone
    pace = train(setting, work, STEPS, **settings)
    share = 1.0 if work.kind == "full" else pace.trainable / (total + pace.trainable)
    return {
        **pace.values,
        "weights_gib": weights / GIBIBYTE,
        "trainable_share": share,
        "seconds_per_million_tokens": 1e6 / pace.tokens_per_second,
    }


def table(rows: Sequence[Row]) -> str:
    """The methods, and the ratios that people quote."""
    lines = []
    for row in rows:
        found, cells = row.values, row.name.split("/")
        reason = outcome(found)
        if reason:
            lines.append([*cells, reason, None, None, None, None])
            continue
        shares = (f"{100 * found['trainable_share']:.2f} %", f"{found['trainable']:,}")
        times = (found["step_ms"], found["seconds_per_million_tokens"])
        lines.append([*cells, found["weights_gib"], found["peak_gib"], " = ".join(shares), *times])
    headings = (
        "model", "method", "rows x tokens", "way", "weights, GiB", "peak, GiB", "trained", "step, ms", "s/1M tokens",
    )  # fmt: skip
    return markdown(headings, lines) + "\n\n" + "\n".join(_ratios(rows))


def _ratios(rows: Sequence[Row]) -> Iterator[str]:
    measured = {row.name: row.values for row in rows if not outcome(row.values)}
    for name, lora in measured.items():
        if "/lora/" not in name:
            continue
        for kind in ("full", "qlora"):
            other = measured.get(name.replace("/lora/", f"/{kind}/"))
            if other is None:
                continue
            parts = [f"{other['step_ms'] / lora['step_ms']:.2f} times the time of a step"]
            if other["peak_gib"]:
                parts.append(f"{other['peak_gib'] / lora['peak_gib']:.2f} times the peak memory")
            parts.append(f"{other['trainable'] / lora['trainable']:,.0f} times the trained parameters")
            yield f"- {name.split('/')[0]}, {kind} against lora: {', '.join(parts)}."
