"""Which keys a study may search: what a dotted name stands for, or why trials may not differ in it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ValidationError

from evals.spec import QuantizationSpec
from sweep.spec import Dimension, MethodKind, ParamValue, PeftSpec, StudySpec, TrainingSpec
from sweep.study_file.document import Place
from sweep.study_file.fill import ADAPTER_KINDS
from sweep.study_file.names import advice, meanings, nearest

_SECTIONS: Mapping[str, tuple[type[BaseModel], frozenset[MethodKind], str]] = {
    "training": (TrainingSpec, frozenset({"lora", "qlora", "full"}), ""),
    "peft": (PeftSpec, ADAPTER_KINDS, "full fine-tuning has no adapter"),
    "quantization": (QuantizationSpec, frozenset({"qlora"}), "only qlora has a quantized base"),
}
"""Sections of a method that can be searched, the kinds that have them, and why the others do not."""

_FIXED: Mapping[str, str] = {
    "max_length": "every method and trial reads the same rows",
    "completion_only_loss": "losses over different tokens cannot be compared",
    "validations": "the pruner compares trials at the same rungs",
    "validation_rows": "losses over different rows cannot be compared",
    "horizon": "the pruner compares trials at the same rungs",
    "num_processes": "workers are given as many devices as a method needs before its trials are known",
}
"""Training keys that have one value in a study, and why."""

_OTHER_METHODS = frozenset({"kind", "load_in_4bit"})
_ARGUMENTS = "lr_scheduler_kwargs"


@dataclass(frozen=True, slots=True)
class SearchedKey:
    """A searched key taken apart."""

    methods: tuple[str, ...]
    """Methods that it applies to."""
    section: str
    """Section of a method."""
    field: str
    """A key of the section, or of its schedule arguments."""

    @property
    def place(self) -> Place:
        """A place that has the key's type and bounds."""
        return ("methods", "", self.section, *self.field.split("."))

    @property
    def is_float(self) -> bool:
        """Whether the key takes any number between two others."""
        field = _SECTIONS[self.section][0].model_fields.get(self.field)
        return field is not None and field.annotation is float

    def takes(self, value: ParamValue) -> bool:
        """Whether the key may have this value."""
        name, _, argument = self.field.partition(".")
        content = {name: {argument: value} if argument else value}
        try:
            _SECTIONS[self.section][0].model_validate_json(json.dumps(content), strict=True)
        except ValidationError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a key cannot be searched."""

    message: str
    depends: tuple[Place, ...] = ()
    """Places that the refusal rests on."""


def take_apart(spec: StudySpec, key: str) -> SearchedKey | Refusal:
    """What a searched key stands for."""
    first = key.partition(".")[0]
    method = max((name for name in spec.methods if key.startswith(f"methods.{name}.")), key=len, default=None)
    if method is not None:
        return _within_method(spec, key, key.removeprefix(f"methods.{method}."), (method,))
    if first == "methods":
        return _unknown_method(spec, key)
    if first == "training":
        # A method's own search of the same key goes before this one.
        methods = tuple(name for name in spec.methods if f"methods.{name}.{key}" not in spec.search_space)
        return _within_method(spec, key, key, methods)
    if first in StudySpec.model_fields:
        return Refusal(f"{key} cannot be searched: trials that differ in it could not be compared.")
    return _unknown_key(spec, key)


def dimensions_of(spec: StudySpec, method: str) -> dict[str, Dimension]:
    """Searched keys that apply to a method."""
    taken = {key: take_apart(spec, key) for key in spec.search_space}
    return {
        key: spec.search_space[key]
        for key, searched in taken.items()
        if isinstance(searched, SearchedKey) and method in searched.methods
    }


def _within_method(spec: StudySpec, key: str, inner: str, methods: tuple[str, ...]) -> SearchedKey | Refusal:
    section, _, field = inner.partition(".")
    if section in _OTHER_METHODS:
        return Refusal(f"{key} cannot be searched: it makes another method; list that one under methods.")
    if section not in _SECTIONS or not _has_field(section, field):
        return _unknown_key(spec, key)
    if field in _FIXED:
        return Refusal(f"{key} cannot be searched: {_FIXED[field]}.")
    _, kinds, why = _SECTIONS[section]
    for name in methods:
        if spec.methods[name].kind not in kinds:
            return Refusal(f"{key} cannot be searched: {why}.", (("methods", name, "kind"),))
    return SearchedKey(methods, section, field)


def _has_field(section: str, field: str) -> bool:
    name, _, argument = field.partition(".")
    if name == _ARGUMENTS:
        return bool(argument) and "." not in argument
    return not argument and name in _SECTIONS[section][0].model_fields


def _unknown_method(spec: StudySpec, key: str) -> Refusal:
    _, name, *rest = (*key.split("."), "")
    near = nearest(name, spec.methods)
    listed = f"Methods: {', '.join(spec.methods)}."
    hint = f"Did you mean {'.'.join(['methods', near, *rest]).rstrip('.')!r}?" if near else listed
    return Refusal(f"search dimension {key!r} names no method of this study. {hint}", (("methods", name),))


def _unknown_key(spec: StudySpec, key: str) -> Refusal:
    *parents, last = key.split(".")
    if (said := advice(last)) is not None:
        return Refusal(f"unknown search dimension {key!r}. {said}")
    known = _searchable(spec)
    meant = [name for name in known for meaning in meanings(last) if name.endswith(f".{meaning}")]
    # Of several places for a key, the one nearest to what was written around it.
    near = nearest(".".join([*parents, meanings(last)[-1]]), meant, cutoff=0.0) or nearest(key, known)
    allowed = "Allowed: training.KEY, methods.NAME.training.KEY, methods.NAME.peft.KEY."
    return Refusal(f"unknown search dimension {key!r}. {f'Did you mean {near!r}?' if near else allowed}")


def _searchable(spec: StudySpec) -> list[str]:
    names = [f"training.{field}" for field in TrainingSpec.model_fields if field not in {*_FIXED, _ARGUMENTS}]
    for method, written in spec.methods.items():
        for section, (model, kinds, _) in _SECTIONS.items():
            fields = model.model_fields if written.kind in kinds else {}
            names += [f"methods.{method}.{section}.{field}" for field in fields if field not in {*_FIXED, _ARGUMENTS}]
    return names
