"""Read a study file into a StudySpec with every default filled in, or say everything that is wrong with it at once.

YAML with lines → short forms → overrides → values → defaults → rules. Nothing here imports torch.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from sweep.errors import Problem, StudyFileError
from sweep.spec import StudySpec
from sweep.study_file import answer_rules, budget_rules, judge_rules, method_rules, rules, search_rules
from sweep.study_file.document import Document, read
from sweep.study_file.fill import expand, fill
from sweep.study_file.overrides import apply_override
from sweep.study_file.schema import WrittenStudy, json_schema
from sweep.study_file.validation import Finding, Validated, validate

__all__ = ["json_schema", "load"]

_RULES = (
    *rules.RULES,
    *answer_rules.RULES,
    *judge_rules.RULES,
    *budget_rules.RULES,
    *method_rules.RULES,
    *search_rules.RULES,
)


def load(
    path: Path, overrides: Sequence[str] = (), *, data_root: Path | None = None, check_files: bool = True
) -> StudySpec:
    """Read a study file, `a.b=c` overrides put over it. Raises StudyFileError with every problem.

    Data files are looked for in `data_root`, without it beside the study file, and not at all unless `check_files`.
    """
    document = read(path)
    expand(document)
    for override in overrides:
        apply_override(document, override)
        expand(document)
    validated = validate(document)
    spec = _checked(document, validated, (data_root or path.parent) if check_files else None)
    if spec is None or document.problems:
        raise StudyFileError(_in_order(document.problems))
    return spec


def _checked(document: Document, validated: Validated, data_root: Path | None) -> StudySpec | None:
    """Fill defaults in and add the rules' problems to the document."""
    written = validated.study
    if written is None:
        return None
    kindless = list(method_rules.methods_have_kinds(written))
    _report(document, validated, kindless)
    validated = Validated(written, validated.broken | {finding.place for finding in kindless})
    spec = fill(written)
    _report(document, validated, _findings(written, spec, data_root))
    return spec


def _findings(written: WrittenStudy, spec: StudySpec, data_root: Path | None) -> Iterator[Finding]:
    for rule in _RULES:
        yield from rule(written, spec)
    if data_root is not None:
        yield from rules.files_are_the_studys(spec, data_root)
        yield from rules.data_files(spec, data_root)
        yield from answer_rules.grading_files(spec, data_root)
        yield from budget_rules.general_text_file(spec, data_root)


def _report(document: Document, validated: Validated, findings: Iterator[Finding] | Sequence[Finding]) -> None:
    document.problems.extend(
        document.problem(finding.place, finding.message)
        for finding in findings
        if not validated.rests_on_broken(finding)
    )


def _in_order(problems: Sequence[Problem]) -> list[Problem]:
    """Each problem once, by line; those of overrides last."""
    return sorted(dict.fromkeys(problems), key=lambda problem: (problem.line is None, problem.line or 0))
