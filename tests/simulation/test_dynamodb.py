"""What AWS documents of DynamoDB and the simulated one does, and the hooks for simulations.

Also what the emulator does not do as AWS: an update that only takes away makes no item ("UpdateItem",
"REMOVE"), limits of sizes, a transaction with an item that does not fit its table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.simulation.dynamodb import Change, SimulatedDynamoDB

KB = 1024


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def db(clock: Clock) -> SimulatedDynamoDB:
    """With one table `t` and one index `i`."""
    db = SimulatedDynamoDB(clock, copies=True)
    db.create_table(
        TableName="t",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": n, "AttributeType": "S"} for n in ("g", "pk", "sk")
        ],
        KeySchema=[
            {"AttributeName": "pk", "KeyType": "HASH"},
            {"AttributeName": "sk", "KeyType": "RANGE"},
        ],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "i",
                "KeySchema": [
                    {"AttributeName": "g", "KeyType": "HASH"},
                    {"AttributeName": "sk", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ],
    )
    return db


def key(sk: str = "1", pk: str = "p") -> dict[str, Any]:
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def put(db: SimulatedDynamoDB, sk: str = "1", **more: Any) -> None:
    db.put_item(TableName="t", Item={**key(sk), **more})


def update(db: SimulatedDynamoDB, text: str, sk: str = "1", **more: Any) -> Any:
    values = {f":{name}": value for name, value in more.items()}
    arguments = {"ExpressionAttributeValues": values} if values else {}
    return db.update_item(
        TableName="t", Key=key(sk), UpdateExpression=text, ReturnValues="ALL_NEW", **arguments
    ).get("Attributes")


def item(db: SimulatedDynamoDB, sk: str = "1") -> Any:
    return db.get_item(TableName="t", Key=key(sk)).get("Item")


def refused(code: str, call: Callable[..., Any], *arguments: Any, **more: Any) -> str:
    """Call something that is refused, and return what is said."""
    with pytest.raises(ClientError) as caught:
        call(*arguments, **more)
    error = caught.value.response["Error"]
    assert error["Code"] == code, error
    return error["Message"]


def codes(db: SimulatedDynamoDB, *entries: Any, **more: Any) -> list[str]:
    """Return why a transaction was cancelled."""
    with pytest.raises(ClientError) as caught:
        db.transact_write_items(TransactItems=list(entries), **more)
    return [reason["Code"] for reason in caught.value.response["CancellationReasons"]]


# Updates ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["REMOVE a", "REMOVE a.b", "REMOVE a[0]"])
def test_an_update_that_only_takes_away_makes_no_item(db: SimulatedDynamoDB, text: str) -> None:
    assert update(db, text) is None
    assert update(db, "DELETE a :s", s={"SS": ["x"]}) is None
    assert item(db) is None


def test_a_set_without_elements_is_no_attribute(db: SimulatedDynamoDB) -> None:
    put(db, a={"SS": ["x", "y"]})
    assert "a" not in update(db, "DELETE a :s", s={"SS": ["x", "y", "z"]})
    assert "may not be empty" in refused("ValidationException", put, db, a={"SS": []})
    assert "may not be empty" in refused(
        "ValidationException", update, db, "ADD a :s", s={"NS": []}
    )


def test_documents_are_changed_inside(db: SimulatedDynamoDB) -> None:
    two = {"L": [{"N": "1"}, {"M": {"x": {"S": "old"}}}]}
    put(db, a={"M": {"b": two}})
    changed = update(db, "SET a.b[1].x = :new, a.b[9] = :new REMOVE a.b[0]", new={"S": "new"})
    assert changed["a"] == {"M": {"b": {"L": [{"M": {"x": {"S": "new"}}}, {"S": "new"}]}}}
    assert "invalid for update" in refused(
        "ValidationException", update, db, "SET c.d = :v", v={"N": "1"}
    )
    for text, what in (
        ("SET a = :v, a.b = :v", "overlap"),
        ("SET a.b = :v, a[1] = :v", "conflict"),
    ):
        assert what in refused("ValidationException", update, db, text, v={"N": "1"})


def test_all_operands_are_read_before_anything_is_written(db: SimulatedDynamoDB) -> None:
    put(db, a={"N": "1"})
    assert update(db, "SET b = a, a = a + :one REMOVE c", one={"N": "1"})["b"] == {"N": "1"}
    assert item(db)["a"] == {"N": "2"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SET pk = :v", "part of the key"),
        ("SET a = :v SET b = :v", "only be used once"),
        ("SET a = b + :v", "does not exist in the item"),
        ("SET name = :v", "reserved keyword: name"),
        ("SET a = :v + :v + :v", "Syntax error"),
        ("SET a = f(:v)", "Invalid function name; function: f"),
        ("SET a = size(:v)", "Invalid function name; function: size"),
        ("SET a = if_not_exists(:v, :v)", "requires a document path"),
        ("ADD text :v", "reserved keyword: text"),
        ("ADD t :v", "incorrect data type"),
        ("SET a = e - :v", "incorrect data type"),
        ("SET a = :v, #b = :v", "not defined; attribute name: #b"),
        ("SET a = :w", "not defined; attribute value: :w"),
        ("REMOVE a", "unused in expressions: keys: {:v}"),
        ("SET a = :v extra", "Syntax error"),
        ("LET a = :v", "Syntax error"),
        ("", "can not be empty"),
    ],
)
def test_an_update_that_is_wrong_says_why(db: SimulatedDynamoDB, text: str, said: str) -> None:
    put(db, t={"S": "text"}, e={"S": ""})
    assert said in refused("ValidationException", update, db, text, v={"N": "1"})
    assert item(db) == {**key(), "t": {"S": "text"}, "e": {"S": ""}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("((a = :v))", "redundant parentheses"),
        ("a = a", "must be distinct"),
        ("a", "Syntax error"),
        ("begins_with(a, :v)", "operator: begins_with, operand type: NUMBER"),
        ("attribute_exists(:v)", "requires a document path"),
        ("attribute_type(a, :t)", "Invalid attribute type name found; type: X"),
        ("if_not_exists(a, :v) = :v", "Invalid function name"),
        ("a = attribute_exists(b)", "not allowed to be used this way"),
        ("Attribute_Exists(a)", "Invalid function name"),
    ],
)
def test_a_condition_that_is_wrong_says_why(db: SimulatedDynamoDB, text: str, said: str) -> None:
    values = {name: {"N": "1"} for name in (":v",) if name in text}
    values |= {name: {"S": "X"} for name in (":t",) if name in text}
    arguments = {"ExpressionAttributeValues": values} if values else {}
    message = refused(
        "ValidationException",
        db.put_item,
        TableName="t",
        Item=key(),
        ConditionExpression=text,
        **arguments,
    )
    assert said in message


def test_what_is_missing_differs_from_everything_and_is_in_no_order(db: SimulatedDynamoDB) -> None:
    def holds(text: str) -> bool:
        one = {"ExpressionAttributeValues": {":v": {"N": "1"}}} if ":v" in text else {}
        try:
            db.put_item(TableName="t", Item=key(), ConditionExpression=text, **one)
        except ClientError:
            return False
        return True

    assert holds("a <> :v")
    assert holds("a <> b")
    assert holds("NOT a < :v")
    assert not any(map(holds, ["a = :v", "a < :v", "a >= :v", "a IN (:v)", "a = b"]))


# Numbers, sizes, keys -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("1.0", "1"),
        ("1E+3", "1000"),
        ("-0.0", "0"),
        ("007", "7"),
        ("1732671234.123456", "1732671234.123456"),
        ("1e-05", "0.00001"),
        ("9" * 38, "9" * 38),
    ],
)
def test_numbers_are_kept_without_what_says_nothing(
    db: SimulatedDynamoDB, given: str, kept: str
) -> None:
    put(db, n={"N": given})
    assert item(db)["n"] == {"N": kept}


@pytest.mark.parametrize("given", ["", "x", "1" * 39, "1e126", "1e-131", "NaN", "Infinity"])
def test_what_is_no_number_is_refused(db: SimulatedDynamoDB, given: str) -> None:
    refused("ValidationException", put, db, n={"N": given})


def test_an_item_has_at_most_400_kb(db: SimulatedDynamoDB) -> None:
    fixed = len("pk" + "p" + "sk" + "1" + "a")
    put(db, a={"S": "x" * (400 * KB - fixed)})
    assert "exceeded" in refused(
        "ValidationException", put, db, a={"S": "x" * (400 * KB - fixed + 1)}
    )
    assert "to update" in refused("ValidationException", update, db, "SET b = :v", v={"N": "1"})


def test_keys_must_be_of_the_table(db: SimulatedDynamoDB) -> None:
    empty = {**key(), "sk": {"S": ""}}
    assert "empty string" in refused("ValidationException", db.get_item, TableName="t", Key=empty)
    number = {**key(), "sk": {"N": "1"}}
    assert "Type mismatch" in refused(
        "ValidationException", db.put_item, TableName="t", Item=number
    )
    for wrong in ({"pk": {"S": "p"}}, {**key(), "more": {"S": "x"}}, number):
        message = refused("ValidationException", db.get_item, TableName="t", Key=wrong)
        assert "does not match the schema" in message
    assert "IndexName: i" in refused("ValidationException", put, db, g={"N": "1"})
    refused("ResourceNotFoundException", db.get_item, TableName="other", Key=key())


# Queries ------------------------------------------------------------------------------------------


def query(db: SimulatedDynamoDB, text: str = "pk = :p", **more: Any) -> Any:
    values = {":p": {"S": "p"}, **more.pop("values", {})}
    return db.query(
        TableName="t", KeyConditionExpression=text, ExpressionAttributeValues=values, **more
    )


def test_a_page_ends_with_the_item_that_fills_a_megabyte(db: SimulatedDynamoDB) -> None:
    for number in range(8):
        put(db, str(number), a={"S": "x" * 300 * KB}, even={"BOOL": number % 2 == 0})
    page = query(db, FilterExpression="even = :yes", values={":yes": {"BOOL": True}})
    assert (page["ScannedCount"], page["Count"], page["LastEvaluatedKey"]) == (4, 2, key("3"))
    page = query(db, ExclusiveStartKey=key("3"), ScanIndexForward=False)
    assert [found["sk"]["S"] for found in page["Items"]] == ["2", "1", "0"]
    assert "LastEvaluatedKey" not in page


def test_a_page_that_ends_at_its_limit_names_its_last_item(db: SimulatedDynamoDB) -> None:
    put(db, "1")
    put(db, "2")
    assert query(db, Limit=2)["LastEvaluatedKey"] == key("2")
    assert query(db, Limit=2, ExclusiveStartKey=key("2"))["Items"] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sk = :p", "missed key schema element: pk"),
        ("pk = :p AND a = :p", "missed key schema element: sk"),
        ("pk > :p", "not supported"),
        ("pk = :p OR sk = :p", "Invalid operator"),
        ("pk = :p AND sk <> :p", "Invalid operator"),
        ("pk = :p AND contains(sk, :p)", "Invalid operator"),
        ("pk = :p AND sk > :p AND sk < :p", "only contain one condition per key"),
    ],
)
def test_a_key_condition_is_one_range_of_one_partition(
    db: SimulatedDynamoDB, text: str, said: str
) -> None:
    assert said in refused("ValidationException", query, db, text)


def test_a_query_is_refused_what_it_can_not_have(db: SimulatedDynamoDB) -> None:
    assert "non-primary key" in refused(
        "ValidationException", query, db, FilterExpression="sk = :p"
    )
    message = refused(
        "ValidationException", query, db, "g = :p", IndexName="i", ConsistentRead=True
    )
    assert "not supported on global" in message
    refused("ValidationException", query, db, IndexName="other")
    refused("ValidationException", query, db, ExclusiveStartKey={"pk": {"S": "p"}})
    refused("ValidationException", query, db, ExclusiveStartKey=key(pk="q"))


def test_an_index_shows_only_keys_and_items_that_have_its_own(db: SimulatedDynamoDB) -> None:
    put(db, "1", g={"S": "p"}, a={"S": "x"})
    put(db, "2", a={"S": "x"})
    assert query(db, "g = :p", IndexName="i")["Items"] == [{**key("1"), "g": {"S": "p"}}]
    update(db, "REMOVE g")
    assert query(db, "g = :p", IndexName="i")["Items"] == []


# Batches ------------------------------------------------------------------------------------------


def test_batches_have_their_limits(db: SimulatedDynamoDB) -> None:
    def read(*keys: Any) -> Any:
        return db.batch_get_item(RequestItems={"t": {"Keys": list(keys)}})

    def write(*items: Any) -> Any:
        return db.batch_write_item(RequestItems={"t": [{"PutRequest": {"Item": i}} for i in items]})

    write(*(key(str(n)) for n in range(25)))
    assert len(read(*(key(str(n)) for n in range(100)))["Responses"]["t"]) == 25
    refused("ValidationException", write, *(key(str(n)) for n in range(26)))
    refused("ValidationException", read, *(key(str(n)) for n in range(101)))
    assert "duplicates" in refused("ValidationException", write, key(), key())
    assert "duplicates" in refused("ValidationException", read, key(), key())
    for call in (read, write):
        refused("ValidationException", call)


def test_a_read_of_a_batch_ends_at_16_mb(db: SimulatedDynamoDB) -> None:
    for number in range(50):
        put(db, str(number), a={"S": "x" * 399 * KB})
    asked = [key(str(number)) for number in range(50)]
    answer = db.batch_get_item(RequestItems={"t": {"Keys": asked, "ConsistentRead": True}})
    left = answer["UnprocessedKeys"]["t"]
    assert left["ConsistentRead"]
    assert [found["sk"] for found in answer["Responses"]["t"]] + [
        k["sk"] for k in left["Keys"]
    ] == [k["sk"] for k in asked]
    assert len(left["Keys"]) == 9


def test_what_the_service_does_not_get_to_is_left(db: SimulatedDynamoDB) -> None:
    db.unprocessed = lambda *_: 1
    requests = [{"PutRequest": {"Item": key(str(n))}} for n in range(3)]
    answer = db.batch_write_item(RequestItems={"t": requests})
    assert answer["UnprocessedItems"] == {"t": requests[2:]}
    asked = [key(str(n)) for n in range(2)]
    answer = db.batch_get_item(RequestItems={"t": {"Keys": asked}})
    assert (answer["Responses"], answer["UnprocessedKeys"]) == (
        {"t": [key("0")]},
        {"t": {"Keys": [key("1")]}},
    )
    code = "ProvisionedThroughputExceededException"
    refused(code, db.batch_get_item, RequestItems={"t": {"Keys": asked[:1]}})


# Transactions -------------------------------------------------------------------------------------


def put_entry(sk: str = "1", **more: Any) -> Any:
    return {"Put": {"TableName": "t", "Item": key(sk), **more}}


def test_a_transaction_is_all_or_nothing_and_tells_each_reason(db: SimulatedDynamoDB) -> None:
    put(db, "1", a={"S": "text"})
    exists = {"ConditionExpression": "attribute_exists(pk)"}
    check = {"ConditionCheck": {"TableName": "t", "Key": key("9"), **exists}}
    add = {"UpdateExpression": "ADD a :one", "ExpressionAttributeValues": {":one": {"N": "1"}}}
    wrong = {"Update": {"TableName": "t", "Key": key("1"), **add}}
    assert codes(db, put_entry("2"), check, wrong) == [
        "None",
        "ConditionalCheckFailed",
        "ValidationError",
    ]
    assert item(db, "2") is None


def test_a_write_that_does_not_fit_its_table_cancels_before_conditions(
    db: SimulatedDynamoDB,
) -> None:
    bad = {"Put": {"TableName": "t", "Item": {**key(), "sk": {"N": "1"}}}}
    failing = put_entry("3", ConditionExpression="attribute_exists(pk)")
    assert codes(db, put_entry("2"), bad, bad, failing) == [
        "None",
        "ValidationError",
        "None",
        "None",
    ]


def test_a_transaction_that_is_wrong_as_a_whole_is_refused(db: SimulatedDynamoDB) -> None:
    def transact(*entries: Any) -> Any:
        return db.transact_write_items(TransactItems=list(entries))

    transact(*(put_entry(str(n)) for n in range(100)))
    refused("ValidationException", transact, *(put_entry(str(n)) for n in range(101)))
    refused("ValidationException", transact)
    assert "one item" in refused("ValidationException", transact, put_entry(), put_entry())
    unconditional = {"ConditionCheck": {"TableName": "t", "Key": key()}}
    assert "conditionexpression" in refused("ValidationException", transact, unconditional).lower()
    names = {"ExpressionAttributeNames": {"#a": "a"}}
    refused("ValidationException", transact, put_entry(**names))
    large = {"a": {"S": "x" * 100 * KB}}
    many = [{"Put": {"TableName": "t", "Item": {**key(str(n)), **large}}} for n in range(42)]
    assert "size cannot exceed" in refused("ValidationException", transact, *many)
    transact(*many[:40])
    transact(*({"Delete": {"TableName": "t", "Key": key(str(n))}} for n in range(40)))


def test_a_failed_condition_shows_the_item_to_who_asks(db: SimulatedDynamoDB) -> None:
    put(db, a={"N": "1"})
    asks = {
        "ConditionExpression": "attribute_not_exists(pk)",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    with pytest.raises(ClientError) as caught:
        db.transact_write_items(TransactItems=[put_entry(**asks), put_entry("2")])
    reasons = caught.value.response["CancellationReasons"]
    assert reasons[0]["Item"] == {**key(), "a": {"N": "1"}}
    assert reasons[1] == {"Code": "None"}
    with pytest.raises(ClientError) as caught:
        db.put_item(TableName="t", Item=key(), **asks)
    assert caught.value.response["Item"] == {**key(), "a": {"N": "1"}}


def test_a_token_makes_a_repetition_harmless_for_ten_minutes(
    db: SimulatedDynamoDB, clock: Clock
) -> None:
    add = {"UpdateExpression": "ADD a :one", "ExpressionAttributeValues": {":one": {"N": "1"}}}
    entries = [{"Update": {"TableName": "t", "Key": key(), **add}}]
    for _ in range(3):
        db.transact_write_items(TransactItems=entries, ClientRequestToken="token")
    assert item(db)["a"] == {"N": "1"}
    refused(
        "IdempotentParameterMismatchException",
        db.transact_write_items,
        TransactItems=[put_entry()],
        ClientRequestToken="token",
    )
    clock.now += 601
    db.transact_write_items(TransactItems=entries, ClientRequestToken="token")
    assert item(db)["a"] == {"N": "2"}


def test_a_token_of_a_cancelled_transaction_is_free(db: SimulatedDynamoDB) -> None:
    entry = put_entry("2", ConditionExpression="attribute_exists(pk)")
    codes(db, entry, ClientRequestToken="token")
    put(db, "2")
    db.transact_write_items(TransactItems=[entry], ClientRequestToken="token")


# Hooks --------------------------------------------------------------------------------------------


@pytest.fixture
def told(db: SimulatedDynamoDB) -> list[list[Change]]:
    """What the table tells of calls."""
    told: list[list[Change]] = []
    db.committed.append(lambda changes: told.append(list(changes)))
    return told


def test_a_call_tells_all_its_changes_at_once(
    db: SimulatedDynamoDB, told: list[list[Change]]
) -> None:
    put(db, "1", a={"N": "1"})
    put(db, "1", a={"N": "1"})  # changes nothing: no stream tells of it
    delete = {"Delete": {"TableName": "t", "Key": key("1")}}
    db.transact_write_items(TransactItems=[delete, put_entry("2")])
    codes(db, put_entry("3"), put_entry("4", ConditionExpression="attribute_exists(pk)"))
    db.delete_item(TableName="t", Key=key("7"))
    first = {**key("1"), "a": {"N": "1"}}
    assert told == [
        [Change("t", key("1"), None, first)],
        [Change("t", key("1"), first, None), Change("t", key("2"), None, key("2"))],
    ]


def test_an_index_that_lags_shows_what_was(db: SimulatedDynamoDB, clock: Clock) -> None:
    lags = iter([10.0, 2.0])
    put(db, "1", g={"S": "p"})
    db.index_lag = lambda _: next(lags)

    def seen() -> list[str]:
        return [found["sk"]["S"] for found in query(db, "g = :p", IndexName="i")["Items"]]

    update(db, "REMOVE g")
    put(db, "2", g={"S": "p"})
    assert seen() == ["1"]
    clock.now += 2
    assert seen() == ["1", "2"]
    clock.now += 8
    assert seen() == ["2"]


def test_an_index_never_shows_an_older_change_after_a_newer(
    db: SimulatedDynamoDB, clock: Clock
) -> None:
    lags = iter([10.0, 2.0])
    db.index_lag = lambda _: next(lags)
    put(db, "1", g={"S": "p"})
    db.delete_item(TableName="t", Key=key("1"))
    for _ in range(12):
        clock.now += 1
        assert query(db, "g = :p", IndexName="i")["Items"] == []


def test_expired_items_are_there_until_the_service_comes(
    db: SimulatedDynamoDB, clock: Clock, told: list[list[Change]]
) -> None:
    put(db, "1", ttl={"N": str(int(clock.now))})
    put(db, "2", ttl={"N": str(int(clock.now) + 60)})
    put(db, "3", ttl={"S": "1"})
    put(db, "4", ttl={"N": "1"})  # over five years ago: taken for a mistake
    told.clear()
    assert len(query(db)["Items"]) == 4
    assert db.expire() == 1
    assert [found["sk"]["S"] for found in query(db)["Items"]] == ["2", "3", "4"]
    ((change,),) = told
    assert (change.key, change.new, change.by_ttl) == (key("1"), None, True)


def test_a_backup_is_the_table_as_it_was(db: SimulatedDynamoDB) -> None:
    put(db, "1", g={"S": "p"})
    backup = db.copy("t")
    update(db, "SET a = :v REMOVE g", v={"N": "1"})
    put(db, "2")
    db.restore(backup, "other")
    db.restore(backup)
    for name in ("t", "other"):
        found = db.scan(TableName=name)["Items"]
        assert found == [{**key("1"), "g": {"S": "p"}}]
        index = {"IndexName": "i", "KeyConditionExpression": "g = :p"}
        values = {"ExpressionAttributeValues": {":p": {"S": "p"}}}
        assert db.query(TableName=name, **index, **values)["Count"] == 1


def test_nothing_is_shared_where_copies_are_asked_for(db: SimulatedDynamoDB) -> None:
    mine = {**key(), "a": {"SS": ["x"]}}
    db.put_item(TableName="t", Item=mine)
    mine["a"]["SS"].append("y")
    item(db)["a"]["SS"].append("z")
    query(db)["Items"][0]["a"]["SS"].append("z")
    assert item(db)["a"] == {"SS": ["x"]}


def test_what_is_not_modelled_is_not_ignored(db: SimulatedDynamoDB) -> None:
    with pytest.raises(TypeError, match="Expected"):
        db.put_item(TableName="t", Item=key(), Expected={})
