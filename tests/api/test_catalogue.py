"""The catalogue, and the validation of requests against it: strict for known schemas, lenient for all others."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_wr.api import calls
from airflow_provider_wr.api.catalogue import Component, check_call, known_part, read_catalogue
from airflow_provider_wr.exceptions import WRProtocolError, WRValidationError

BALANCE: dict[str, Any] = {
    "name": "Get EVM account balance",
    "module": "GET_EVM_ACCOUNT_BALANCE",
    "type": "EVM",
    "executionModes": ["WORKFLOW", "COMPONENT"],
    "inputs": {
        "parameters": [
            {"name": "address", "schema": {"type": "string"}},
            {"name": "block", "schema": {"type": "bigint"}},
        ]
    },
    "outputs": {"response": [{"name": "balance", "schema": {"type": "bigint"}}]},
    "configs": {
        "type": "object",
        "properties": {
            "chain": {"type": "string", "enum": ["mainnet", "sepolia"]},
            "tokens": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "object"}]}},
            "retries": {"type": "number"},
            "cached": {"type": "boolean"},
            "filter": {"type": "object", "properties": {"min": {"type": "bigint"}}, "required": ["min"]},
        },
        "required": ["chain"],
    },
}
FOR_EACH = {"module": "FOR_EACH", "executionModes": ["WORKFLOW"]}
CATALOGUE = [BALANCE, FOR_EACH, {"module": "RANDOM_UUID", "executionModes": ["COMPONENT"]}]

GOOD: dict[str, Any] = {"address": "0x1", "block": 7}
CHAIN = {"chain": "mainnet"}


def check(
    module: str = "GET_EVM_ACCOUNT_BALANCE", values: Any = GOOD, config: Any = CHAIN, catalogue: Any = CATALOGUE
) -> None:
    check_call(read_catalogue(catalogue), calls.execute_component(module, values, config))


def faults(**options: Any) -> str:
    with pytest.raises(WRValidationError) as refused:
        check(**options)
    assert refused.value.message.isprintable()
    assert refused.value.status_code is None
    return refused.value.message.removesuffix(" (GET_EVM_ACCOUNT_BALANCE)")


# --- reading ----------------------------------------------------------------------------------------------


def test_every_field_of_an_entry_is_read() -> None:
    component = read_catalogue(CATALOGUE)[0]
    assert component == Component(
        name="Get EVM account balance",
        module="GET_EVM_ACCOUNT_BALANCE",
        type="EVM",
        execution_modes=("WORKFLOW", "COMPONENT"),
        inputs={"address": {"type": "string"}, "block": {"type": "bigint"}},
        outputs={"balance": {"type": "bigint"}},
        config=BALANCE["configs"],
        raw={},
    )
    assert component.raw is BALANCE
    assert [each.runs_alone for each in read_catalogue(CATALOGUE)] == [True, False, True]


@pytest.mark.parametrize(
    "entry",
    [
        {"module": "X"},
        {"module": "X", "inputs": [], "outputs": 1, "configs": "none", "executionModes": "COMPONENT"},
        {"module": "X", "inputs": {"parameters": {"a": 1}}, "executionModes": []},
        {"module": "X", "inputs": {"parameters": [None, {"schema": {}}, {"name": 1}]}, "executionModes": [1]},
        {"module": "X", "inputs": {"parameters": [{"name": "a"}]}, "configs": {"type": "null", "required": "a"}},
    ],
)
def test_an_unexpected_entry_does_not_restrict_other_fields(entry: dict[str, Any]) -> None:
    check("X", {"a": 1}, {"b": [None]}, [entry])


@pytest.mark.parametrize("body", [None, {}, "x", {"components": CATALOGUE}, [1, None], [{"name": "no module"}]])
def test_what_is_no_list_of_components_is_no_catalogue(body: object) -> None:
    with pytest.raises(WRProtocolError, match="the catalogue"):
        read_catalogue(body)


def test_an_empty_catalogue_has_no_component() -> None:
    assert read_catalogue([]) == ()


# --- what is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        pytest.param({"values": {"block": 7}}, "input.address is missing", id="input missing"),
        pytest.param({"values": {}}, "input.address is missing; input.block is missing", id="all missing"),
        pytest.param({"config": {}}, "config.chain is missing", id="config missing"),
        pytest.param(
            {"values": {**GOOD, "address": 7}}, "input.address should be a string, not an integer", id="type"
        ),
        pytest.param(
            {"values": {**GOOD, "address": None}}, "input.address should be a string, not null", id="null"
        ),
        pytest.param(
            {"values": {**GOOD, "block": 1.5}},
            "input.block should be an integer or a string of digits, not a number",
            id="bigint with a fraction",
        ),
        pytest.param(
            {"values": {**GOOD, "block": "latest"}},
            "input.block should be an integer or a string of digits, not a string",
            id="bigint of letters",
        ),
        pytest.param(
            {"config": {"chain": "goerli"}}, "config.chain should be one of mainnet, sepolia", id="not in an enum"
        ),
        pytest.param(
            {"config": {**CHAIN, "tokens": ["a", 7]}},
            "config.tokens[1] should be a string or an object, not an integer",
            id="item of a list",
        ),
        pytest.param(
            {"config": {**CHAIN, "tokens": "a"}}, "config.tokens should be a list, not a string", id="no list"
        ),
        pytest.param(
            {"config": {**CHAIN, "retries": True}},
            "config.retries should be a number, not true or false",
            id="a flag is no number",
        ),
        pytest.param(
            {"config": {**CHAIN, "cached": "true"}},
            "config.cached should be true or false, not a string",
            id="a text is no flag",
        ),
        pytest.param({"config": {**CHAIN, "filter": {}}}, "config.filter.min is missing", id="nested"),
    ],
)
def test_what_does_not_fit_is_named_without_its_value(options: dict[str, Any], says: str) -> None:
    assert faults(**options) == says


def test_the_error_names_the_component_and_lists_the_faults() -> None:
    with pytest.raises(WRValidationError) as refused:
        check(values={"block": "x"})
    texts = [each["message"] for each in refused.value.errors]
    assert refused.value.message == f"{'; '.join(texts)} (GET_EVM_ACCOUNT_BALANCE)"
    assert {(each["code"], each["message"].split(" ")[0]) for each in refused.value.errors} == {
        ("required", "input.address"),
        ("type", "input.block"),
    }


def test_of_many_faults_the_number_is_given() -> None:
    parameters = [{"name": f"p{number}", "schema": {}} for number in range(30)]
    entry = {"module": "MANY", "inputs": {"parameters": parameters}}
    assert faults(module="MANY", values={}, catalogue=[entry]).endswith("input.p19 is missing; and 10 more (MANY)")


@pytest.mark.parametrize(
    ("module", "says"),
    [
        ("RANDOM_UIID", "the catalogue has no component 'RANDOM_UIID'; did you mean RANDOM_UUID?"),
        ("random_uuid", "the catalogue has no component 'random_uuid'; did you mean RANDOM_UUID?"),
        ("PAY", "the catalogue has no component 'PAY'"),
        ("FOR_EACH", "FOR_EACH cannot be run alone: its execution modes are WORKFLOW"),
    ],
)
def test_a_component_that_cannot_be_run_is_named(module: str, says: str) -> None:
    assert faults(module=module) == says


# --- what is let through ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="all fits"),
        pytest.param({"values": {**GOOD, "new": [1]}, "config": {**CHAIN, "new": None}}, id="unknown keys"),
        pytest.param({"values": {**GOOD, "block": "20000000000000000000"}}, id="wei as a text"),
        pytest.param({"values": {**GOOD, "block": "-1"}}, id="negative"),
        pytest.param({"values": {**GOOD, "block": 7.0}}, id="JavaScript has one kind of number"),
        pytest.param({"config": {**CHAIN, "retries": 1.5}}, id="number"),
        pytest.param({"config": {**CHAIN, "tokens": ["a", {}]}}, id="items of both kinds"),
        pytest.param({"config": {**CHAIN, "filter": {"min": "1", "max": 2}}}, id="nested"),
    ],
)
def test_what_fits_is_let_through(options: dict[str, Any]) -> None:
    check(**options)


@pytest.mark.parametrize(
    "schema",
    [
        None,
        True,
        "string",
        [],
        {"type": "uint256"},
        {"type": ["string", "uint256"]},
        {"type": {"of": "string"}},
        {"enum": []},
        {"enum": "abc"},
        {"required": ["a", 1]},
        {"required": "a"},
        {"properties": [1]},
        {"properties": {"a": 7}},
        {"items": [{"type": "string"}]},
        {"anyOf": []},
        {"anyOf": {"type": "string"}},
        {"anyOf": [{"type": "string"}, {"type": "uint256"}]},
        {"pattern": "(", "format": "date", "$ref": "#/nowhere", "minLength": "x", "multipleOf": 0},
        {"type": "object", "additionalProperties": False, "maxProperties": 0},
    ],
)
def test_what_is_not_understood_of_a_schema_allows_everything(schema: object) -> None:
    entry = {"module": "X", "inputs": {"parameters": [{"name": "a", "schema": schema}]}}
    for value in (7, "x", None, [7, "x"], {"a": 7}, {"type": "x"}):
        if not (isinstance(schema, dict) and schema.get("type") == "object" and not isinstance(value, dict)):
            check("X", {"a": value}, None, [entry])


def test_a_schema_that_is_nested_for_ever_is_read_to_a_bound() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(500):
        schema = {"type": "array", "items": schema}
    assert len(json.dumps(known_part(schema))) < 3000


values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
)
keywords = st.sampled_from(["type", "enum", "items", "anyOf", "properties", "required", "x"])
schemas = st.recursive(
    values | st.sampled_from(["string", "bigint", "object", "array"]),
    lambda inner: st.dictionaries(keywords, inner | st.lists(inner, max_size=3), max_size=4),
)


@given(schema=schemas, value=values)
def test_the_check_of_any_catalogue_passes_or_raises_our_error(schema: object, value: object) -> None:
    entry = {"module": "X", "inputs": {"parameters": [{"name": "a", "schema": schema}]}, "configs": schema}
    try:
        check("X", {"a": value}, {"b": value}, [entry])
    except WRValidationError as refused:
        assert refused.errors  # noqa: PT017
