"""The shell script that runs a task. Pure text; what runs it is a backend's business."""

from hut.script.render import Journal, ScriptRequest, Scripts, render_script
from hut.script.variables import attempt_variables, init_lines, variables_of

__all__ = [
    "Journal",
    "ScriptRequest",
    "Scripts",
    "attempt_variables",
    "init_lines",
    "render_script",
    "variables_of",
]
