"""Write short forms out, and fill what a file leaves unsaid.

Defaults that depend on the method live here: its kind, its adapter, its learning rate, what is searched. All become
explicit, so that the dumped study shows what was run and reads back as the same study.
"""

from collections.abc import Mapping

from evals.spec import QuantizationSpec
from sweep.rungs import COMPARABLE, horizon
from sweep.spec import Dimension, MethodKind, MethodSpec, PeftSpec, StudySpec, TrainingSpec
from sweep.study_file.document import Document
from sweep.study_file.schema import METHOD_KINDS, WrittenMethod, WrittenStudy

ADAPTER_KINDS: frozenset[MethodKind] = frozenset({"lora", "qlora"})

_LEARNING_RATE: Mapping[MethodKind, float] = {"lora": 2e-4, "qlora": 2e-4, "full": 2e-5}
_LEARNING_RATES: Mapping[MethodKind, Dimension] = {
    "lora": Dimension(min=5e-5, max=1e-3, log=True),
    "qlora": Dimension(min=5e-5, max=1e-3, log=True),
    "full": Dimension(min=5e-6, max=1e-4, log=True),
}
_RANKS = Dimension(values=(8, 16, 32, 64))

_SECTIONS = ("model", "data", "training", "starting_points", "evaluation", "objective", "budget", "sampler", "pruner")
"""Sections whose key may stand alone."""


def expand(document: Document) -> None:
    """Write short forms out in place: methods and tasks by name alone, and sections left empty."""
    study = document.value
    for section in (*_SECTIONS, "tracking", "report"):
        if section in study and study[section] is None:
            study[section] = {}
    if "search_space" in study and study["search_space"] is None:
        del study["search_space"]
    _expand_methods(document)
    _expand_tasks(study.get("evaluation"))


def _expand_methods(document: Document) -> None:
    methods = document.value.get("methods")
    if isinstance(methods, list) and methods:
        methods = document.value["methods"] = _named_methods(document, methods)
    if isinstance(methods, dict):
        for name, method in methods.items():
            if method is None:
                methods[name] = {}
            elif isinstance(method, dict) and "training" in method and method["training"] is None:
                method["training"] = {}


def _named_methods(document: Document, names: list[object]) -> dict[str, object]:
    methods: dict[str, object] = {}
    for index, name in enumerate(names):
        place = ("methods", index)
        if not isinstance(name, str):
            message = "a list of methods holds names only. Write methods as a mapping to give them settings."
            document.problems.append(document.problem(place, message))
        elif name in methods:
            document.problems.append(document.problem(place, f"method {name!r} is listed twice."))
        else:
            document.origins["methods", name] = document.origin(place)
            methods[name] = {}
    return methods


def _expand_tasks(evaluation: object) -> None:
    if not isinstance(evaluation, dict):
        return
    if "scoring" in evaluation and evaluation["scoring"] is None:
        evaluation["scoring"] = {}
    for phase in ("search", "confirm"):
        tasks = evaluation.get(phase)
        if isinstance(tasks, list):
            evaluation[phase] = [{"task": task} if isinstance(task, str) else task for task in tasks]


def kind_of(name: str, method: WrittenMethod) -> MethodKind | None:
    """The method's kind: as it says, as it is named, or as its keys give away; None where nothing tells."""
    named: MethodKind | None = next((kind for kind in METHOD_KINDS if kind == name), None)
    if method.kind is not None or named is not None:
        return method.kind or named
    if method.load_in_4bit or method.quantization is not None:
        return "qlora"
    return "lora" if method.peft is not None else None


def fill(written: WrittenStudy) -> StudySpec:
    """Fill every default in. A method whose kind cannot be told counts as full; a rule complains about it."""
    methods = {name: _fill_method(name, method, written.training) for name, method in written.methods.items()}
    given = {name: getattr(written, name) for name in StudySpec.model_fields}
    space = written.search_space if "search_space" in written.model_fields_set else default_space(methods)
    filled = StudySpec.model_validate({**given, "methods": methods, "search_space": space})
    return _with_comparable_schedules(written, filled)


def default_space(methods: Mapping[str, MethodSpec]) -> dict[str, Dimension]:
    """What is searched where a study does not say: each method's learning rate and, for adapters, rank."""
    space: dict[str, Dimension] = {}
    for name, method in methods.items():
        space[f"methods.{name}.training.learning_rate"] = _LEARNING_RATES[method.kind]
        if method.kind in ADAPTER_KINDS:
            space[f"methods.{name}.peft.lora_r"] = _RANKS
    return space


def _with_comparable_schedules(written: WrittenStudy, filled: StudySpec) -> StudySpec:
    """Where a pruner is asked for and lengths are searched, unnamed schedules become one that it can compare."""
    if "pruner" not in written.model_fields_set or filled.pruner.name == "none":
        return filled
    named = {"lr_scheduler_type", "lr_scheduler_kwargs"}
    methods = {
        name: method.model_copy(
            update={"training": method.training.model_copy(update={"lr_scheduler_type": COMPARABLE})}
        )
        for name, method in filled.methods.items()
        if horizon(filled, name) is not None
        and not named & (written.training.model_fields_set | written.methods[name].training.model_fields_set)
    }
    return filled.model_copy(update={"methods": {**filled.methods, **methods}})


def _fill_method(name: str, method: WrittenMethod, shared: TrainingSpec) -> MethodSpec:
    kind = kind_of(name, method) or "full"
    own = method.training.model_dump(exclude_unset=True)
    training = {"learning_rate": _LEARNING_RATE[kind], **shared.model_dump(exclude_unset=True), **own}
    return MethodSpec(
        kind=kind,
        peft=(method.peft or PeftSpec()) if kind in ADAPTER_KINDS else None,
        load_in_4bit=kind == "qlora",
        quantization=(method.quantization or QuantizationSpec()) if kind == "qlora" else None,
        training=TrainingSpec.model_validate(training),
    )
