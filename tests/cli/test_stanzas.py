"""A backend is put into a hut.yaml; everything else of the file stays as it was written."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
import yaml

from hut.model.problems import InvalidInput
from hutctl.ec2_setup.stanzas import as_yaml, with_backend, write_whole

ENTRY = {"name": "ec2", "type": "ec2", "subnet_ids": ["subnet-0123abcd"], "max_instances": 4}
ITEM = "- name: ec2\n  type: ec2\n  subnet_ids:\n  - subnet-0123abcd\n  max_instances: 4\n"


def indented(columns: int) -> str:
    return "".join(" " * columns + line for line in ITEM.splitlines(keepends=True))


BLOCK = """\
# of the lab
backends:  # here they are
  # the queue
  - {name: batch, type: batch}
  - name: ec2   # ours
    type: ec2
    extra_tags:
      Team: blue   # a comment
  # behind it

environments: []  # none yet
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "backends:\n" + indented(2)),
        ("# only this\n", "# only this\nbackends:\n" + indented(2)),
        ("settings: {}", "settings: {}\nbackends:\n" + indented(2)),
        ("backends:\nsettings: {}\n", "backends:\n" + indented(2) + "settings: {}\n"),
        ("backends: []  # none\nsettings: {}\n",
         "backends:  # none\n" + indented(2) + "settings: {}\n"),
        ("backends:\n- {name: b, type: batch}\n# end\n",
         "backends:\n- {name: b, type: batch}\n" + ITEM + "# end\n"),
        ("backends:\n    - name: b\n      type: batch\n\n# end\n",
         "backends:\n    - name: b\n      type: batch\n" + indented(4) + "\n# end\n"),
        ("backends:\n  -\n    name: ec2\n    type: ec2\n  - {name: b, type: batch}\n",
         "backends:\n" + indented(2) + "  - {name: b, type: batch}\n"),
        (BLOCK, BLOCK.replace(
            "  - name: ec2   # ours\n    type: ec2\n    extra_tags:\n      Team: blue   # a comment\n",
            indented(2))),
        ("backends: [{name: b, type: batch}]  # x\n",
         ("backends: [{name: b, type: batch}, {name: ec2, type: ec2, subnet_ids: [subnet-0123abcd], "
         "max_instances: 4}]  # x\n")),
        ("backends: [{name: ec2, type: ec2, spot: only}, {name: b, type: batch}]\n",
         ("backends: [{name: ec2, type: ec2, subnet_ids: [subnet-0123abcd], max_instances: 4}, "
         "{name: b, type: batch}]\n")),
        ("backends:\r\n  - {name: b, type: batch}\r\n",
         "backends:\r\n  - {name: b, type: batch}\r\n" + indented(2).replace("\n", "\r\n")),
        (("environments:\n  - name: e\n    extra_init: |\n      a\n      # no comment\nbackends:\n"
         "  - name: b\n    type: batch\n    default_image: >-\n      debian\n"),
         "environments:\n  - name: e\n    extra_init: |\n      a\n      # no comment\nbackends:\n"
         "  - name: b\n    type: batch\n    default_image: >-\n      debian\n" + indented(2)),
    ],
)  # fmt: skip
def test_the_entry_goes_in_and_all_else_stays(before: str, after: str) -> None:
    assert with_backend(before, ENTRY, "hut.yaml") == after
    assert with_backend(after, ENTRY, "hut.yaml") == after


def test_what_can_not_be_changed_safely_is_left_alone() -> None:
    shared = "x: &all\n  - {name: b, type: batch}\nbackends: *all\n"
    with pytest.raises(InvalidInput, match="by hand"):
        with_backend(shared, ENTRY, "hut.yaml")


def test_json_has_no_comments_to_keep() -> None:
    new = with_backend('{"settings": {}}', ENTRY, "hut.json")
    assert json.loads(new) == {"settings": {}, "backends": [ENTRY]}


def test_what_is_printed_is_what_is_written() -> None:
    assert as_yaml(ENTRY) == ITEM
    assert yaml.safe_load(as_yaml(ENTRY)) == [ENTRY]


def test_a_file_is_replaced_whole_with_the_rights_it_had(tmp_path: Path) -> None:
    goal, link = tmp_path / "lab.yaml", tmp_path / "hut.yaml"
    goal.write_text("old")
    goal.chmod(0o640)
    link.symlink_to(goal)
    write_whole(link, "new\r\n")
    assert link.is_symlink()
    assert goal.read_bytes() == b"new\r\n"
    assert stat.S_IMODE(goal.stat().st_mode) == 0o640
    write_whole(tmp_path / "fresh.yaml", "x")
    (tmp_path / "other").touch()
    assert (tmp_path / "fresh.yaml").stat().st_mode == (tmp_path / "other").stat().st_mode
    assert {path.name for path in tmp_path.iterdir()} == {
        "fresh.yaml",
        "hut.yaml",
        "lab.yaml",
        "other",
    }
