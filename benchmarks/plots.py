"""Pictures beside the tables: what an event costs over the size of its run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["CostRow", "plot_costs"]


class CostRow(NamedTuple):
    """What a run of a size came to.

    Attributes
    ----------
    tasks : int
        Of the run.
    requests, write_units : float
        Calls to AWS and write units of DynamoDB, for each attempt that ended.
    peak_mib : float
        Most memory that a process of a function had; 0 where it was not measured.
    """

    tasks: int
    requests: float
    write_units: float
    peak_mib: float = 0.0


def plot_costs(series: Mapping[str, Sequence[CostRow]], path: Path) -> None:
    """Draw what an event costs, and the memory of functions, over the size of the run.

    Parameters
    ----------
    series
        Rows by where they come from: the test bed, the simulator.
    path
        An SVG file; the same rows give the same file.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams["svg.hashsalt"] = "hut"
    figure, (cost, memory) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for name, unsorted in series.items():
        rows = sorted(unsorted)
        sizes = [row.tasks for row in rows]
        cost.plot(sizes, [row.requests for row in rows], "o-", label=f"requests ({name})")
        cost.plot(sizes, [row.write_units for row in rows], "s--", label=f"write units ({name})")
        if any(row.peak_mib for row in rows):
            memory.plot(sizes, [row.peak_mib for row in rows], "o-", label=name)
    cost.set(title="Cost of an event", ylabel="for each attempt that ended")
    memory.set(title="Memory of the largest function", ylabel="MiB at most")
    for axes in (cost, memory):
        axes.set(xlabel="tasks of the run", xscale="log")
        axes.set_ylim(bottom=0)
        axes.grid(visible=True, alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize="small")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
