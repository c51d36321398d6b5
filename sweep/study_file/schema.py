"""What a person may write in a study file, which is less than a StudySpec holds, and its JSON schema for editors.

A file may leave out a method's kind and most of its keys, list methods by name alone, and name a task by a word. The
models here describe the file after `study_short_forms` has written the words out.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from evals.spec import QuantizationSpec, Spec
from sweep.spec import MethodKind, Name, PeftSpec, StudySpec, TrainingSpec

METHOD_KINDS: tuple[MethodKind, ...] = ("lora", "qlora", "full")


class WrittenMethod(Spec):
    """One way to fine-tune, under comparison with the others."""

    kind: MethodKind | None = None
    """What is trained; a method named lora, qlora or full need not say it."""
    peft: PeftSpec | None = None
    """The adapter; none for full fine-tuning."""
    load_in_4bit: bool | None = None
    """Keep the frozen base in 4 bits; always so for qlora."""
    quantization: QuantizationSpec | None = None
    """How the 4-bit base is quantized; none where it is not."""
    training: TrainingSpec = TrainingSpec()
    """This method's own training settings, put over the study's."""


class WrittenStudy(StudySpec):
    """A study file: which model, which data, which methods, and how they are compared."""

    methods: Mapping[Name, WrittenMethod] = Field(min_length=1)  # type: ignore[assignment] # a file may say less
    """The methods under comparison: a list of names, or a mapping from names to settings."""


Schema = dict[str, Any]
"""A JSON schema is nested JSON: pydantic types it no further."""


def json_schema() -> dict[str, object]:
    """JSON schema (draft 2020-12) of a study file, short forms included, for completion and checks in an editor."""
    schema: Schema = WrittenStudy.model_json_schema()
    sections, definitions = schema["properties"], schema["$defs"]
    sections["methods"] = _list_or_mapping(sections["methods"])
    own_training = definitions["WrittenMethod"]["properties"]["training"]
    del own_training["default"]  # the study's training settings, not TrainingSpec's
    sections_of_defaults = [section for section in sections.values() if "$ref" in section and "default" in section]
    for section in (*sections_of_defaults, own_training):
        section["anyOf"] = [{"$ref": section.pop("$ref")}, {"type": "null"}]
    for phase in ("search", "confirm"):
        tasks = definitions["EvaluationSpec"]["properties"][phase]
        tasks["items"] = {"anyOf": [tasks["items"], {"type": "string"}]}
    # pydantic leaves the bound of a union of numbers in its own words.
    definitions["Dimension"]["properties"]["step"] = {
        **{key: definitions["Dimension"]["properties"]["step"][key] for key in ("default", "description", "title")},
        "anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "null"}],
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "A finetune-sweep study"}


def _list_or_mapping(methods: Schema) -> Schema:
    """Allow a list of kinds, and in a mapping a name with nothing behind it."""
    mapping = {
        "type": "object",
        "minProperties": 1,
        "patternProperties": {
            pattern: {"anyOf": [method, {"type": "null"}]} for pattern, method in methods["patternProperties"].items()
        },
        "additionalProperties": False,
    }
    names = {"type": "array", "items": {"enum": list(METHOD_KINDS)}, "minItems": 1, "uniqueItems": True}
    return {"title": methods["title"], "description": methods["description"], "anyOf": [mapping, names]}
