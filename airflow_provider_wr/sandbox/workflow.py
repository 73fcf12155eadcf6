"""The built-in workflow: its components with their costs and outputs, and the config keys that control them."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Iterator

API_KEY = "ws_sandbox"
"""The default API key."""

SCOPED_API_KEY = "ws_scoped"
"""A valid key for other workflows only: the sandbox answers 403."""

WORKFLOW_ID = "7d0b6f1e-4a51-4c1e-9a57-0d5a2f6f0001"

COMPONENTS = {
    "Quote": "c0ffee00-1111-4222-8333-944455556666",
    "Balance": "c0ffee00-1111-4222-8333-944455556667",
    "Suppliers": "c0ffee00-1111-4222-8333-944455556668",
    "Payment": "c0ffee00-1111-4222-8333-944455556669",
    "Notify": "c0ffee00-1111-4222-8333-94445555666a",
}
"""Component ids of "Supplier payments", by the initial name of each component."""

MAX_ATTEMPTS = 100
MAX_COUNT = 10_000


@dataclass
class Component:
    """One node of the workflow. All runs share it, and a stage reads its config when it starts."""

    id: str
    name: str
    module: str
    position: tuple[float, float]
    credits: int
    """Credits for one stage of this component."""
    body: Component | None = None
    """The component a FOR_EACH runs once per item."""
    config: dict[str, Any] = field(default_factory=dict)
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    """Set unless the config holds the stages."""

    def update(
        self,
        config: dict[str, Any] | None = None,
        name: str | None = None,
        position: tuple[float, float] | None = None,
    ) -> None:
        """Merge `config` into the current one, key by key; replace the others if given."""
        self.config = {**self.config, **(config or {})}
        self.name = self.name if name is None else name
        self.position = self.position if position is None else position
        if self.config.get("hold"):
            self.let_go.clear()
        else:
            self.let_go.set()

    def reset_to(self, other: Component) -> None:
        """Copy name, position and config of `other`; held stages continue."""
        self.config = {}
        self.update(other.config, other.name, other.position)

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "module": self.module,
            "position": self.position,
            "config": self.config,
        }


@dataclass(frozen=True)
class Workflow:
    """Components which run one after another."""

    id: str
    name: str
    steps: tuple[Component, ...]

    @property
    def components(self) -> dict[str, Component]:
        """All components by id, including those inside a FOR_EACH."""
        bodies = (step.body for step in self.steps if step.body)
        return {component.id: component for component in (*self.steps, *bodies)}

    def reset_components(self) -> None:
        """Undo all updates of components, also for the runs in progress."""
        for component_id, fresh in supplier_payments().components.items():
            self.components[component_id].reset_to(fresh)


def supplier_payments() -> Workflow:
    """Build the initial workflow."""

    def component(name: str, module: str, x: float, credits: int, body: Component | None = None) -> Component:
        return Component(COMPONENTS[name], name, module, (x, 0), credits, body)

    payment = component("Payment", "SEND_EVM_TRANSACTION", 400, credits=2)
    return Workflow(
        WORKFLOW_ID,
        "Supplier payments",
        (
            component("Quote", "HTTP_REQUEST", 0, credits=1),
            component("Balance", "GET_EVM_ACCOUNT_BALANCE", 200, credits=1),
            component("Suppliers", "FOR_EACH", 400, credits=1, body=payment),
            component("Notify", "HTTP_REQUEST", 600, credits=1),
        ),
    )


def component_output(module: str, config: dict[str, Any], behaviour: Behaviour) -> Any:
    """Return the output of a component; HTTP_REQUEST and API_CALL return their config."""
    if behaviour.answers:
        return behaviour.answer_with
    match module:
        case "RANDOM_UUID":
            return {"uuid": str(uuid4())}
        case "API_CALL":
            return {"data": config}
        case "GET_EVM_ACCOUNT_BALANCE":
            return {"balance": "1250000000000000000"}
        case "FOR_EACH":
            return {"count": behaviour.count}
        case "SEND_EVM_TRANSACTION":
            return {"transactionHash": f"0x{secrets.token_hex(32)}"}
        case _:
            return config


def as_error(reason: Any) -> Any:
    """Return an error: a string becomes its message, any other JSON is unchanged."""
    return {"message": reason} if isinstance(reason, str) else reason


def update_problems(changes: dict[str, Any]) -> Iterator[str]:
    """Yield the problems of an update of a component."""
    if not changes:
        yield "at least one of config, name, position is required"
    for name, value in changes.items():
        match name, value:
            case ("config", dict()) | ("name", str()):
                pass
            case "position", [int() | float(), int() | float()] if not any(type(n) is bool for n in value):
                pass
            case "config", _:
                yield "config must be an object"
            case "name", _:
                yield "name must be a string"
            case "position", _:
                yield "position must be two numbers"
            case _:
                yield f"property {name} should not exist"


@dataclass(frozen=True)
class Behaviour:
    """The behaviour of a stage, read from its component's config when it starts."""

    seconds: float = 0.2
    """Duration of each attempt."""
    hold: bool = False
    """Keep the stage running after that, until an update of its component ends the hold."""
    fail_attempts: int = 0
    """Number of attempts that fail and are retried before the last one."""
    fail_with: Any = None
    """End FAILED with this message, or with this error if it is not a string."""
    answers: bool = False
    answer_with: Any = None
    """The output, if `answers` is set."""
    cancel_run: str | None = None
    """Cancel the run for this reason."""
    count: int = 5
    """Number of items of a FOR_EACH."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Behaviour:
        """Read the known keys and ignore all others; ValueError for an invalid value."""
        return cls(
            seconds=_number(config, "seconds", cls.seconds),
            hold=_flag(config, "hold"),
            fail_attempts=_integer(config, "failAttempts", cls.fail_attempts, MAX_ATTEMPTS),
            fail_with=config.get("failWith"),
            answers="answerWith" in config,
            answer_with=config.get("answerWith"),
            cancel_run=_text(config, "cancelRun"),
            count=_integer(config, "count", cls.count, MAX_COUNT),
        )


def _number(config: dict[str, Any], key: str, default: float) -> float:
    value = config.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ValueError(f"{key} must be a number of seconds, not {value!r}")
    return value


def _integer(config: dict[str, Any], key: str, default: int, most: int) -> int:
    value = config.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise ValueError(f"{key} must be an integer from 0 to {most}, not {value!r}")
    return value


def _flag(config: dict[str, Any], key: str) -> bool:
    value = config.get(key, False)
    if not isinstance(value, bool):
        raise ValueError(f"{key} must be true or false, not {value!r}")
    return value


def _text(config: dict[str, Any], key: str) -> str | None:
    value = config.get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{key} must be a string, not {value!r}")
    return value
