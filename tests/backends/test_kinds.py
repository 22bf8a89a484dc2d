"""The entries of ``HUT_BACKENDS``: those of kinds that are known are read, the others passed over."""

import json

import pytest

from hut.backends.kinds import kind_of, read_backends
from hut.model.problems import InvalidInput
from tests.batch.plain_batch import ENTRY


def test_the_backends_of_an_installation_are_read():
    other = {"name": "big", "type": "slurm", "whatever": 1}
    found = read_backends(json.dumps([ENTRY, other, {**ENTRY, "name": "b2"}]), prefix="p")
    assert [(options.name, options.prefix) for options in found] == [("batch", "p"), ("b2", "p")]


def test_what_says_no_type_is_of_batch():
    assert kind_of({"name": "b"}) == "batch"
    assert kind_of({"name": "b", "type": "slurm"}) == "slurm"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "HUT_BACKENDS is not JSON"),
        ("{}", "not a JSON array"),
        ("[1]", r"'HUT_BACKENDS\[0\]': is not an object"),
        (json.dumps([ENTRY, ENTRY]), r"'HUT_BACKENDS\[1\].name': there are two"),
        (json.dumps([1, {**ENTRY, "name": 1}]), r"HUT_BACKENDS\[0\].*\[1\].name': must be a text"),
    ],
)
def test_a_faulty_list_of_backends_is_told(text, told):
    with pytest.raises(InvalidInput, match=told):
        read_backends(text)
