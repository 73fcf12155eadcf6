"""Component updates in all their forms, and the bytes that are sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, Param

from airflow_provider_wr.api import calls
from airflow_provider_wr.exceptions import WRValidationError
from airflow_provider_wr.operators import component_update

WORKFLOW = "7d0b6f1e-4a51-4c1e-9a57-0d5a2f6f0001"
COMPONENT = "c0ffee00-1111-4222-8333-944455556666"
PARAMS: dict[str, Any] = {
    "apiUrl": "https://x",
    "amount": 2,
    "rate": 1.0,
    "dry": True,
    "none": None,
    "ids": [1, "2"],
    "big": 2**53 + 1,
}


def body(params: Any = PARAMS, **update: Any) -> str:
    call = component_update.build(WORKFLOW, params, {"component_id": COMPONENT, **update})
    assert (call.method, call.path) == ("POST", f"/v1/sdk/workflows/{WORKFLOW}/components/{COMPONENT}")
    assert call.repeatable
    assert call.body is not None
    return call.body.decode()


@pytest.mark.parametrize(
    ("update", "sent"),
    [
        pytest.param({"config": {"a": 1, "b": "2"}}, '{"config":{"a":1,"b":"2"}}', id="config"),
        pytest.param({"config": '{"a": 1.0, "b": "2"}'}, '{"config":{"a":1,"b":"2"}}', id="config as JSON"),
        pytest.param({"config": {}}, '{"config":{}}', id="config empty"),
        pytest.param({"config": {"a": "{}"}}, '{"config":{"a":"{}"}}', id="a text in the config stays one"),
        pytest.param({"name": "n"}, '{"name":"n"}', id="name"),
        pytest.param({"name": "5"}, '{"name":"5"}', id="a name that is JSON stays a text"),
        pytest.param({"position": [1, 2.5]}, '{"position":[1,2.5]}', id="position"),
        pytest.param({"position": (1, 2)}, '{"position":[1,2]}', id="position as a tuple"),
        pytest.param({"position": "[1, -2.50]"}, '{"position":[1,-2.5]}', id="position as JSON"),
        pytest.param({"position": ["1", "2.5"]}, '{"position":[1,2.5]}', id="position of rendered numbers"),
        pytest.param(
            {"name": "n", "position": [1, 2], "config": {"a": 1}},
            '{"config":{"a":1},"name":"n","position":[1,2]}',
            id="all",
        ),
        pytest.param({"config_from_params": ["apiUrl"]}, '{"config":{"apiUrl":"https://x"}}', id="param"),
        pytest.param(
            {"config_from_params": ("amount", "rate", "dry", "none", "ids")},
            '{"config":{"amount":2,"rate":1,"dry":true,"none":null,"ids":[1,"2"]}}',
            id="params keep their types",
        ),
        pytest.param(
            {"config_from_params": {"url": "apiUrl", "n": "amount", "m": "amount"}},
            '{"config":{"url":"https://x","n":2,"m":2}}',
            id="params under other keys",
        ),
        pytest.param({"config_from_params": []}, '{"config":{}}', id="no params"),
        pytest.param(
            {"config": {"a": 1}, "config_from_params": ["amount"]},
            '{"config":{"a":1,"amount":2}}',
            id="config and params",
        ),
        pytest.param(
            {"config": '{"a": 1}', "config_from_params": {"b": "amount"}},
            '{"config":{"a":1,"b":2}}',
            id="config as JSON and params",
        ),
    ],
)
def test_what_is_sent(update: dict[str, Any], sent: str) -> None:
    assert body(**update) == sent


def test_airflows_own_params_keep_their_types() -> None:
    params = DAG("d", schedule=None, params={"amount": Param(2, type="integer"), "ids": [1]}).params
    assert body(params, config_from_params=["amount", "ids"]) == '{"config":{"amount":2,"ids":[1]}}'


def test_the_dags_own_config_is_left_as_it_is() -> None:
    config = {"a": 1}
    body(config=config, config_from_params=["amount"])
    assert config == {"a": 1}


NOTHING = ": check its template, or omit it to use the default"


@pytest.mark.parametrize(
    ("update", "message"),
    [
        pytest.param(
            {}, "nothing to update: give at least one of config, name and position", id="nothing to update"
        ),
        pytest.param(
            {"config": "null", "name": "n"},
            "config should be an object (a dict), not null",
            id="config null",
        ),
        pytest.param({"config": "{a}"}, "config is not valid JSON, at character 2: '{a}'", id="config not JSON"),
        pytest.param({"config": ""}, f"config is empty (''){NOTHING}", id="config empty text"),
        pytest.param({"config": None, "name": "n"}, f"config is empty (None){NOTHING}", id="config None"),
        pytest.param({"config": " \n"}, f"config is empty (' \\n'){NOTHING}", id="config blank"),
        pytest.param(
            {"config_from_params": None}, f"config_from_params is empty (None){NOTHING}", id="params None"
        ),
        pytest.param({"position": None, "name": "n"}, f"position is empty (None){NOTHING}", id="position None"),
        pytest.param({"name": None, "config": {}}, f"name is empty (None){NOTHING}", id="name None"),
        pytest.param(
            {"config": "a\x1b"},
            r"config is not valid JSON, at character 1: 'a\\x1b'",
            id="config with a control character",
        ),
        pytest.param(
            {"config": "[1]"}, "config should be an object (a dict), not a list", id="config a JSON list"
        ),
        pytest.param({"config": 5}, "config should be an object (a dict), not a int", id="config a number"),
        pytest.param(
            {"config": [1], "config_from_params": ["amount"]},
            "config should be an object (a dict), not a list",
            id="config a list, with params",
        ),
        pytest.param({"config": '{"a": NaN}'}, "$.config.a is nan, which JSON cannot hold", id="config NaN"),
        pytest.param(
            {"config": "[" * 100_000},
            f"config is not valid JSON, nested too deeply: '{'[' * 500}…'",
            id="config deep",
        ),
        pytest.param(
            {"config_from_params": ["big"]},
            "$.config.big is an integer that JavaScript would round: send it as a string",
            id="param that JavaScript would round",
        ),
        pytest.param(
            {"config_from_params": ["nope"]},
            "config_from_params: the DAG has no param 'nope'; it has: amount, apiUrl, big, dry, ids, none, rate",
            id="no such param",
        ),
        pytest.param(
            {"config_from_params": [["amount"]]},
            "config_from_params: the DAG has no param ['amount']; "
            "it has: amount, apiUrl, big, dry, ids, none, rate",
            id="param's name not a text",
        ),
        pytest.param(
            {"config": {"amount": 1}, "config_from_params": ["amount"]},
            "config and config_from_params both set 'amount'",
            id="conflict",
        ),
        pytest.param(
            {"config_from_params": "amount"},
            "config_from_params should be a list of param names, or a dict of config keys to param names",
            id="params a text",
        ),
        pytest.param(
            {"config_from_params": 5},
            "config_from_params should be a list of param names, or a dict of config keys to param names",
            id="params a number",
        ),
        pytest.param(
            {"position": "1, 2"},
            "position is not valid JSON, at character 2: '1, 2'",
            id="position not JSON",
        ),
        pytest.param(
            {"position": ["a", 2]},
            "position is not valid JSON, at character 1: 'a'",
            id="position of words",
        ),
        pytest.param(
            {"position": "[1]"}, "position should be two finite numbers [x, y], not [1]", id="position of one"
        ),
        pytest.param(
            {"position": ["NaN", "1"]},
            "position should be two finite numbers [x, y], not [nan, 1]",
            id="position NaN",
        ),
        pytest.param(
            {"position": ["[1]", "2"]},
            "position should be two finite numbers [x, y], not [[1], 2]",
            id="position of lists",
        ),
        pytest.param({"name": ""}, f"name is empty (''){NOTHING}", id="name empty"),
        pytest.param({"name": 5}, "name should be a string that is not empty", id="name a number"),
        pytest.param(
            {"conifg": {}},
            "the update has no field 'conifg'; did you mean config?",
            id="unknown field",
        ),
        pytest.param(
            {"workflow_id": WORKFLOW, "name": "n"},
            "the update has no field 'workflow_id'; "
            "known fields: component_id, config, config_from_params, name, position",
            id="another workflow",
        ),
        pytest.param(
            {"component_id": None, "name": "n"},
            f"component_id is empty (None){NOTHING}",
            id="no component",
        ),
    ],
)
def test_what_is_refused(update: dict[str, Any], message: str) -> None:
    with pytest.raises(WRValidationError) as refused:
        body(**update)
    assert refused.value.message == message


@pytest.mark.parametrize("update", [None, [], "component"])
def test_an_update_is_an_object(update: Any) -> None:
    with pytest.raises(WRValidationError, match="the update should be a dict, not "):
        component_update.build(WORKFLOW, PARAMS, update)


def test_a_refusal_cannot_forge_a_log() -> None:
    # Anyone who may start a DAG run can pass params of any name.
    with pytest.raises(WRValidationError) as refused:
        body({"a\nINFO all is well": 1}, config_from_params=["amount"])
    assert refused.value.message.isprintable()


def test_a_missing_param_in_a_dag_without_params() -> None:
    with pytest.raises(WRValidationError, match="the DAG has no param 'amount'; it has: none"):
        body({}, config_from_params=["amount"])


def test_it_is_the_same_call_as_the_hooks() -> None:
    call = component_update.build(WORKFLOW, {}, {"component_id": COMPONENT, "name": "n"})
    assert call == calls.update_component(WORKFLOW, COMPONENT, name="n")


class Lazy(Sequence[Any]):
    """Like the output of mapped tasks: a lazy sequence."""

    def __init__(self, *items: Any) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: Any) -> Any:
        return self._items[index]


def test_the_output_of_mapped_tasks_in_a_config_is_a_list() -> None:
    assert body(config={"amounts": Lazy(2, 4, 6), "deep": [{"ids": Lazy()}]}) == (
        '{"config":{"amounts":[2,4,6],"deep":[{"ids":[]}]}}'
    )


def test_updates_may_be_the_output_of_mapped_tasks() -> None:
    update = {"component_id": COMPONENT, "name": "n"}
    assert len(component_update.build_all(WORKFLOW, {}, Lazy(update, update))) == 2


@pytest.mark.parametrize(
    ("updates", "message"),
    [
        ({"component_id": COMPONENT}, "component_updates should be a list of dicts, not a dict"),
        ("[]", "component_updates should be a list of dicts, not a str"),
        (5, "component_updates should be a list of dicts, not a int"),
        (Lazy(), "component_updates is empty: the mapped tasks it comes from returned nothing"),
        ([None], "component_updates[0] should be a dict, not None"),
        (
            [{"component_id": COMPONENT, "name": "n"}, {"componentId": COMPONENT}],
            "component_updates[1] has no field 'componentId'; did you mean component_id?",
        ),
        (
            [{"component_id": COMPONENT, "config": None}],
            "component_updates[0].config is empty (None): check its template, or omit it to use the default",
        ),
        (
            [{"component_id": "x", "name": "n"}],
            "component_updates[0]: component_id should be a UUID, such as 123e4567-e89b-12d3-a456-426614174000, "
            "not 'x'",
        ),
    ],
    ids=["a dict", "a text", "a number", "empty", "None", "a misspelt field", "no config", "a bad id"],
)
def test_a_bad_list_of_updates_is_refused_by_place(updates: Any, message: str) -> None:
    with pytest.raises(WRValidationError) as refused:
        component_update.build_all(WORKFLOW, {}, updates)
    assert refused.value.message == message
