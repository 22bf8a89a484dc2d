"""On a terminal: live progress, colours, and Ctrl-C."""

from __future__ import annotations

import re

from tests.cli.terminal_session import COLUMNS, CTRL_C, Terminal, on_terminal
from tests.hutctl_process import Hut, alive, wait_until

COLOUR = re.compile(r"\x1b\[[\d;]*m")
CONTROL = re.compile(r"\x1b\[[\d;?]*[a-zA-Z]|\x1b\].*?\x07")
SHOW, HIDE = "\x1b[?25h", "\x1b[?25l"


def plain(terminal: Terminal) -> list[str]:
    """Return the lines that were written, without codes."""
    return CONTROL.sub("", terminal.screen.replace("\r\n", "\n")).split("\n")


def check_clean(terminal: Terminal) -> None:
    """Check that the cursor is shown again and no colour is left on."""
    assert terminal.screen.rfind(SHOW) >= terminal.screen.rfind(HIDE)
    codes = COLOUR.findall(terminal.screen)
    assert not codes or codes[-1] in {"\x1b[0m", "\x1b[m"}
    assert "\x1b[?1049" not in terminal.screen  # what was there before stays
    assert terminal.visible()[-1] == ""  # the prompt begins a line of its own


def test_live_progress_shows_a_bar_counts_and_what_runs(hut: Hut) -> None:
    hold = "until [ -e go ]; do sleep 0.05; done"
    tasks = [{"id": f"quick.{i}", "command": "true"} for i in range(4)]
    tasks += [{"id": "slow.one", "command": hold}, {"id": "slow.two", "command": hold}]
    tasks += [{"id": "end", "command": "true", "deps": ["slow.*"]}]
    file = hut.write(tasks, name="study.json")
    with on_terminal(hut, "run", file, "--max-concurrent", "2") as terminal:
        terminal.wait_for(lambda screen: "4 completed" in screen and "2 running" in screen)
        (hut.folder / "go").touch()
        assert terminal.end() == 0
        lines = plain(terminal)
        check_clean(terminal)
    assert any("━" in line and "4 of 7" in line for line in lines)
    assert any("> slow.one" in line for line in lines)
    assert any("1 pending" in line for line in lines)
    assert max(len(line.rpartition("\r")[2]) for line in lines) <= COLUMNS
    assert not any("running    quick" in line for line in lines)  # no line per change here
    assert HIDE in terminal.screen
    run_id = hut.json("show", "last")["id"]
    left = [line for line in terminal.visible() if line]
    assert len(left) == 3
    assert "local" in left[0]
    assert left[1] == f"run {run_id}: study, 7 tasks"
    assert re.fullmatch(rf"study {run_id} completed after \S+: 7 completed", left[2])


def test_failures_stay_above_the_live_progress(hut: Hut) -> None:
    tasks = [{"id": "bad", "command": "exit 3"}, {"id": "t", "command": "sleep 0.8"}]
    tasks += [{"id": "after", "command": "true", "deps": ["bad"]}]
    with on_terminal(hut, "run", hut.write(tasks), "--max-concurrent", "2") as terminal:
        assert terminal.end() == 1
        check_clean(terminal)
        left = terminal.visible()
    assert re.search(r"\d\d:\d\d:\d\d failed     bad \(exit code 3\)", left[2])
    assert "failed after" in left[3]
    assert left[4:6] == ["", "bad: exit code 3"]
    assert "hutctl retry" in left[-2]


def test_many_tasks_and_failures_do_not_flood_the_terminal(hut: Hut) -> None:
    tasks = [{"id": f"t{i}", "command": "exit 1"} for i in range(300)]
    with on_terminal(hut, "run", hut.write(tasks)) as terminal:
        assert terminal.end() == 1
        check_clean(terminal)
        lines = plain(terminal)
    told = [line for line in lines if re.search(r"failed +t\d+ \(exit", line)]
    assert 0 < len(told) <= 30
    assert any("further failures" in line for line in lines)
    assert any("300 failed" in line for line in lines)


def test_ctrl_c_cancels_and_leaves_the_terminal_clean(hut: Hut) -> None:
    command = "echo $$ > pid; sleep 600 & wait"
    tasks = [{"id": "t", "command": command}, {"id": "u", "command": "true", "deps": ["t"]}]
    with on_terminal(hut, "run", hut.write(tasks)) as terminal:
        terminal.wait_for(lambda screen: "1 running" in screen and hut.lines("pid"))
        terminal.type(CTRL_C)
        assert terminal.end() == 130
        check_clean(terminal)
        text = "\n".join(plain(terminal))
    assert "cancelled" in text
    assert "hutctl retry" in text
    assert "Traceback" not in text
    assert hut.json("show", "last")["state"] == "cancelled"
    assert not alive(int(hut.lines("pid")[0]))


