"""Tokens a second of TRL alone, ours alone and lanes, with memory and the share of a large matrix product."""

import re
from collections.abc import Iterator, Sequence
from functools import partial

from drawn_models import seconds_to_build
from points import Ledger, Point, Row, Values, markdown, outcome
from profiling import profiled
from setting import Setting
from ways import WARM_UP, Work, alone, by_trl, seated, together

TITLE = "Speed"
NOTE = (
    "Random-weight models, bfloat16 compute, rows of equal length of which the last quarter is learned, rank 16 on all "
    "linear layers, fused AdamW, no recomputed activations, one micro-batch a step. TRL is a plain SFTTrainer with the "
    "same settings that logs nothing; `alone` is ours without lanes, which logs each step; `lanes-K` are K trials in "
    "one forward, `lanes-auto` 16 trials that find out how many. `paged` is the optimizer that `auto` means on a GPU. "
    "The share of the peak counts 4 operations a frozen parameter and token and 6 a trained one."
)
SHAPES = ((1, 256), (4, 256), (1, 1024), (4, 1024), (2, 512), (1, 512), (2, 256), (2, 1024), (4, 512))
"""Rows by tokens, the telling ones first."""
SIZES = ("1B", "8B", "0.5B", "3B")
LANES = (1, 2, 4, 8, 16, 32)
STEPS = 20
AUTO = 16
KNEE = 0.98
"""Of the best rate; the fewest lanes that reach it are the knee."""
PROFILED = (("1B", "lora", 1, 256), ("1B", "qlora", 1, 256), ("8B", "lora", 1, 256), ("0.5B", "lora", 1, 256))


def points(setting: Setting, ledger: Ledger) -> Iterator[Point]:
    """All of them, a model at a time within a shape."""
    if setting.tiny:
        yield from _points(setting, SIZES[:1], ((1, 16),), (1, 2), 2)
        yield _profile(setting, ledger, Work("1B", "lora", 1, 16), (1, 2))
        return
    for shape in SHAPES:
        yield from _points(setting, SIZES, (shape,), LANES, STEPS)
        if shape == SHAPES[0]:
            for size, kind, rows, tokens in PROFILED:
                yield _profile(setting, ledger, Work(size, kind, rows, tokens), LANES)  # type: ignore[arg-type]


def _points(
    setting: Setting, sizes: Sequence[str], shapes: Sequence[tuple[int, int]], lanes: Sequence[int], steps: int
) -> Iterator[Point]:
    for size in sizes:
        for kind in ("lora", "qlora", "full"):
            if kind == "full" and size not in {"0.5B", "1B"}:
                continue
            for rows, tokens in shapes:
                yield from _of(setting, Work(size, kind, rows, tokens), lanes, steps)  # type: ignore[arg-type]


def _of(setting: Setting, work: Work, lanes: Sequence[int], steps: int) -> Iterator[Point]:
    def expected(trials: int, count: int) -> float:
        build = seconds_to_build(setting.sizes[work.size])
        return 5.0 + build + setting.seconds_of(work.size, work.kind, trials * work.tokens_a_step * (WARM_UP + count))

    def point(way: str, trials: int, measure: partial) -> Point:
        return Point(f"{work.name}/{way}", expected(trials, steps), partial(_paced, setting, work, trials, measure))

    yield point("trl", 1, partial(by_trl, setting, work, steps))
    yield point("alone", 1, partial(alone, setting, work, steps))
    if work.kind == "full":
        return
    for count in lanes:
        yield point(f"lanes-{count}", count, partial(together, setting, work, steps, lanes=count))
    auto = min(AUTO, max(lanes))
    yield point("lanes-auto", auto, partial(together, setting, work, steps, lanes=auto, width=None))
    if setting.on_gpu and (work.rows, work.tokens) == SHAPES[0]:
        paged = partial(together, setting, work, steps, lanes=auto, optim="paged_adamw_8bit")
        yield point(f"lanes-{auto}-paged", auto, paged)


def _paced(setting: Setting, work: Work, trials: int, measure: partial) -> Values:
    pace = measure()
    share = setting.share_of_peak(work.size, work.kind, pace.trainable, pace.tokens_per_second)
    return {**pace.values, "trials": trials, "share_of_peak": share, "matrix_product": setting.product}


def _profile(setting: Setting, ledger: Ledger, work: Work, lanes: Sequence[int]) -> Point:
    def measure() -> Values:
        knee = knee_of(ledger.rows, work.name) or min(AUTO, max(lanes))
        with seated(setting, work, knee) as (_, step):
            for _ in range(WARM_UP):
                step()
            return {"lanes": knee, **profiled(step, setting.device)}

    return Point(f"profile/{work.name}", 20.0 + seconds_to_build(setting.sizes[work.size]), measure)


def knee_of(rows: Sequence[Row], work: str) -> int | None:
    """The fewest lanes that are as fast as any number of them; none where none were measured."""
    rates = {}
    for row in rows:
        found = re.fullmatch(rf"{re.escape(work)}/lanes-(\d+)", row.name)
        if found and "tokens_per_second" in row.values:
            rates[int(found[1])] = row.values["tokens_per_second"]
    return min((lanes for lanes, rate in rates.items() if rate >= KNEE * max(rates.values())), default=None)


def table(rows: Sequence[Row]) -> str:
    """Rates by work and way, then profiles."""
    rates = {row.name: row for row in rows if not row.name.startswith("profile/")}
    headings = ("model", "method", "rows x tokens", "way", "tokens/s", "of TRL", "step, ms", "GiB", "of peak")
    lines = [_line(name, row, rates) for name, row in rates.items()]
    profiles = [row for row in rows if row.name.startswith("profile/")]
    return "\n\n".join([markdown(headings, lines), *(_profile_table(row) for row in profiles)])


def _line(name: str, row: Row, rates: dict[str, Row]) -> list[object]:
    work, _, way = name.rpartition("/")
    values = row.values
    reason = outcome(values)
    if reason:
        return [*work.split("/"), way, reason, None, None, None, None]
    trl = rates.get(f"{work}/trl")
    ratio = values["tokens_per_second"] / trl.values["tokens_per_second"] if trl and not outcome(trl.values) else None
    if values["width"] not in {None, values["trials"]} or way == "lanes-auto":
        # As many as were found to pay, or to fit.
        way = f"{way} ({values['width']} in a forward)"
    share = f"{100 * values['share_of_peak']:.0f} %"
    faster = None if ratio is None else f"{ratio:.2f}x"
    return [
        *work.split("/"), way, values["tokens_per_second"], faster, values["step_ms"], values["peak_gib"], share,
    ]  # fmt: skip


def _profile_table(row: Row) -> str:
    reason = outcome(row.values)
    if reason:
        return f"{row.name}: {reason}"
    found = row.values
    head = (
        f"**{row.name.removeprefix('profile/')}, {found['lanes']} lanes**: a step of {found['step_ms']:.1f} ms, "
        f"{found['idle_share']:.0%} of it with nothing to do for the device; {found['launches']} launches and "
        f"{found['waits']} waits of the host a step."
    )
    if found.get("note_on_device"):
        head += f" {found['note_on_device']}"
    shares = sorted(found["classes"].items(), key=lambda item: -item[1]["ms"])
    lines = [[kind, one["ms"], f"{100 * one['share']:.0f} %", one["calls"], one["most"]] for kind, one in shares]
    return head + "\n\n" + markdown(("kernels", "ms a step", "share", "calls", "the largest"), lines)
