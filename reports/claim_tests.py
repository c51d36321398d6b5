"""One test for each of the field's claims."""

from reports import rates, wording
from reports.claim_evidence import Evidence, Finding, all_of, by_interval, equal_within, untold, within
from reports.statistics import Interval
from reports.summary import MethodSummary, alone
from sweep.record import TrialRecord
from sweep.spec import PeftSpec

MMLU, HUMANEVAL, GSM8K = "mmlu", "humaneval", "gsm8k"
CLOSE_ADAPTERS, CLOSE_TO_FULL = 0.003, 0.01
AHEAD_FROM, AHEAD_TO = 0.02, 0.03
LARGE_RANK = 32
FEW_FROM, FEW_TO = 0.001, 0.01
QUARTER_FROM, QUARTER_TO = 0.15, 0.35
TENFOLD_FROM, TENFOLD_TO = 5.0, 20.0
NEARLY_SAME = 2.0
VARIANTS_WITHIN = 0.02
ALL_LINEAR = "all-linear"
SEVEN_MODULES = frozenset({"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"})


def qlora_as_lora_on_mmlu(evidence: Evidence) -> Finding:
    """Equivalence within 0.3 points."""
    found = evidence.difference("qlora", "lora", MMLU)
    return untold(found) if isinstance(found, str) else equal_within(found, CLOSE_ADAPTERS)


def adapters_as_full_on_mmlu(evidence: Evidence) -> Finding:
    """Equivalence within 1 point, of both."""
    differences = (evidence.difference("lora", "full", MMLU), evidence.difference("qlora", "full", MMLU))
    return all_of([untold(one) if isinstance(one, str) else equal_within(one, CLOSE_TO_FULL) for one in differences])


def full_ahead_on_humaneval(evidence: Evidence) -> Finding:
    """A lead of 2-3 points where few modules are adapted; none of 2 or more where all are."""
    found = evidence.difference("full", "lora", HUMANEVAL)
    if isinstance(found, str):
        return untold(found)
    peft = _adapter(evidence.finalists["lora"])
    if peft is None or not _adapts_all(peft):
        return within(found, AHEAD_FROM, AHEAD_TO, margin_name="a lead of 2 to 3 points")
    opening = f"LoRA adapts all linear modules, so no lead of 2 points is claimed. {found.sentence}"
    if found.interval.high < AHEAD_FROM:
        return Finding("holds", f"{opening}: a lead of 2 points is ruled out.")
    if found.interval.low >= AHEAD_FROM:
        return Finding("does not hold", f"{opening}: full fine-tuning leads by 2 points or more all the same.")
    return Finding("cannot be told", f"{opening}: the interval leaves a lead of 2 points open.")


def lora_as_full_on_gsm8k(evidence: Evidence) -> Finding:
    """Equivalence within the study's margin, at a rank of 32 or more."""
    found = evidence.difference("lora", "full", GSM8K)
    if isinstance(found, str):
        return untold(found)
    peft = _adapter(evidence.finalists["lora"])
    rank = 0 if peft is None else peft.lora_r
    if rank < LARGE_RANK:
        return untold(f"the finalist of {found.one} has rank {rank}, below {LARGE_RANK}. {found.sentence}")
    margin = evidence.report.margins.get(found.contrast.metric, evidence.report.margin)
    return equal_within(found, margin)


def lora_trains_few_parameters(evidence: Evidence) -> Finding:
    """A count, without noise."""
    lora = evidence.finalists.get("lora")
    shares = [] if lora is None else [share for record in _complete(lora) if (share := _share(record)) is not None]
    best = None if lora is None or lora.records.best is None else _share(lora.records.best)
    if lora is None or best is None:
        return untold("this study has no lora method with a complete trial")
    text = f"{lora.name} trains {wording.percent(best)} of the parameters in its best trial"
    if len(set(shares)) > 1:
        text += f", {wording.percent(min(shares))} to {wording.percent(max(shares))} over its trials"
    return Finding("holds" if FEW_FROM <= best <= FEW_TO else "does not hold", f"{text} (counted, so without error).")


def qlora_saves_memory(evidence: Evidence) -> Finding:
    """The ratio of peak memory on a GPU, at equal batches and lengths."""
    lora, qlora = evidence.finalists.get("lora"), evidence.finalists.get("qlora")
    if lora is None or qlora is None:
        return untold("this takes both a lora and a qlora method with complete trials")
    peaks = [[_device_bytes(record) for record in alone(method.scored)] for method in (qlora, lora)]
    known = [[peak for peak in found if peak is not None] for found in peaks]
    if not all(known):
        return untold("the peak memory of a GPU was not recorded for both; that of a process on the host is no measure")
    unlike = _unlike_shapes(lora, qlora)
    if unlike:
        return untold(f"the finalists differ in {wording.listed(unlike)}, which weighs on memory too")
    ratios = [small / large for small in known[0] for large in known[1]]
    interval = Interval(min(ratios), max(ratios))

    def say(verdict: str) -> str:
        spread = f"{interval.low:.2f} to {interval.high:.2f} over their runs"
        return (
            f"{qlora.name} peaks at {wording.size(max(known[0]))} and {lora.name} at {wording.size(max(known[1]))}: "
            f"{spread}, {verdict} {QUARTER_FROM:g} to {QUARTER_TO:g}, taken as about a quarter."
        )

    return by_interval(interval, QUARTER_FROM, QUARTER_TO, say)


