"""What the field says of fine-tuning methods, put to the test on this study.

Each claim holds, does not hold, or cannot be told, with the numbers that say so. A claim that two methods are as good
holds only where the whole 95 % interval lies within the margin that the claim names; a difference that is not found is
no proof. Each claim is tested by itself: of twenty true ones, expect one to be called false.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reports import claim_tests as tests
from reports import wording
from reports.claim_evidence import Evidence, Finding, gather_evidence
from reports.contrast import Contrast
from reports.document import Block, Column, Paragraph, Table
from reports.gather import Gathered
from reports.summary import Summary


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim of the field."""

    text: str
    source: str
    test: Callable[[Evidence], Finding]


LORA, QLORA = "LoRA (arXiv 2106.09685)", "QLoRA (arXiv 2305.14314)"
LEARNS_LESS = "LoRA Learns Less and Forgets Less (arXiv 2405.09673)"
WITHOUT_REGRET = "LoRA Without Regret (Thinking Machines Lab, 2025)"
LEARNING_RATES = "arXiv 2602.04998"
GUIDES = "practitioners' guides"

CLAIMS: Sequence[Claim] = (
    Claim("QLoRA is within 0.3 points of LoRA on MMLU", f"{GUIDES}; compare {QLORA}", tests.qlora_as_lora_on_mmlu),
    Claim(
        "LoRA and QLoRA are within 1 point of full fine-tuning on MMLU",
        f"{GUIDES}; compare {QLORA}",
        tests.adapters_as_full_on_mmlu,
    ),
    Claim(
        "full fine-tuning is 2-3 points ahead on HumanEval, unless LoRA adapts all seven linear modules",
        f"{GUIDES}; compare {LEARNS_LESS}",
        tests.full_ahead_on_humaneval,
    ),
    Claim(
        "LoRA of rank 32 and up does not differ from full fine-tuning on GSM8K",
        f"{GUIDES}; compare {WITHOUT_REGRET}",
        tests.lora_as_full_on_gsm8k,
    ),
    Claim("LoRA trains 0.1-1 % of the parameters", f"{GUIDES}; compare {LORA}", tests.lora_trains_few_parameters),
    Claim("QLoRA needs about a quarter of LoRA's memory", f"{GUIDES}; compare {QLORA}", tests.qlora_saves_memory),
    Claim(
        "LoRA's best learning rate is about ten times that of full fine-tuning",
        WITHOUT_REGRET,
        tests.lora_rate_is_tenfold,
    ),
    Claim(
        "LoRA's best learning rate is nearly independent of its rank",
        WITHOUT_REGRET,
        tests.rate_does_not_move_with_rank,
    ),
    Claim("LoRA variants end within 2 % of each other once tuned", LEARNING_RATES, tests.variants_are_alike),
)


SEVERAL = {"holds": "hold", "does not hold": "do not hold", "cannot be told": "cannot be told"}
"""Outcomes, and how they are said of several claims or none."""


def claim_blocks(gathered: Gathered, summary: Summary, contrasts: Sequence[Contrast]) -> list[Block]:
    """Every claim with what this study says of it; nothing before a method was searched."""
    if not any(method.search for method in gathered.methods):
        return []
    evidence = gather_evidence(gathered, summary, contrasts)
    found = [(claim, claim.test(evidence)) for claim in CLAIMS]
    counted = [_counted(sum(finding.outcome == outcome for _, finding in found), outcome) for outcome in SEVERAL]
    opening = f"Of {len(found)} claims of the field, {wording.listed(counted)} on these data."
    rows = [[claim.text, finding.outcome, finding.text, claim.source] for claim, finding in found]
    columns = [Column("claim"), Column("on these data"), Column("because"), Column("said by")]
    caption = (
        "A claim that two methods are as good holds only where the whole 95 % interval of their paired difference lies "
        "within the claim's margin. Claims are tested one by one, without correction for their number."
    )
    return [Paragraph(opening), Table(columns, rows, caption, stacks=True)]


def _counted(count: int, outcome: str) -> str:
    return f"{count} {outcome if count == 1 else SEVERAL[outcome]}"
