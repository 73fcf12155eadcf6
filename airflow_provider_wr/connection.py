"""An Airflow connection of type ``wr``, read and checked once."""

from __future__ import annotations

import ipaddress
import json
import logging
import math
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

from airflow_provider_wr.api.ids import check_uuid
from airflow_provider_wr.api.sanitize import fit_text
from airflow_provider_wr.api.text import printable
from airflow_provider_wr.connection_form import STORED_SECRET
from airflow_provider_wr.exceptions import WRConnectionError, WRValidationError
from airflow_provider_wr.masking import mask

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

    from airflow_provider_wr.api.signing import Signer
    from airflow_provider_wr.api.watched import Watched

log = logging.getLogger(__name__)

DEFAULT_BASE_URL = "https://api.whiterabbit.app"


@dataclass(frozen=True, slots=True)
class WRSettings:
    """
    The settings of a ``wr`` connection. Its ``repr`` has no secrets.

    :param base_url: URL of the API, without ``/v1`` and a trailing slash.
    :param api_key: sent as ``X-Api-Key``.
    :param signer: signs every request; None without an API secret.
    :param workflow_id: UUID of the default workflow; None for none.
    :param connect_timeout: seconds, for opening a connection.
    :param read_timeout: seconds, for the whole answer to a plain call; does not apply to streams.
    :param verify: whether to verify TLS certificates, or the path of a CA bundle.
    :param run_url: template of the link to a run; None for no link.
    :param execution_url: template of the link to an execution of a component; None for no link.
    :param harmless_modules: modules without side effects, which a retry may run again.
    :param allow_concurrent_updates: allow updates while other runs of the DAG are active.
    :param conn_id: the connection's id, for errors.
    """

    base_url: str
    api_key: str = field(repr=False)
    signer: Signer | None = field(default=None, repr=False)
    workflow_id: str | None = None
    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    verify: bool | str = True
    run_url: str | None = None
    execution_url: str | None = None
    harmless_modules: tuple[str, ...] = ()
    allow_concurrent_updates: bool = False
    conn_id: str | None = field(default=None, compare=False)

    @classmethod
    def load(cls, conn_id: str, *, was_found: bool = False) -> WRSettings:
        """
        Look up a connection and validate it. Blocks: on an event loop, call it in a thread.

        :param was_found: whether the connection is known to exist. Airflow 3 also reports "not defined" if its
            secrets backend or API fails (seen on 3.3.2). If True, it is treated as such a failure.

        Raises :class:`WRValidationError` for an invalid field, Airflow's own error for an unknown or forbidden
        connection, and :class:`WRConnectionError` for a failed lookup.
        """
        try:
            conn = BaseHook.get_connection(conn_id)
        except PermissionError:
            raise
        except Exception as error:
            if isinstance(error, AirflowNotFoundException) and not was_found:
                raise
            raise WRConnectionError(
                f"the Airflow connection {conn_id!r} could not be looked up: {printable(str(error))}"
            ) from error
        return cls.from_connection(conn)

    @classmethod
    def from_connection(cls, conn: Connection) -> WRSettings:
        """Validate a connection; raises :class:`WRValidationError` with the field, without secrets."""
        try:
            return cls._read(conn)
        except WRValidationError as error:
            raise WRValidationError(f"connection {conn.conn_id!r}: {error.message}") from None

    @classmethod
    def _read(cls, conn: Connection) -> WRSettings:
        if conn.conn_type not in (None, "", "wr"):
            raise WRValidationError(f"it is of type {printable(repr(conn.conn_type))}, not 'wr'")
        extra = _extra(conn)
        api_secret = _text(extra, "api_secret")
        if api_secret == STORED_SECRET:
            raise WRValidationError(
                "the form does not submit stored secrets: enter the API key and secret again to test them"
            )
        mask(conn.password, (conn.password or "").strip(), api_secret)
        workflow_id = _text(extra, "workflow_id")
        return cls(
            base_url=_base_url(conn, allow_http=_flag(extra, "allow_http", default=False)),
            api_key=_api_key(conn.password),
            signer=_signer(api_secret) if api_secret else None,
            workflow_id=check_uuid(workflow_id, "the extra 'workflow_id'") if workflow_id else None,
            connect_timeout=_seconds(extra, "connect_timeout", default=10.0),
            read_timeout=_seconds(extra, "read_timeout", default=30.0),
            verify=_verify(extra),
            run_url=_url_template(extra, "run_url", run_id="run", workflow_id="workflow"),
            execution_url=_url_template(extra, "execution_url", execution_id="execution"),
            harmless_modules=_modules(extra),
            allow_concurrent_updates=_flag(extra, "allow_concurrent_updates", default=False),
            conn_id=conn.conn_id,
        )

    def run_link(self, run_id: str, workflow_id: str | None) -> str | None:
        """Return the URL of a run's page; None when the connection has no ``run_url``."""
        if self.run_url is None:
            return None
        # Sanitized, since it is stored as an XCom and the run's id comes from the API.
        return fit_text(self.run_url.format(run_id=run_id, workflow_id=workflow_id or self.workflow_id or ""))

    def execution_link(self, execution_id: str) -> str | None:
        """Return the URL of the page of an execution; None when the connection has no ``execution_url``."""
        if self.execution_url is None:
            return None
        return fit_text(self.execution_url.format(execution_id=execution_id))

    def link_to(self, watched: Watched[Any], workflow_id: str | None = None) -> str | None:
        """Return the URL of the page of a run or an execution; None without one."""
        if watched.noun == "execution":
            return self.execution_link(watched.id)
        return self.run_link(watched.id, workflow_id)


