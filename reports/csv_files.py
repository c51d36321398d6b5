"""Tables as CSV for other programs.

A spreadsheet runs a cell that begins like a formula, and cells hold what models and users wrote: such texts get an
apostrophe in front, and within a text too where a spreadsheet that divides at semicolons or tabs would begin a cell.
Numbers stay numbers, negative ones too.
"""

import io
import re
from collections.abc import Mapping, Sequence

import pandas as pd

from reports.costs import Cost
from reports.statistics import Estimate
from reports.summary import Summary
from reports.verdict import Verdict
from reports.wording import visible
from sweep.spec import ReportSpec

# With the full-width forms, which some spreadsheets read as the plain ones.
FORMULA_STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
WITHIN = re.compile(rf"([;\t\n]\s*)(?=[{re.escape(''.join(FORMULA_STARTS))}])")


def to_csv(table: pd.DataFrame) -> str:
    """The table as CSV text, the same on every system."""
    safe = table.rename(columns=defuse).map(defuse)
    stream = io.StringIO()
    safe.to_csv(stream, index=False, lineterminator="\n")
    return stream.getvalue()


def defuse(value: object) -> object:
    """The value, a text that a spreadsheet would run made harmless."""
    if not isinstance(value, str):
        return value
    shown = visible(value)
    is_formula = shown.strip().startswith(FORMULA_STARTS) or shown.startswith("\t")
    return ("'" if is_formula else "") + WITHIN.sub(r"\1'", shown)


def methods_table(summary: Summary) -> pd.DataFrame:
    """One row a method and metric, the base model and the best constant answer among them, unrounded."""
    named = [("base model", summary.baseline), ("best constant answer", summary.constant)]
    rows = [_row(name, metric, scores, {}) for name, scores in named for metric in scores]
    for method in summary.methods:
        costs = {
            "train_seconds": method.train_seconds,
            "peak_memory_bytes": method.peak_memory_bytes,
            "trainable_share": method.trainable_share,
            "tokens_per_second": method.tokens_per_second,
            "checkpoint_bytes": method.checkpoint_bytes,
        }
        rows += [_row(method.name, metric, method.scores, costs) for metric in method.scores]
    columns = [
        *(
            "method",
            "metric",
            "split",
            "value",
            "item_stderr",
            "seed_sd",
            "seeds",
            "items",
            "groups",
            "low_95",
            "high_95",
        ),
        "interval",
        *("train_seconds", "peak_memory_bytes", "trainable_share", "tokens_per_second", "checkpoint_bytes"),
    ]
    return pd.DataFrame(rows, columns=columns).assign(split=summary.split)


COST_COLUMNS = (
    *("method", "train_seconds", "train_price", "currency", "peak_memory_bytes", "memory_of", "trainable_share"),
    *("tokens_per_second", "checkpoint_bytes", "training_flops", "energy_joules", "search_trials"),
    *("search_device_seconds", "search_price", "search_tokens", "search_energy_joules"),
)


def costs_table(found: Sequence[Cost], summary: Summary, report: ReportSpec) -> pd.DataFrame:
    """One row a method: what one run of it takes, and what its search took. Empty where it is not known."""
    rows = [
        {
            "method": cost.name,
            "train_seconds": cost.train_seconds,
            "train_price": cost.price,
            "currency": None if report.price_per_hour is None else report.currency,
            "peak_memory_bytes": cost.peak_memory_bytes,
            "memory_of": "GPU" if summary.on_device else "host",
            "trainable_share": cost.trainable_share,
            "tokens_per_second": cost.tokens_per_second,
            "checkpoint_bytes": cost.saved_bytes,
            "training_flops": cost.training_flops,
            "energy_joules": cost.energy_joules,
            "search_trials": cost.trials,
            "search_device_seconds": cost.search_seconds,
            "search_price": cost.search_price,
            "search_tokens": cost.search_tokens,
            "search_energy_joules": cost.search_energy_joules,
        }
        for cost in found
    ]
    return pd.DataFrame(rows, columns=list(COST_COLUMNS))


VERDICT_COLUMNS = (
    *("metric", "part_of", "first", "second", "outcome", "headline", "score_first", "score_second", "difference"),
    *("low_95", "high_95", "p", "p_corrected", "correction", "family", "test", "margin", "p_equivalence"),
    *("p_non_inferiority", "item_stderr", "seed_stderr", "seed_noise", "items", "groups", "seeds_first"),
    *("seeds_second", "unpaired_first", "unpaired_second", "detectable", "items_needed", "seeds_needed", "sentence"),
)


def verdicts_table(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """One row a contrast, unrounded."""
    return pd.DataFrame([verdict_row(verdict) for verdict in verdicts], columns=list(VERDICT_COLUMNS))


def verdict_row(verdict: Verdict) -> dict[str, object]:
    """A verdict as plain values."""
    one = verdict.contrast
    return {
        "metric": one.metric,
        "part_of": one.part_of,
        "first": one.one,
        "second": one.other,
        "outcome": verdict.outcome,
        "headline": verdict.is_headline,
        "score_first": one.scores[0],
        "score_second": one.scores[1],
        "difference": one.difference,
        "low_95": one.interval.low,
        "high_95": one.interval.high,
        "p": one.p_value,
        "p_corrected": verdict.adjusted_p_value,
        "correction": verdict.correction,
        "family": verdict.family,
        "test": one.test,
        "margin": verdict.margin,
        "p_equivalence": verdict.equivalence_p_value,
        "p_non_inferiority": verdict.non_inferiority_p_value,
        "item_stderr": one.item_stderr,
        "seed_stderr": one.seed_stderr,
        "seed_noise": one.seed_noise,
        "items": one.items,
        "groups": one.clusters,
        "seeds_first": one.seeds[0],
        "seeds_second": one.seeds[1],
        "unpaired_first": one.unpaired[0],
        "unpaired_second": one.unpaired[1],
        "detectable": verdict.detectable,
        "items_needed": verdict.items_needed,
        "seeds_needed": verdict.seeds_needed,
        "sentence": verdict.sentence,
    }


def _row(name: str, metric: str, scores: Mapping[str, Estimate], costs: Mapping[str, object]) -> dict[str, object]:
    found = scores[metric]
    return {
        "method": name,
        "metric": metric,
        "value": found.value,
        "item_stderr": found.item_stderr,
        "seed_sd": found.seed_sd,
        "seeds": found.seeds,
        "items": found.items,
        "groups": found.groups,
        "low_95": None if found.interval is None else found.interval.low,
        "high_95": None if found.interval is None else found.interval.high,
        "interval": found.kind,
        **costs,
    }
