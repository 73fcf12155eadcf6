"""
The catalogue of components, and the validation of ``input`` and ``config`` against its schemas.

The schemas are a subset of JSON Schema with the additional type ``bigint``. Unknown parts of a schema allow
everything: the API decides, and we must not reject what it would accept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from airflow_provider_wr.api import fields
from airflow_provider_wr.api.text import printable
from airflow_provider_wr.exceptions import WRProtocolError, WRValidationError

if TYPE_CHECKING:
    from airflow_provider_wr.api.calls import Call

#: The execution mode of components that run without a workflow.
ALONE = "COMPONENT"

#: Maximum number of problems in an error.
MAX_FAULTS = 20

#: Maximum depth of a schema.
MAX_DEPTH = 50


@dataclass(frozen=True, slots=True)
class Component:
    """
    A component of the catalogue.

    :param name: the display name; empty if the API left it out.
    :param module: its id in ``execute_component``.
    :param type: the kind of component; empty if the API left it out.
    :param execution_modes: where it can run; ``COMPONENT`` means without a workflow. None if the API left it out.
    :param inputs: the schema of each parameter of its ``input``; all of them are required.
    :param outputs: the schema of each part of its output.
    :param config: the schema of its ``config``.
    :param raw: the JSON as it came, with every field.
    """

    name: str
    module: str
    type: str
    execution_modes: tuple[str, ...] | None
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    config: dict[str, Any]
    raw: dict[str, Any] = field(compare=False, repr=False)

    @classmethod
    def _read(cls, entry: dict[str, Any]) -> Component:
        config = entry.get("configs")
        return cls(
            name=fields.text(entry, "name") or "",
            module=fields.text(entry, "module") or "",
            type=fields.text(entry, "type") or "",
            execution_modes=fields.strings(entry, "executionModes") or None,
            inputs=_schemas(entry, "inputs", "parameters"),
            outputs=_schemas(entry, "outputs", "response"),
            config=config if isinstance(config, dict) else {},
            raw=entry,
        )

    @property
    def runs_alone(self) -> bool:
        """Whether it can run without a workflow; True if unknown."""
        return self.execution_modes is None or ALONE in self.execution_modes


def read_catalogue(body: Any) -> tuple[Component, ...]:
    """Read the catalogue; raises :class:`WRProtocolError` if it is not a list of components."""
    if not isinstance(body, list):
        raise WRProtocolError(f"the catalogue should be a list, not {fields.kind(body)}")
    components = tuple(Component._read(entry) for entry in body if isinstance(entry, dict))
    named = tuple(component for component in components if component.module)
    if body and not named:
        raise WRProtocolError("the catalogue names no component")
    return named


def _schemas(entry: Mapping[str, Any], key: str, within: str) -> dict[str, Any]:
    holder = entry.get(key)
    if not isinstance(holder, dict):
        return {}
    return {
        str(parameter["name"]): parameter.get("schema")
        for _, parameter in fields.objects(holder, within)
        if isinstance(parameter.get("name"), str)
    }


# --- validation -------------------------------------------------------------------------------------------


def check_call(components: Sequence[Component], call: Call[Any]) -> None:
    """
    Validate a call of ``execute_component`` against the catalogue.

    Raises :class:`WRValidationError` for an unknown module, for one that needs a workflow, and for values that
    violate its schemas, with an entry in ``errors`` for each problem.
    """
    sent = json.loads(call.body or b"{}")
    module = sent["module"]
    by_module = {component.module: component for component in components}
    component = by_module.get(module)
    if component is None:
        close = get_close_matches(module.upper(), by_module, 1)
        hint = f"; did you mean {printable(close[0])}?" if close else ""
        raise WRValidationError(f"the catalogue has no component {printable(module)!r}{hint}")
    if not component.runs_alone:
        modes = printable(", ".join(component.execution_modes or ()))
        raise WRValidationError(f"{printable(module)} cannot be run alone: its execution modes are {modes}")
    parameters = {"type": "object", "properties": component.inputs, "required": list(component.inputs)}
    faults = [*_faults("input", parameters, sent["input"]), *_faults("config", component.config, sent["config"])]
    if faults:
        named = [text for _, text in faults[:MAX_FAULTS]]
        more = [f"and {len(faults) - MAX_FAULTS} more"] if len(faults) > MAX_FAULTS else []
        raise WRValidationError(
            f"{'; '.join([*named, *more])} ({printable(module)})",
            errors=[{"code": code, "message": text} for code, text in faults[:MAX_FAULTS]],
        )


def _faults(name: str, schema: Any, value: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the problems: the keyword of JSON Schema, and a message."""
    # Airflow depends on it, too. Late, since its import is slow.
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    types = Draft202012Validator.TYPE_CHECKER.redefine("bigint", lambda _, each: _is_bigint(each))
    validator = extend(Draft202012Validator, type_checker=types)(known_part(schema))
    found = (fault for error in validator.iter_errors(value) for fault in _in_words(name, error))
    return list(dict.fromkeys(found))


def known_part(schema: Any, depth: int = 0) -> dict[str, Any]:
    """Return the parts of a schema that mean the same in JSON Schema; other parts allow everything."""
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return {}
    known: dict[str, Any] = {}
    for key, value in schema.items():
        match key, value:
            case "type", str() if value in _TYPES:
                known[key] = value
            case "enum", [_, *_]:
                known[key] = value
            case "required", [*names] if all(isinstance(each, str) for each in names):
                known[key] = names
            case "properties", dict():
                known[key] = {str(name): known_part(each, depth + 1) for name, each in value.items()}
            case "items", dict():
                known[key] = known_part(value, depth + 1)
            case "anyOf", [_, *_]:
                known[key] = [known_part(each, depth + 1) for each in value]
    return known


#: The types of a schema, in words.
_TYPES = {
    "string": "a string",
    "number": "a number",
    "bigint": "an integer or a string of digits",
    "boolean": "true or false",
    "object": "an object",
    "array": "a list",
}


def _is_bigint(value: Any) -> bool:
    # JavaScript's type for large integers, which JSON does not have: the API's documentation shows strings.
    return type(value) is int or (isinstance(value, str) and _WHOLE.fullmatch(value) is not None)


_WHOLE = re.compile("-?[0-9]+", re.ASCII)


def _in_words(name: str, error: Any) -> Iterator[tuple[str, str]]:
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path)
    place, found = printable("".join((name, *steps))), fields.kind(error.instance)
    match error.validator:
        case "required":
            missing = (key for key in error.validator_value if key not in error.instance)
            yield from (("required", f"{place}.{printable(key)} is missing") for key in missing)
        case "enum":
            choices = ", ".join(str(choice) for choice in error.validator_value)
            yield "enum", f"{place} should be one of {printable(choices)}"
        case "anyOf":
            types = (_TYPES.get(each.get("type")) for each in error.validator_value)
            words = " or ".join(dict.fromkeys(filter(None, types)))
            yield (
                "anyOf",
                f"{place} should be {words or 'as its schema says'}, not {found}",
            )
        case _:
            yield (
                "type",
                f"{place} should be {_TYPES[error.validator_value]}, not {found}",
            )
