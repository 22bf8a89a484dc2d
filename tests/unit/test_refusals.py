"""What a run's item keeps of backends that take no jobs: little, the newest, until one is taken."""

from hut.model.records import Refusal
from hut.store.dynamodb.refusals import forget_refusals, note_refusals, refusals_of


def refusal(said="no", partition=None, since=100.0, at=None, backend="batch"):
    return Refusal(backend, partition, said, since, since if at is None else at)


def test_nothing_is_kept_where_nothing_was_refused():
    meta = {}
    note_refusals(meta, [])
    assert (meta, refusals_of(meta), forget_refusals(meta, {("batch", None)})) == ({}, (), False)


def test_the_last_words_and_the_first_time_are_kept_of_each_place():
    meta = {}
    note_refusals(meta, [refusal("first"), refusal("other", "ec2")])
    note_refusals(meta, [refusal("last", since=160.0)])
    assert refusals_of(meta) == (
        refusal("other", "ec2"),
        refusal("last", since=100.0, at=160.0),
    )


def test_after_a_long_time_without_one_it_begins_anew():
    meta = {}
    note_refusals(meta, [refusal(since=100.0)])
    note_refusals(meta, [refusal(since=1899.0)])
    assert refusals_of(meta)[0].since == 100.0
    note_refusals(meta, [refusal(since=4000.0)])
    assert refusals_of(meta)[0].since == 4000.0


def test_what_is_kept_is_bounded():
    meta = {}
    note_refusals(meta, [refusal("é" * 5000, f"p{number}") for number in range(9)])
    kept = refusals_of(meta)
    assert [entry.partition for entry in kept] == ["p5", "p6", "p7", "p8"]
    assert len(meta["refused"].encode()) < 2800


def test_a_place_that_takes_a_job_is_forgotten_and_no_other():
    meta = {}
    note_refusals(meta, [refusal(), refusal(partition="ec2")])
    assert not forget_refusals(meta, {("other", None)})
    assert forget_refusals(meta, {("batch", None)})
    assert refusals_of(meta) == (refusal(partition="ec2"),)
    assert forget_refusals(meta, {("batch", "ec2")})
    assert meta == {}
