"""Which pool a run goes to, and what that means for its submission."""

from __future__ import annotations

from hut.model.configuration import Configuration, WorkersBackend
from hut.model.records import RunRecord
from hut.model.scheduler import OF_POOLS, Scheduler
from hut.submission import Applied, Setting
from hutctl.local.driving import Machine
from hutctl.local.home import Home
from hutctl.local.pool.places import PoolFolder
from hutctl.local.pool.serving import PoolPlan

__all__ = ["kept_pool", "pool_of", "pool_setting"]

_TYPE = "workers"


def kept_pool(run: RunRecord) -> str | None:
    """Return the pool a run of this machine was submitted to, if any."""
    name = run.settings.backend
    return name if run.settings.backends.get(name, {}).get("type") == _TYPE else None


def pool_of(
    configuration: Configuration, name: str | None, *, required: bool = False
) -> WorkersBackend | None:
    """Return the pool of a name; if it is required, one that is not configured will do."""
    for entry in configuration.backends:
        if isinstance(entry, WorkersBackend) and entry.name == name:
            return entry
    return WorkersBackend(name=name or "", type="workers") if required else None


def pool_setting(
    home: Home,
    name: str,
    folder: str,
    configuration: Configuration | None = None,
    entry: WorkersBackend | None = None,
) -> tuple[Setting, Machine]:
    """Return what surrounds a submission to a pool, and how its tasks are run."""
    given = None if entry is None else entry.max_concurrent
    setting = Setting(
        environments={} if configuration is None else configuration.environments_by_name(),
        backends=(name,),
        base_dir=folder,
        applied=Applied(backends={name: {"type": _TYPE}}),
    )
    plan = PoolPlan(PoolFolder.of(home, name), _scheduler(configuration, entry))
    grace = 5.0 if configuration is None else configuration.local_backend().kill_grace
    return setting, Machine(name, given, grace, pool=plan)


def _scheduler(configuration: Configuration | None, entry: WorkersBackend | None) -> Scheduler:
    """Return the scheduler a pool names, or the first there is."""
    if configuration is None or not configuration.schedulers:
        return OF_POOLS
    wanted = None if entry is None else entry.scheduler
    named = [one for one in configuration.schedulers if wanted in (None, one.name)]
    return (named or configuration.schedulers)[0].scheduler()
