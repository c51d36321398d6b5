"""The JSON schema of `report.json` (draft 2020-12), made from the types that are written.

The schemas lie in the package as files, for programs in any language: `reports/schemas/report-1.json` and
`combined-1.json`, where the number is `schema_version` in what they describe. New fields may come at any time, so that
what a schema does not name is allowed.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from reports.combined import CombinedReport
from reports.fields import Report

SCHEMAS = Path(__file__).with_name("schemas")
DIALECT = "https://json-schema.org/draft/2020-12/schema"
NO_NUMBERS = ("NaN", "Infinity", "-Infinity")
"""How numbers that JSON does not have are written."""
MODELS: dict[str, type[BaseModel]] = {"report": Report, "combined": CombinedReport}
Schema = dict[str, Any]
"""A JSON schema is nested JSON: pydantic types it no further."""


class _AsWritten(GenerateJsonSchema):
    """What is written rather than what is read: a number that is none is a string."""

    def float_schema(self, schema: core_schema.FloatSchema) -> JsonSchemaValue:
        return {"anyOf": [super().float_schema(schema), {"enum": list(NO_NUMBERS)}]}


def schema_of(name: str) -> Schema:
    """The schema of a report of one run, or of several combined."""
    model = MODELS[name]
    made: Schema = model.model_json_schema(mode="serialization", schema_generator=_AsWritten)
    _simplify(made)
    version = model.model_fields["schema_version"].default
    return {"$schema": DIALECT, "$id": file_name(name), **made, "title": f"{name} {version}"}


def file_name(name: str) -> str:
    """The file that a schema lies in; it names the version."""
    return f"{name}-{MODELS[name].model_fields['schema_version'].default}.json"


def to_text(schema: Schema) -> str:
    """The schema as its file has it."""
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def write_schemas(to: Path = SCHEMAS) -> None:
    """Write all schemas anew, after a change to what is written.

    `python -c "from reports.schema import write_schemas; write_schemas()"`
    """
    to.mkdir(exist_ok=True)
    for name in MODELS:
        (to / file_name(name)).write_text(to_text(schema_of(name)), "utf-8")


def _simplify(part: object) -> None:
    """Take away that fields must be known, though mappings keep saying what their values are."""
    if isinstance(part, dict):
        if part.get("additionalProperties") is False:
            del part["additionalProperties"]
        members = part.get("prefixItems", [])
        if members and all(member == members[0] for member in members):
            # A pair of like values, in the words that every version of the standard knows.
            part["items"] = part.pop("prefixItems")[0]
        for member in part.values():
            _simplify(member)
    elif isinstance(part, list):
        for member in part:
            _simplify(member)
