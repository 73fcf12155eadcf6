"""The commands, as Airflow reads them whenever any ``airflow`` command runs: nothing heavy is imported here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_3_PLUS

if TYPE_CHECKING:
    from collections.abc import Sequence

DOUBTS = (
    "List triggers whose outcome is unknown, runs that were started and not seen to end, and credits by DAG and "
    "day. It reads what tasks left in Airflow's database, asks White Rabbit nothing, and says what it cannot see."
)


def get_commands() -> Sequence[Any]:
    """Return the commands; none before Airflow 3.3, which does not store the state of tasks."""
    if not AIRFLOW_V_3_3_PLUS:
        return []

    from airflow.cli.cli_config import ActionCommand, Arg, GroupCommand, lazy_load_command, positive_int

    return [
        GroupCommand(
            name="wr",
            help="White Rabbit: what tasks started and what it cost",
            subcommands=(
                ActionCommand(
                    name="doubts",
                    help="List doubts, unfinished runs and credits",
                    description=DOUBTS,
                    func=lazy_load_command("airflow_provider_wr.cli.doubts.doubts"),
                    args=(
                        Arg(
                            ("--days",),
                            help="days to look back for runs and credits; doubts are listed whatever their age",
                            type=positive_int(allow_zero=False),
                            default=30,
                        ),
                        Arg(("--json",), help="print JSON", action="store_true"),
                    ),
                ),
            ),
        )
    ]
