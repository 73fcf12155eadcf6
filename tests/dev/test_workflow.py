"""GitHub's workflow runs what every other CI runs."""

from __future__ import annotations

import yaml
from environments import ROOT


def test_the_workflow_runs_the_whole_check_and_nothing_else() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    commands = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert commands == [".ci/run"]
