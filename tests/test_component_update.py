"""A DAG author's change to a component, in all the forms it may have, and the bytes it becomes."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, Param

from airflow_provider_wr import component_update, protocol
from airflow_provider_wr.exceptions import WRValidationError

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
    assert call.triggers is None
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
        pytest.param(
            {"name": "n", "position": None, "config": None, "config_from_params": None},
            '{"name":"n"}',
            id="the rest None",
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


@pytest.mark.parametrize(
    ("update", "message"),
    [
        pytest.param(
            {}, "nothing to update: give at least one of config, name and position", id="nothing to update"
        ),
        pytest.param(
            {"config": "null"},
            "nothing to update: give at least one of config, name and position",
            id="config null",
        ),
        pytest.param({"config": "{a}"}, "config is a text that is not JSON: '{a}'", id="config not JSON"),
        pytest.param({"config": ""}, "config is a text that is not JSON: ''", id="config empty text"),
        pytest.param(
            {"config": "a\x1b"},
            r"config is a text that is not JSON: 'a\\x1b'",
            id="config with a control character",
        ),
        pytest.param(
            {"config": "[1]"}, "config should be an object (a dict), and is a list", id="config a JSON list"
        ),
        pytest.param({"config": 5}, "config should be an object (a dict), and is a int", id="config a number"),
        pytest.param(
            {"config": [1], "config_from_params": ["amount"]},
            "config should be an object (a dict), and is a list",
            id="config a list, with params",
        ),
        pytest.param({"config": '{"a": NaN}'}, "$.config.a is nan, which JSON cannot hold", id="config NaN"),
        pytest.param(
            {"config": "[" * 100_000},
            f"config is a text that is not JSON: '{'[' * 500}…'",
            id="config deep",
        ),
        pytest.param(
            {"config_from_params": ["big"]},
            "$.config.big is a whole number that JavaScript would round: send it as a text",
            id="param that JavaScript would round",
        ),
        pytest.param(
            {"config_from_params": ["nope"]},
            "config_from_params names the param 'nope', which the DAG has not: "
            "amount, apiUrl, big, dry, ids, none, rate",
            id="no such param",
        ),
        pytest.param(
            {"config_from_params": [["amount"]]},
            "config_from_params names the param ['amount'], which the DAG has not: "
            "amount, apiUrl, big, dry, ids, none, rate",
            id="param's name not a text",
        ),
        pytest.param(
            {"config": {"amount": 1}, "config_from_params": ["amount"]},
            "config and config_from_params both set 'amount'",
            id="conflict",
        ),
        pytest.param(
            {"config_from_params": "amount"},
            "config_from_params should be a list of params' names, or an object of config keys and params' names",
            id="params a text",
        ),
        pytest.param(
            {"config_from_params": 5},
            "config_from_params should be a list of params' names, or an object of config keys and params' names",
            id="params a number",
        ),
        pytest.param({"position": "1, 2"}, "position is a text that is not JSON: '1, 2'", id="position not JSON"),
        pytest.param({"position": ["a", 2]}, "position is a text that is not JSON: 'a'", id="position of words"),
        pytest.param(
            {"position": "[1]"}, "position should be two finite numbers [x, y], and is [1]", id="position of one"
        ),
        pytest.param(
            {"position": ["NaN", "1"]},
            "position should be two finite numbers [x, y], and is [nan, 1]",
            id="position NaN",
        ),
        pytest.param(
            {"position": ["[1]", "2"]},
            "position should be two finite numbers [x, y], and is [[1], 2]",
            id="position of lists",
        ),
        pytest.param({"name": ""}, "name should be a text that is not empty", id="name empty"),
        pytest.param(
            {"conifg": {}},
            "an update has 'conifg', and may have component_id, config, config_from_params, name, position",
            id="unknown field",
        ),
        pytest.param(
            {"workflow_id": WORKFLOW, "name": "n"},
            "an update has 'workflow_id', and may have component_id, config, config_from_params, name, position",
            id="another workflow",
        ),
        pytest.param(
            {"component_id": None, "name": "n"},
            "component_id should be a UUID, such as 123e4567-e89b-12d3-a456-426614174000, and is 'NoneType'",
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
    with pytest.raises(WRValidationError, match="an update should be an object"):
        component_update.build(WORKFLOW, PARAMS, update)


def test_a_refusal_cannot_forge_a_log() -> None:
    # Whoever may start a DAG run may give it params of any name.
    with pytest.raises(WRValidationError) as refused:
        body({"a\nINFO all is well": 1}, config_from_params=["amount"])
    assert refused.value.message.isprintable()


def test_a_missing_param_in_a_dag_without_params() -> None:
    with pytest.raises(WRValidationError, match="which the DAG has not: none"):
        body({}, config_from_params=["amount"])


def test_it_is_the_same_call_as_the_hooks() -> None:
    call = component_update.build(WORKFLOW, {}, {"component_id": COMPONENT, "name": "n"})
    assert call == protocol.update_component(WORKFLOW, COMPONENT, name="n")


@pytest.mark.parametrize(
    ("update", "said"),
    [
        pytest.param({"config": {"apiUrl": "https://hush", "limit": 7}}, "config apiUrl, limit", id="config"),
        pytest.param({"config": {}}, "config (no keys)", id="config empty"),
        pytest.param({"name": "hush", "position": [7, 7]}, "name; position", id="name and position"),
        pytest.param(
            {"config": {"a\n": "hush"}, "name": "hush"}, "config a\\n; name", id="a key that breaks lines"
        ),
    ],
)
def test_what_was_sent_is_logged_without_values(
    update: dict[str, Any], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    call = component_update.build(WORKFLOW, {}, {"component_id": COMPONENT, **update})
    with caplog.at_level("INFO"):
        component_update.log_sent(call)
    assert caplog.messages == [f"Updated component {COMPONENT}: {said}"]
