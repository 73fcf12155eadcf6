"""What a try would start, as a task remembers it: enough to tell it from another, and nothing secret."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from airflow_provider_wr.api.calls import Call
from airflow_provider_wr.api.executions import ComponentExecution
from airflow_provider_wr.api.models import Run

if TYPE_CHECKING:
    from airflow_provider_wr.hooks.wr import WRHook

T = TypeVar("T", Run, ComponentExecution)


class Request(Generic[T]):
    """
    A request that starts something. Its fields are what must not change across tries.

    :cvar key: where Airflow's store keeps it. Another name would make tasks that are under way forget theirs.
    :cvar noun: what it starts, in words.
    :cvar id_name: the field of the id of what it starts.
    :cvar source_noun: what is triggered to start it, in words.
    :cvar source_name: the field that names what is triggered.
    :cvar arguments: the argument of the operator that each field comes from.
    :cvar on_changed: the operator's option for what another try started with other values.
    """

    key: ClassVar[str]
    noun: ClassVar[str]
    id_name: ClassVar[str]
    source_noun: ClassVar[str]
    source_name: ClassVar[str]
    arguments: ClassVar[Mapping[str, str]]
    on_changed: ClassVar[str]

    def facts(self) -> dict[str, Any]:
        """Return what to remember of it."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]  # each kind is a dataclass

    @classmethod
    def source(cls, facts: Mapping[str, Any]) -> str:
        """Return what was triggered: the UUID of a workflow, or a module."""
        return str(facts[cls.source_name])

    @classmethod
    def subject(cls, facts: Mapping[str, Any]) -> str:
        """Return what was triggered, in words."""
        return f"{cls.source_noun} {cls.source(facts)}"

    @classmethod
    def read(cls, hook: WRHook, identifier: str) -> T:
        """Return the current state of what was started."""
        raise NotImplementedError

    def changed_since(self, facts: Mapping[str, Any]) -> str:
        """Return the arguments that are not as they were, in words; empty if all are the same."""
        return " and ".join(
            self.arguments[name] for name, value in self.facts().items() if facts.get(name) != value
        )


@dataclass(frozen=True, slots=True)
class RunRequest(Request[Run]):
    """
    A run to start.

    :param updates: a digest of the exact updates, which detects changes without storing secrets.
    """

    key = "wr_run"
    noun = "run"
    id_name = "run_id"
    source_noun = "workflow"
    source_name = "workflow_id"
    arguments: ClassVar[Mapping[str, str]] = {"workflow_id": "workflow_id", "updates": "component_updates"}
    on_changed = "on_changed_updates"

    workflow_id: str
    updates: str

    @classmethod
    def of(cls, workflow_id: str, updates: Sequence[Call[None]]) -> RunRequest:
        digest = hashlib.sha256()
        for update in updates:
            digest.update(f"{update.path}\n{len(update.body or b'')}\n".encode() + (update.body or b""))
        return cls(workflow_id, digest.hexdigest())

    @classmethod
    def read(cls, hook: WRHook, identifier: str) -> Run:
        return hook.get_run(identifier)


@dataclass(frozen=True, slots=True)
class ExecutionRequest(Request[ComponentExecution]):
    """
    An execution of a component to start.

    :param values: a digest of its input and config. How often the server tries it, and its callback, may change.
    """

    key = "wr_execution"
    noun = "execution"
    id_name = "execution_id"
    source_noun = "component"
    source_name = "module"
    arguments: ClassVar[Mapping[str, str]] = {"module": "module", "values": "input or config"}
    on_changed = "on_changed_input"

    module: str
    values: str

    @classmethod
    def of(cls, call: Call[ComponentExecution]) -> ExecutionRequest:
        sent = json.loads(call.body or b"{}")
        values = json.dumps([sent["input"], sent["config"]], sort_keys=True)
        return cls(sent["module"], hashlib.sha256(values.encode()).hexdigest())

    @classmethod
    def read(cls, hook: WRHook, identifier: str) -> ComponentExecution:
        return hook.get_execution(identifier)