_EXTRAS = frozenset(
    {
        "allow_concurrent_updates",
        "allow_http",
        "api_secret",
        "connect_timeout",
        "execution_url",
        "harmless_modules",
        "read_timeout",
        "run_url",
        "verify",
        "workflow_id",
    }
)


#: Prefix of the form's fields in Airflow before 2.3. To test a connection, the form of 2.11 sends each field with
#: and without it.
_PREFIX = "extra__wr__"


def _extra(conn: Connection) -> dict[str, Any]:
    try:
        extra = json.loads(conn.extra or "{}")
    except ValueError:
        raise WRValidationError("the extra is not JSON") from None
    if not isinstance(extra, dict):
        raise WRValidationError("the extra is not a JSON object")
    if unknown := sorted(name for name in extra if name.removeprefix(_PREFIX) not in _EXTRAS):
        raise WRValidationError(f"unknown extra {unknown[0]!r}; known are {', '.join(sorted(_EXTRAS))}")
    return _without_prefix(extra)


def _without_prefix(extra: dict[str, Any]) -> dict[str, Any]:
    """Return the extra with the prefix removed from its fields. Empty fields count as left out."""
    plain = {name: value for name, value in extra.items() if not name.startswith(_PREFIX)}
    for name, value in extra.items():
        field_name = name.removeprefix(_PREFIX)
        if field_name == name or value in (None, ""):
            continue
        if plain.get(field_name) in (None, ""):
            plain[field_name] = value
        elif plain[field_name] != value:
            raise WRValidationError(f"the extras {field_name!r} and {name!r} differ: leave out {name!r}")
    return plain


def _signer(api_secret: str) -> Signer:
    # Few connections have a secret, and cryptography takes some milliseconds to import.
    from airflow_provider_wr.api.signing import Signer

    return Signer(api_secret)


def _text(extra: dict[str, Any], name: str) -> str | None:
    value = extra.get(name)
    if value is not None and not isinstance(value, str):
        raise WRValidationError(f"the extra {name!r} is not a string")
    return value or None


def _flag(extra: dict[str, Any], name: str, *, default: bool) -> bool:
    # In a connection given as a URI, all extras are strings.
    value = extra.get(name)
    if value is None or value == "":
        return default
    flag = {"true": True, "false": False}.get(str(value).lower())
    if flag is None:
        raise WRValidationError(f"the extra {name!r} is neither true nor false")
    return flag


