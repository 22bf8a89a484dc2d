"""All stacks of one deployment, put together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aws_cdk import App, Environment, Tags
from aws_cdk import aws_lambda as lambda_

from infra.api import ApiStack
from infra.compute import ComputeStack
from infra.control import ControlStack
from infra.settings import Settings
from infra.storage import StorageStack
from infra.watching import WatchStack

__all__ = ["Deployment", "add_stacks"]


@dataclass(frozen=True, slots=True)
class Deployment:
    """The stacks of one deployment."""

    storage: StorageStack
    compute: ComputeStack
    control: ControlStack
    api: ApiStack
    watch: WatchStack | None


def add_stacks(app: App, settings: Settings, code: Mapping[str, lambda_.Code]) -> Deployment:
    """Add the stacks to an app.

    Parameters
    ----------
    code
        The bundle of each Lambda function; see `infra.bundling`.
    """
    name = settings.prefix.capitalize()
    env = Environment(account=settings.account, region=settings.region)
    storage = StorageStack(
        app, f"{name}Storage", settings, env=env, description="Hut: table, bucket and logs"
    )
    compute = ComputeStack(
        app,
        f"{name}Compute",
        settings,
        storage,
        env=env,
        description="Hut: where jobs run",
    )
    control = ControlStack(
        app,
        f"{name}Control",
        settings,
        storage=storage,
        compute=compute,
        code=code,
        env=env,
        description="Hut: functions, queues, rules and the run state machine",
    )
    api = ApiStack(
        app,
        f"{name}Api",
        settings,
        storage=storage,
        control=control,
        env=env,
        description="Hut: the REST API",
    )
    watch = None
    if settings.alarms or settings.dashboard:
        watch = WatchStack(
            app,
            f"{name}Watch",
            settings,
            storage=storage,
            control=control,
            env=env,
            description="Hut: dashboard and alarms",
        )
    Tags.of(app).add("hut", settings.prefix)
    return Deployment(storage, compute, control, api, watch)
