"""From a workflow file to a plan: reading, validation, dependencies, order. Pure."""

from hut.planning.graph import LargeRun
from hut.planning.plan import Extension, Names, Plan, extend_run, plan_text

__all__ = ["Extension", "LargeRun", "Names", "Plan", "extend_run", "plan_text"]
