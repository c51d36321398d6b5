"""What goes into a trial, and how it trained: config, data, machine, weights and losses, recorded and now."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from evals.outside import parse_json
from sweep.record import TrainingResult, TrialRecord
from sweep.rerun.comparison import Row, equality, short

HARDWARE = ("cpu", "cores", "memory", "gpu", "driver", "platform")
ROUNDING = 1e-3
"""Relative difference of two losses that another order of the same sums can make over a short training."""
ROUNDED_OTHERWISE = 3.05
"""Ratio of two distances between loss curves that chance exceeds once in twenty, if each distance is as good as three
independent draws: the root of the F distribution's 95 % point with 3 and 3 degrees of freedom. Steps of one training
are far from independent."""


def config_rows(recorded: TrialRecord, now: TrialRecord, edits: list[str]) -> Iterator[Row]:
    """Whether the same work was asked for."""
    why = f"config.yaml was changed since: {', '.join(edits)}" if edits else "recorded by another version, or changed"
    yield equality("config", "fingerprint", short(recorded.config_fingerprint), short(now.config_fingerprint), why=why)


def data_rows(recorded: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Row]:
    """Whether every split holds the same rows."""
    for split in dict.fromkeys([*recorded, *now]):
        yield equality("data", split, short(recorded.get(split)), short(now.get(split)), why="other rows")


def question_rows(recorded: TrialRecord, now: TrialRecord) -> Iterator[Row]:
    """Whether every task asked the same items."""
    then = {} if recorded.evaluation is None else recorded.evaluation.doc_sha256
    found = {} if now.evaluation is None else now.evaluation.doc_sha256
    for task in (task for task in then if task in found):
        yield equality("data", f"{task} items", short(then[task]), short(found[task]), why="other questions")


def machine_rows(recorded: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Row]:
    """What hardware and versions differ; one line where none does."""
    for part, names in (
        ("hardware", [name for name in HARDWARE if name in recorded or name in now]),
        ("versions", sorted((recorded.keys() | now.keys()) - set(HARDWARE))),
    ):
        differing = [name for name in names if recorded.get(name) != now.get(name)]
        if not differing:
            yield Row(part, f"all {len(names)}", "", "", "same")
        for name in differing:
            yield equality(part, name, recorded.get(name), now.get(name))


def training_rows(  # noqa: PLR0913
    recorded: TrialRecord, now: TrialRecord, then_steps: Path, now_steps: Path, *, aside: Path | None, decides: bool
) -> Iterator[Row]:
    """Weights before and after, and losses step by step. They decide where nothing was scored.

    `aside` has the losses of the same training rounded otherwise.
    """
    before, after = recorded.training, now.training
    if before is not None and after is not None:
        shared = recorded.sharing is not None and now.sharing is None
        yield from _weight_rows(before, after, shared=shared)
    for key, name in (("loss", "training loss"), ("validation_loss", "validation loss")):
        then, found = read_losses(then_steps, key), read_losses(now_steps, key)
        if then.values or found.values:
            rounded = None if aside is None else read_losses(aside, key)
            yield _losses_row(name, then, found, rounded, decides=decides)


def _weight_rows(before: TrainingResult, after: TrainingResult, *, shared: bool) -> Iterator[Row]:
    end = "not the same bit by bit"
    reason = before.nondeterminism or after.nondeterminism
    if shared:
        end += ": it was trained beside other trials then and alone now, which rounds otherwise"
    elif reason is not None:
        end += f": {reason}"
    yield equality("training", "optimizer steps", before.optimizer_steps, after.optimizer_steps)
    for name, then, found, why in (
        ("weights at the start", before.initial_sha256, after.initial_sha256, "another start"),
        ("weights at the end", before.final_sha256, after.final_sha256, end),
    ):
        yield equality("training", name, short(then), short(found), why=why)


@dataclass(frozen=True, slots=True)
class Losses:
    """Losses by optimizer step."""

    values: Mapping[int, float]

    def __str__(self) -> str:
        if not self.values:
            return "none"
        return f"{self.values[max(self.values)]:.6g} after {max(self.values)}"


def read_losses(steps: Path, key: str) -> Losses:
    """One kind of loss from a `steps.jsonl`; empty where that is missing."""
    found: dict[int, float] = {}
    if steps.is_file():
        for line in steps.read_text("utf-8", errors="replace").splitlines():
            try:
                values = parse_json(line)
                if key in values:
                    found[int(values["step"])] = math.nan if values[key] is None else float(values[key])
            except (ValueError, TypeError, KeyError, OverflowError):
                continue
    return Losses(found)


def _losses_row(name: str, then: Losses, found: Losses, rounded: Losses | None, *, decides: bool) -> Row:
    shared = sorted(then.values.keys() & found.values.keys())
    parted = [step for step in shared if not _is_same(then.values[step], found.values[step])]
    row = ("training", name, str(then), str(found))
    if then.values.keys() != found.values.keys():
        why = f"{len(then.values)} steps were recorded, and {len(found.values)} are there now"
        return Row(*row, "differs", why, decides=decides)
    if not parted:
        return Row(*row, "same", f"equal at each of {len(shared)} steps", decides=decides)
    largest = max(abs(found.values[step] - then.values[step]) for step in parted)
    relative = max(
        abs(found.values[step] / then.values[step] - 1) if then.values[step] else math.inf for step in parted
    )
    why = f"from step {parted[0]} on, by at most {largest:.2g}"
    if relative <= ROUNDING:
        return Row(*row, "within noise", f"{why}, as rounding makes it", decides=decides)
    if rounded is not None and rounded.values.keys() == found.values.keys():
        moved, carried = _distance(found, then), _distance(found, rounded)
        why += f"; root mean square {moved:.2g}, and {carried:.2g} with its rows packed otherwise"
        if moved <= ROUNDED_OTHERWISE * carried:
            return Row(*row, "within noise", why, decides=decides)
    return Row(*row, "differs", why, decides=decides)


def _distance(one: Losses, other: Losses) -> float:
    """Root mean square of the differences of losses at the same steps."""
    return math.sqrt(fmean((one.values[step] - other.values[step]) ** 2 for step in one.values))


def _is_same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))