def test_ctrl_c_of_watch_and_logs_leaves_the_run_alone(under_way: Hut) -> None:
    with on_terminal(under_way, "watch", "last") as terminal:
        terminal.wait_for(lambda screen: "1 running" in screen)
        terminal.type(CTRL_C)
        assert terminal.end() == 130
        check_clean(terminal)
        assert "goes on" in terminal.screen
    with on_terminal(under_way, "logs", "last", "hold", "-f", "--target", "local") as terminal:
        terminal.wait_for(lambda screen: "printed" in screen)
        terminal.type(CTRL_C)
        assert terminal.end() == 130
        assert "Traceback" not in terminal.screen
    assert under_way.json("show", "last")["state"] == "running"


def test_ctrl_c_of_watch_leaves_its_message_and_no_rest_of_the_display(under_way: Hut) -> None:
    run_id = under_way.json("show", "last")["id"]
    with on_terminal(under_way, "watch", "last", "--target", "local") as terminal:
        terminal.wait_for(lambda screen: "1 running" in screen)
        terminal.type(CTRL_C)
        assert terminal.end() == 130
        left = [line for line in terminal.visible() if line]
    assert [line.removeprefix("^C") for line in left] == [f"run {run_id} goes on"]


def test_what_resume_tells_stays_above_the_live_progress(hut: Hut) -> None:
    hold = "touch on; until [ -e go ]; do sleep 0.05; done"
    process = hut.popen("run", hut.write([{"id": "t", "command": hold}]))
    wait_until((hut.folder / "on").exists)
    with on_terminal(hut, "resume", "last", "--target", "local") as terminal:
        terminal.wait_for(lambda screen: "1 running" in screen)
        (hut.folder / "go").touch()
        assert terminal.end() == 0
        left = [line for line in terminal.visible() if line]
    process.communicate(timeout=30)
    assert len(left) == 2
    assert "another hutctl works on run" in left[0]
    assert "1 completed" in left[1]


def test_results_are_coloured_on_a_terminal_but_not_with_no_color(ended: Hut) -> None:
    for line in ("show last", "tasks last", "runs", "doctor"):
        with on_terminal(ended, *line.split()) as terminal:
            assert terminal.end() == 0
            assert COLOUR.search(terminal.screen), line
            check_clean(terminal)
        with on_terminal(ended, *line.split(), NO_COLOR="1") as terminal:
            assert terminal.end() == 0
            assert "\x1b" not in terminal.screen, line


def test_no_color_holds_for_live_progress(hut: Hut) -> None:
    tasks = [{"id": "t", "command": "sleep 0.5"}, {"id": "bad", "command": "exit 1"}]
    with on_terminal(hut, "run", hut.write(tasks), NO_COLOR="1") as terminal:
        assert terminal.end() == 1
        codes = {
            code for found in COLOUR.findall(terminal.screen) for code in found[2:-1].split(";")
        }
        check_clean(terminal)
    assert codes <= {"0", "1", "2", ""}  # bold and dim are no colours


def test_no_color_holds_for_errors(ended: Hut) -> None:
    with on_terminal(ended, "show", "zzz", NO_COLOR="1") as terminal:
        assert terminal.end() == 2
        assert "\x1b" not in terminal.screen


def test_a_plan_shows_control_codes_and_does_not_send_them(hut: Hut) -> None:
    file = hut.write([{"id": "t", "command": "echo \x1b]0;owned\x07 \x1b[2J"}])
    with on_terminal(hut, "plan", file, NO_COLOR="1") as terminal:
        assert terminal.end() == 0
        assert "\x1b" not in terminal.screen


def test_a_terminal_that_can_do_nothing_gets_lines(hut: Hut) -> None:
    tasks = [{"id": "t", "command": "sleep 0.4"}, {"id": "bad", "command": "exit 1"}]
    with on_terminal(hut, "run", hut.write(tasks), TERM="dumb", NO_COLOR="1") as terminal:
        assert terminal.end() == 1
        assert "\x1b" not in terminal.screen
        assert "failed     bad" in terminal.screen


def test_json_on_a_terminal_is_indented_and_not_coloured(ended: Hut) -> None:
    with on_terminal(ended, "show", "last", "--json", "--target", "local") as terminal:
        assert terminal.end() == 0
        assert "\x1b" not in terminal.screen
        assert terminal.screen.startswith('{\r\n  "id"')
