"""The plan's estimate of memory against what torch's allocator had at most, for every method, alone and in lanes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from drawn_models import seconds_to_build, skeleton
from points import Ledger, Point, Row, Values, markdown, outcome
from setting import GIBIBYTE, LEARNED, Setting
from ways import Work, alone, together

from sweep.plan.inspect import shape_of
from sweep.plan.memory import estimate
from sweep.shape import ModelShape, RowLengths

TITLE = "Memory: the plan's estimate and the measured peak"
NOTE = (
    "Peaks of torch's allocator over a few steps, weights included; CUDA's own context and paged optimizer states are "
    "in neither column. The optimizer is `auto`. An estimate for K lanes is the weights once and the rest K times. "
    "Marks: within 10 % for 90 % of the points, and never more than 20 % low."
)
STEPS = 2
NEAR, LOW = 0.10, -0.20
"""Errors of the estimate, as shares of what was measured."""
SHARE_NEAR = 0.9


@dataclass(frozen=True)
class Case:
    """One config."""

    work: Work
    rank: int = 16
    checkpointed: bool = False
    lanes: int = 0
    """None: a trial that is trained alone."""

    @property
    def name(self) -> str:
        """Of its point."""
        kept = "/checkpointed" if self.checkpointed else ""
        way = f"lanes-{self.lanes}" if self.lanes else "alone"
        return f"{self.work.name}/r{self.rank}{kept}/{way}"


def cases(setting: Setting) -> Iterator[Case]:
    """One thing varied at a time around a middle one, for each model and method, and some corners."""
    if setting.tiny:
        for kind in ("lora", "qlora", "full"):
            yield Case(Work("1B", kind, 2, 16))  # type: ignore[arg-type]
        yield Case(Work("1B", "lora", 1, 16), lanes=2)
        return
    for size in ("1B", "0.5B", "8B", "3B"):
        for kind in ("lora", "qlora", "full"):
            if kind == "full" and size not in {"0.5B", "1B"}:
                continue
            middle = Case(Work(size, kind, 1, 512), rank=16)  # type: ignore[arg-type]
            yield middle
            for rows, tokens in ((4, 512), (1, 2048), (4, 256), (4, 1024)):
                yield replace(middle, work=replace(middle.work, rows=rows, tokens=tokens))
            large = replace(middle, work=replace(middle.work, rows=4, tokens=1024))
            yield replace(large, checkpointed=True)
            if kind == "full":
                continue
            yield replace(middle, rank=64)
            yield from (replace(middle, lanes=lanes) for lanes in (2, 4, 16))
            yield replace(large, lanes=4, checkpointed=True)
            yield replace(middle, rank=64, lanes=8)


def points(setting: Setting, ledger: Ledger) -> Iterator[Point]:
    """One for each case."""
    del ledger
    for case in cases(setting):
        tokens = max(1, case.lanes) * case.work.tokens_a_step * (STEPS + 4)
        spent = setting.seconds_of(case.work.size, case.work.kind, tokens)
        expected = 6.0 + seconds_to_build(setting.sizes[case.work.size]) + spent
        yield Point(case.name, expected, partial(_measured, setting, case))


def _measured(setting: Setting, case: Case) -> Values:
    work = case.work
    planned = expected_bytes(setting, case, shape_of(skeleton(setting.sizes[work.size])))
    settings = {"rank": case.rank, "gradient_checkpointing": case.checkpointed, "optim": "auto"}
    train = partial(together, lanes=case.lanes) if case.lanes else alone
    pace = train(setting, work, STEPS, **settings)
    values = {"planned_gib": planned / GIBIBYTE, "peak_gib": pace.peak_gib}
    if pace.peak_gib is None:
        return {**values, "note": "ran; memory of a device is counted on CUDA alone"}
    if case.lanes and pace.width != case.lanes:
        return {**values, "note": f"memory ran out, and {pace.width} lanes shared a forward"}
    return {**values, "error_share": planned / GIBIBYTE / pace.peak_gib - 1}


def expected_bytes(setting: Setting, case: Case, shape: ModelShape) -> float:
    """What the plan expects torch to count."""
    work = case.work
    method = work.method(steps=STEPS, rank=case.rank, gradient_checkpointing=case.checkpointed, optim="auto")
    learned = max(1, work.tokens // LEARNED)
    rows = 16 * work.rows
    lengths = RowLengths(rows, rows * work.tokens, work.tokens, rows * learned, learned)
    found = estimate(setting.spec, method, shape, lengths, "cuda")
    weights = found.parts["weights"].expected
    return weights + max(1, case.lanes) * (found.recorded.expected - weights)


def table(rows: Sequence[Row]) -> str:
    """Every point, and what the marks say."""
    lines = []
    for row in rows:
        found = row.values
        off = found.get("error_share")
        shown = outcome(found) if off is None else f"{100 * off:+.1f} %"
        lines.append([row.name.replace("/", " "), found.get("planned_gib"), found.get("peak_gib"), shown])
    return f"{_verdict(rows)}\n\n" + markdown(("config", "planned, GiB", "peak, GiB", "estimate is off by"), lines)


def _verdict(rows: Sequence[Row]) -> str:
    errors = [row.values["error_share"] for row in rows if "error_share" in row.values]
    if not errors:
        return "No peak was measured."
    near = sum(abs(error) <= NEAR for error in errors) / len(errors)
    holds = near >= SHARE_NEAR and min(errors) >= LOW
    return (
        f"{100 * near:.0f} % of {len(errors)} estimates are within {100 * NEAR:.0f} %; the lowest is off by "
        f"{100 * min(errors):+.1f} %, the highest by {100 * max(errors):+.1f} %: the marks are "
        f"{'met' if holds else 'missed'}."
    )
