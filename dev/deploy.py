"""Looks at the files of ``docs/deploy`` with the tools of their own kinds. The Makefile brings these tools."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

DEPLOY = Path(__file__).parents[1] / "docs" / "deploy"

COMPONENTS = {"api-server", "scheduler", "dag-processor", "triggerer"}

KUBERNETES = "1.33"
"""The version whose schemas the rendered manifests must fit."""


def check_compose() -> None:
    """Read the Compose file as the specification's models do."""
    from compose_spec import ComposeSpecification  # type: ignore[import-not-found]

    text = (DEPLOY / "compose.yaml").read_text()
    services = ComposeSpecification.model_validate(yaml.safe_load(text)).services
    print(f"compose.yaml: {len(services)} services fit the Compose specification")


def check_chart(chart: Path) -> None:
    """Render the official Helm chart with our values, for both executors, and look at each manifest."""
    from helm_python.chart import Chart, lint  # type: ignore[import-not-found]

    values = yaml.safe_load((DEPLOY / "values.yaml").read_text())
    if errors := lint(chart, values=values)["errors"]:
        sys.exit(f"values.yaml: {errors}")
    with Chart.load(chart) as loaded:
        for executor in (values["executor"], "KubernetesExecutor"):
            texts = loaded.render(values={**values, "executor": executor}, name="airflow")
            manifests = [
                manifest
                for name, text in texts.items()
                if not name.endswith("NOTES.txt")
                for manifest in yaml.safe_load_all(text)
                if manifest
            ]
            pods = check_manifests(manifests, values["images"]["airflow"])
            print(
                f"values.yaml, {executor}: Helm renders chart {loaded.version} into {len(manifests)} manifests of "
                f"Kubernetes {KUBERNETES}; with our image and connection: {pods}"
            )


def check_manifests(manifests: list[dict[str, Any]], image: dict[str, str]) -> str:
    """Check each manifest, and that all components have our image and the connection; returns which they are."""
    import kubernetes_validate  # type: ignore[import-not-found]

    for manifest in manifests:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    pods = [(each["spec"]["replicas"], each["spec"]["template"]) for each in manifests if is_ours(each, image)]
    for each in manifests:
        if template := each.get("data", {}).get("pod_template_file.yaml"):
            pods.append(("one for each task", yaml.safe_load(template)))
    found = {}
    for replicas, pod in pods:
        container = pod["spec"]["containers"][0]
        found[container["name"]] = replicas
        if {"secretRef": {"name": "wr-connection"}} not in container.get("envFrom", []):
            sys.exit(f"values.yaml: {container['name']} has no connection")
    runs_tasks = found.keys() & {"worker", "base"} or {"worker"}
    if missing := (COMPONENTS | runs_tasks) - found.keys():
        sys.exit(f"values.yaml: these do not have our image: {missing}")
    return ", ".join(f"{name} ({replicas})" for name, replicas in sorted(found.items()))


def is_ours(manifest: dict[str, Any], image: dict[str, str]) -> bool:
    """Return whether a manifest starts pods with our image."""
    if manifest["kind"] not in ("Deployment", "StatefulSet"):
        return False
    container = manifest["spec"]["template"]["spec"]["containers"][0]
    return bool(container["image"] == f"{image['repository']}:{image['tag']}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m dev.deploy", description=__doc__)
    parser.add_argument("--chart", type=Path, help="the folder of the official Helm chart; without it no values")
    chart = parser.parse_args().chart
    check_compose()
    if chart:
        check_chart(chart)
    else:
        print("values.yaml: not rendered, since there is no chart: CHART=folder")


if __name__ == "__main__":
    main()
