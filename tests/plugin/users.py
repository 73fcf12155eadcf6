"""Users who may see one DAG each, which Airflow's simple auth manager does not know: it has roles alone."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser


class OneDagAuthManager(SimpleAuthManager):
    """A user who is named after a DAG may see that DAG, as a role has it; every other user may see all."""

    def is_authorized_dag(self, *, user: Any, details: Any = None, **asked: Any) -> bool:
        name = user.username
        if name.startswith("viewer of ") and (details is None or name != f"viewer of {details.id}"):
            return False
        return bool(super().is_authorized_dag(user=user, details=details, **asked))


def viewer_of(dag_id: str) -> SimpleAuthManagerUser:
    """Return a user who may look at one DAG, and change nothing."""
    return SimpleAuthManagerUser(username=f"viewer of {dag_id}", role="viewer")
