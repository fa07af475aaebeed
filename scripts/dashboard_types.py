"""Write dashboard/src/types.ts from the service's own types: ``python scripts/dashboard_types.py``. With ``--check``:
only say whether it is up to date.

The requests, the answers and the events come from the description of the API, and what a job's state allows comes from
the service's own table: the pages repeat neither.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from service.events.job import ACTIVE_STATES, JobState
from service.runner.controls import POSSIBLE
from service.web import asyncapi, openapi

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "dashboard/src/types.ts"
HEAD = """// Made by `make types` from the service's own types: do not edit.
// An event of a type that this version does not know has only the fields that all events have.

"""
# The name of an event's own type is that of the DOM's events.
NAMES = {"Event": "JobEvent"}
UNKNOWN = "OtherEvent"
IN_DESCRIPTION = "#/components/schemas/"


def definitions() -> dict[str, Any]:
    """The schemas of the API, by the names that the pages use."""
    schemas = asyncapi.document("")["components"]["schemas"] | openapi.document("")["components"]["schemas"]
    del schemas[UNKNOWN]
    schemas["Event"]["anyOf"] = [each for each in schemas["Event"]["anyOf"] if UNKNOWN not in each["$ref"]]
    return {NAMES.get(name, name): _adapted(schema) for name, schema in schemas.items()}


def _adapted(schema: Any) -> Any:
    """What a type says of a schema: no words, no limits, and the references of a plain JSON Schema."""
    if isinstance(schema, list):
        return [_adapted(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(IN_DESCRIPTION)
        return {"$ref": f"#/definitions/{NAMES.get(name, name)}"}
    if schema.get("type") == "string":
        return {name: value for name, value in schema.items() if name in ("type", "enum", "const")}
    is_pair = schema.get("type") == "array" and schema.get("minItems") == schema.get("maxItems")
    left_out = {"title", "description", *(() if is_pair else ("minItems", "maxItems"))}
    return {
        name: {field: _adapted(inner) for field, inner in value.items()} if name == "properties" else _adapted(value)
        for name, value in schema.items()
        if name not in left_out
    }


def tables() -> str:
    """Constants beside the types."""
    controls = sorted({control for allowed in POSSIBLE.values() for control in allowed})
    rows = [f"  {json.dumps(standing.value)}: {json.dumps(allowed)}," for standing, allowed in POSSIBLE.items()]
    return "\n".join(
        (
            f"export type Control = {' | '.join(map(json.dumps, controls))};",
            f"export type Standing = {' | '.join(json.dumps(standing.value) for standing in POSSIBLE)};",
            "// The controls that each standing of a job allows. A job that is being cancelled allows none.",
            "export const possibleIn: Readonly<Record<Standing, readonly Control[]>> = {",
            *rows,
            "};",
            f"export const jobStates: readonly JobState[] = {json.dumps([state.value for state in JobState])};",
            f"export const activeStates: readonly JobState[] = {json.dumps([state.value for state in ACTIVE_STATES])};",
            "",
        )
    )


def made() -> str:
    """The text of the file. Raises CalledProcessError."""
    schema = {"type": "object", "additionalProperties": False, "definitions": definitions()}
    npm = [sys.executable, str(ROOT / "scripts/build_dashboard.py"), "--npm"]
    types = subprocess.run(
        [*npm, "run", "--silent", "types"],
        input=json.dumps(schema),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return f"{HEAD}{types}\n{tables()}"


if __name__ == "__main__":
    text = made()
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(text, encoding="utf-8")
    elif TARGET.read_text(encoding="utf-8") != text:
        sys.exit(f"{TARGET.relative_to(ROOT)} differs from the service's types: run make types")
