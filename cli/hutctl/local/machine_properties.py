"""What this machine offers to tasks that ask for properties, without anybody having to say it."""

from __future__ import annotations

import os
import platform

from hutctl.local.runner import usable_cores

__all__ = ["machine_properties"]

_SAME = {"arm64": "aarch64", "amd64": "x86_64"}  # as systems call them, and as schedulers do


def machine_properties() -> dict[str, str]:
    """Return cores this process may use, memory, processor and system, as far as they are known."""
    machine = platform.machine().lower()
    found = {
        "cpu_count": str(usable_cores()),
        "cpu_arch": _SAME.get(machine, machine),
        "OSFamily": platform.system(),
    }
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):  # a system that does not tell
        return found
    return found | {"memory_kb": str(memory // 1024), "memory_mb": str(memory // 1024**2)}
