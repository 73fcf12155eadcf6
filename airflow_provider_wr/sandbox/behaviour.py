"""How a component's config steers its stages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MAX_ATTEMPTS = 100
MAX_COUNT = 10_000


@dataclass(frozen=True)
class Behaviour:
    """What a stage does, read from its component's config when it starts."""

    seconds: float = 0.2
    """How long each attempt takes."""
    hold: bool = False
    """The stage goes on after that until an update of its component takes the hold away."""
    fail_attempts: int = 0
    """How many attempts fail, and are repeated, before the one that counts."""
    fail_with: str | None = None
    """The stage ends FAILED with this message."""
    cancel_run: str | None = None
    """The run ends CANCELED for this reason."""
    count: int = 5
    """The items of a FOR_EACH."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Behaviour:
        """Read the keys the sandbox knows and leave all others alone; ValueError names a bad one."""
        return cls(
            seconds=_number(config, "seconds", cls.seconds),
            hold=_flag(config, "hold"),
            fail_attempts=_integer(config, "failAttempts", cls.fail_attempts, MAX_ATTEMPTS),
            fail_with=_text(config, "failWith"),
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
        raise ValueError(f"{key} must be a whole number from 0 to {most}, not {value!r}")
    return value


def _flag(config: dict[str, Any], key: str) -> bool:
    value = config.get(key, False)
    if not isinstance(value, bool):
        raise ValueError(f"{key} must be true or false, not {value!r}")
    return value


def _text(config: dict[str, Any], key: str) -> str | None:
    value = config.get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{key} must be a text, not {value!r}")
    return value