def lora_rate_is_tenfold(evidence: Evidence) -> Finding:
    """The ratio of the rates at which both searches were best."""
    lora, full = evidence.finalists.get("lora"), evidence.finalists.get("full")
    if lora is None or full is None:
        return untold("this takes both a lora and a full method with complete trials")
    tops = [rates.best_rate(evidence.searches[method.name]) for method in (lora, full)]
    reasons = [top for top in tops if isinstance(top, str)]
    if reasons:
        return untold("; ".join(reasons))
    one, other = (top for top in tops if not isinstance(top, str))
    found = rates.ratio(one, other)

    def say(verdict: str) -> str:
        return (
            f"Best rate of {lora.name} {wording.scientific(10**one.value)}, of {full.name} "
            f"{wording.scientific(10**other.value)}: {_times(found)}, {verdict} {TENFOLD_FROM:g} to {TENFOLD_TO:g} "
            "times, taken as about ten."
        )

    return by_interval(found.interval, TENFOLD_FROM, TENFOLD_TO, say)


def rate_does_not_move_with_rank(evidence: Evidence) -> Finding:
    """The best rate at the highest rank over that at the lowest."""
    lora = evidence.finalists.get("lora")
    if lora is None:
        return untold("this study has no lora method with a complete trial")
    found = rates.shift_with_rank(evidence.searches[lora.name])
    if isinstance(found, str):
        return untold(found)

    def say(verdict: str) -> str:
        return (
            f"Best rate of {lora.name} at its highest rank over that at its lowest: {_times(found)}, {verdict} "
            f"{1 / NEARLY_SAME:g} to {NEARLY_SAME:g} times, taken as nearly the same."
        )

    return by_interval(found.interval, 1 / NEARLY_SAME, NEARLY_SAME, say)


def variants_are_alike(evidence: Evidence) -> Finding:
    """Equivalence of every two lora methods within 2 % of the better score."""
    metric = evidence.summary.metric
    variants = [method for method in evidence.summary.methods if method.records.spec.kind == "lora"]
    scored = [method for method in variants if metric is not None and metric in method.scores]
    if metric is None or len(scored) < 2:  # noqa: PLR2004  (a comparison takes two)
        return untold("this takes two or more lora methods with scores, such as one with rsLoRA or DoRA")
    untuned = [method.name for method in scored if isinstance(rates.best_rate(evidence.searches[method.name]), str)]
    if untuned:
        return untold(f"the learning rate of {wording.listed(untuned)} was not searched around its best value")
    findings = []
    for place, one in enumerate(scored):
        for other in scored[place + 1 :]:
            found = evidence.between(one.name, other.name, metric)
            if found is None:
                return untold(f"{one.name} and {other.name} have no scores of single items to pair")
            findings.append(equal_within(found, VARIANTS_WITHIN * max(map(abs, found.contrast.scores))))
    return all_of(findings)


def _times(found: rates.Ratio) -> str:
    low, high = wording.number(found.interval.low), wording.number(found.interval.high)
    return f"{wording.number(found.value)} times, 95 % interval {low} to {high}"


def _adapter(method: MethodSummary) -> PeftSpec | None:
    best = method.records.best
    spec = None if best is None else best.config.method_spec
    return None if spec is None else spec.peft


def _adapts_all(peft: PeftSpec) -> bool:
    modules = peft.lora_target_modules
    return modules == ALL_LINEAR if isinstance(modules, str) else set(modules) >= SEVEN_MODULES


def _complete(method: MethodSummary) -> list[TrialRecord]:
    return [record for record in method.records.search if record.state == "COMPLETE"]


def _share(record: TrialRecord) -> float | None:
    training = record.training
    return None if training is None else training.trainable_parameters / training.total_parameters


def _device_bytes(record: TrialRecord) -> int | None:
    return None if record.memory is None else record.memory.device_bytes


def _unlike_shapes(one: MethodSummary, other: MethodSummary) -> list[str]:
    """Settings that decide how much memory activations take, where two finalists differ in them."""
    specs = [method.records.best.config.method_spec for method in (one, other) if method.records.best is not None]
    shapes = [
        {
            "the rows per forward pass": spec.training.micro_batch_size,
            "max_length": spec.training.max_length,
            "gradient_checkpointing": spec.training.gradient_checkpointing,
            "optim": spec.training.optim,
        }
        for spec in specs
        if spec is not None
    ]
    first, *rest = shapes
    return [name for name in first if any(shape[name] != first[name] for shape in rest)]