def _modules(extra: dict[str, Any]) -> tuple[str, ...]:
    value = extra.get("harmless_modules") or ()
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, (list, tuple)) or not all(isinstance(each, str) for each in value):
        raise WRValidationError(
            "the extra 'harmless_modules' is not a list of modules, as JSON or comma-separated"
        )
    return tuple(filter(None, (each.strip() for each in value)))


def _seconds(extra: dict[str, Any], name: str, *, default: float) -> float:
    value = extra.get(name)
    if value is None or value == "":
        return default
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise WRValidationError(f"the extra {name!r} is not a positive number of seconds")
    return seconds


def _verify(extra: dict[str, Any]) -> bool | str:
    value = extra.get("verify")
    if isinstance(value, str) and value.lower() not in ("", "true", "false"):
        if not Path(value).exists():
            raise WRValidationError(
                f"the extra 'verify' is neither true, false nor the path of a CA bundle: {value}"
            )
        return value
    verify = _flag(extra, "verify", default=True)
    if not verify:
        _warn_unverified()
    return verify


@cache
def _warn_unverified() -> None:
    log.warning("TLS certificates of White Rabbit are not verified: a connection has 'verify': false")


def _api_key(password: str | None) -> str:
    key = (password or "").strip()
    if not key:
        raise WRValidationError("the API key is missing: put it (ws_…) into the password")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise WRValidationError("the API key (the password) contains characters that no API key has")
    return key


def _base_url(conn: Connection, *, allow_http: bool) -> str:
    """
    Combine host, schema and port as Airflow's HTTP connections do; https by default.

    A schema or port that is also part of the host must be the same in both.
    """
    host = (conn.host or "").strip()
    if not host:
        return DEFAULT_BASE_URL
    if _is_ipv6(host):
        host = f"[{host}]"
    url = host if "://" in host else f"{conn.schema or 'https'}://{host}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise WRValidationError("the host is neither a URL nor a host name") from None
    if parts.username is not None or parts.password is not None:
        raise WRValidationError("the host contains a user name or password: put the API key into the password")
    if parts.scheme not in ("http", "https") or not parts.hostname or "?" in url or "#" in url:
        raise WRValidationError("the host is neither an http(s) URL without a query nor a host name")
    if parts.scheme == "http" and not allow_http and not _is_loopback(parts.hostname):
        raise WRValidationError(
            f"plain http to {parts.hostname} would expose the API key to the network: use https, or set "
            "'allow_http': true in the extra"
        )
    if conn.schema and conn.schema.lower() != parts.scheme:
        raise WRValidationError(f"the host has {parts.scheme}, but the schema is {conn.schema}: leave one out")
    if port is not None and conn.port and port != conn.port:
        raise WRValidationError(f"the host has port {port}, but the port is {conn.port}: leave one out")
    _check_path(parts.path)
    if port is None and conn.port:
        url = parts._replace(netloc=f"{parts.netloc}:{conn.port}").geturl()
    return url.rstrip("/")


def _check_path(path: str) -> None:
    segments = [segment.lower() for segment in path.split("/") if segment]
    if segments[-1:] == ["v1"] or "/v1/sdk/" in "/".join(["", *segments, ""]):
        raise WRValidationError("the host contains /v1, which every call adds: leave out the path from there on")


def _is_ipv6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _url_template(extra: dict[str, Any], name: str, **fields: str) -> str | None:
    """Return the template of a URL, which may contain the fields; their values are for validation."""
    template = _text(extra, name)
    if template is None:
        return None
    try:
        found = {(field, spec, conversion) for _, field, spec, conversion in Formatter().parse(template)}
    except ValueError:
        found = {("", "", None)}
    if not found <= {(None, None, None), *((field, "", None) for field in fields)}:
        allowed = " and ".join(f"{{{field}}}" for field in fields)
        raise WRValidationError(f"the extra {name!r} may contain {allowed}, but no other braces")
    url = urlsplit(template.format(**fields))
    if url.scheme not in ("http", "https"):
        raise WRValidationError(f"the extra {name!r} is not an http(s) URL")
    return template
