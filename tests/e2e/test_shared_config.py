"""
DAG runs that overlap, each with its own value of a config that all runs share.

With a setting that keeps them apart, each White Rabbit run has the value of its own DAG run. Without one there is a
warning when the DAG is parsed, and what cannot be told apart is not sent.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dev.local_airflow import LocalAirflow

from .conftest import PrintTable
from .dagrun import DagRun
from .dags.shared_config import WIDTH
from .rabbit import Rabbit

#: Pools: slots, and whether deferred tasks take one.
POOLS = {
    "wr_one": (1, True),
    "wr_fan_out": (1, True),
    "wr_two": (2, True),
    "wr_not_deferred": (1, False),
}

#: How many runs of each DAG overlap.
OVERLAPPING = {
    "turns_max_active_runs": 4,
    "turns_pool": 20,
    "turns_task_limit": 20,
    "separate_turns": 4,
    "fan_out_turns_limit": 1,
    "fan_out_turns_pool": 1,
    "overlap": 4,
    "overlap_allowed": 4,
    "overlap_pool_of_two": 4,
    "overlap_pool_without_deferred": 4,
    "separate_overlap": 4,
    "fan_out_overlap": 1,
}
