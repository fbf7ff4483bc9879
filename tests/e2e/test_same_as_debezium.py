"""walferry writes what Debezium writes: the real connector and walferry follow one source side by side, each to a broker of
its own. So both have the same prefix, and nothing has to be translated: names of schemas and source.name are compared, too."""
import json
import re
import struct
from contextlib import closing
from dataclasses import replace

import pytest

from harness.same import ABSENT, Allowed, compare
from harness.same_workload import EXTENSIONS, MADE, TABLES, interleaved, statements
from harness.topics import Record

PREFIX = "shop"
PARTITIONS = 3
CLOCK_MS = 120_000
# walferry has large transactions streamed, Debezium never; and values do not come as the session would show them
# (but for two settings: Debezium fails for good with bytea_output = escape, and loses digits with extra_float_digits = 0).
SETTINGS = {"logical_decoding_work_mem": "64kB", "max_prepared_transactions": 10, "timezone": "Asia/Kolkata",
            "datestyle": "German"}
HEARTBEATS = f"__debezium-heartbeat.{PREFIX}"


# ---- what may differ ----

def of_type(*names):
    """Matches columns of the workload with one of these types, and what is below them: in rows and in schemas."""
    found = [f"{table}.c{number}" for table, (_, _, kinds) in MADE.items() for number, kind in enumerate(kinds)
             if kind.name in names]
    assert found, names
    return "|".join(column(*name.split(".")) for name in found)


def column(table, name):
    return rf"{PREFIX}\.same\.{table} value\.(schema\.fields\.)?(before|after)\.(fields\.)?{name}(\W.*)?"


def column_of(difference):
    """schema.table.column, as Debezium's log names it."""
    found = re.fullmatch(r"value\.(?:schema\.fields\.)?(?:before|after)\.(?:fields\.)?(\w+).*", difference.path)
    return f"{difference.topic.removeprefix(PREFIX + '.')}.{found.group(1)}" if found else None


def said_in_header(difference):
    row, name = re.fullmatch(r"value\.(after|before)\.(\w+).*", difference.path).groups()
    return name in json.loads(difference.headers.get("walferry.special", "{}")).get(row, {})


def theirs_is_null(difference):
    return difference.theirs is None and difference.ours is not None


def ours_is_null(difference):
    return difference.ours is None and difference.theirs is not None


def same_float32(difference):
    return struct.pack("f", float(difference.theirs)) == struct.pack("f", float(difference.ours))


def same_time(difference):
    unit = {"ts_ms": 1, "ts_us": 1000, "ts_ns": 1000_000}[difference.path.rsplit(".", 1)[1]]
    return abs(int(difference.theirs) - int(difference.ours)) < CLOCK_MS * unit


def outside_of_transactions(difference):
    return difference.headers["walferry.xid"] == "0" and same_time(difference)


def allowed(log, schemas):
    """The list of all that may differ. log: the connector's, which tells what it could not do."""
    left_out = set(re.findall(r"No converter found for column (\S+) of type", log))
    failed = set(re.findall(r"Failed to properly convert data value for '(\S+)' of type", log))
    out = [
        # names and clocks
        Allowed(r".* value\.source\.version", "each names its own version"),
        Allowed(r".* value\.ts_(ms|us|ns)", "when each saw the change", same_time),
        Allowed(rf"{PREFIX}\.message value\.source\.ts_(ms|us|ns)",
                "a message outside of transactions was not committed: each says when it saw it", outside_of_transactions),
        Allowed(r".* headers\.walferry\..*", "headers of walferry's own: the identity of a change, and special values"),
        Allowed(r".* headers\.__debezium\.context\..*", "headers that name the connector and its task"),
        # values
        Allowed(r".* value\.(after|before)\..*",
                "a value outside of its semantic type: null and the header walferry.special, where Debezium says null, 0 or another value",
                said_in_header),
        Allowed(r".* value\.schema\.fields\.(before|after)\.fields\..*|.* value\.(before|after)\..*",
                "a column that Debezium leaves out, as its log says: it has no form for the type",
                lambda it: it.theirs is ABSENT and column_of(it) in left_out),
        Allowed(r".* value\.(before|after)\..*", "a value that Debezium could not convert, as its log says: null or [] there",
                lambda it: it.theirs in (None, []) and it.ours is not ABSENT and column_of(it) in failed),
        Allowed(of_type("name", "information_schema.sql_identifier"), "Debezium reads no values of the type name", theirs_is_null),
        Allowed(of_type("types.numbers"), "Debezium reads no values of domains over arrays", theirs_is_null),
        Allowed(of_type("int2vector", "oidvector"), "types of the catalogs, which walferry leaves out; Debezium says [] of any value",
                lambda it: it.ours is ABSENT),
        Allowed(of_type("numeric(3,-2)"), "Debezium takes the scale -2 for 2046: the same number, with 2048 digits"),
        Allowed(of_type("timestamp[]"), "Debezium counts timestamps in arrays by the Julian calendar before 1582-10-15"),
        Allowed(of_type("time[]"), "Debezium has 24:00:00 in arrays as 0"),
        Allowed(of_type("timestamptz[]"), "Debezium has times BC in arrays as of our era, -infinity as a year"),
        Allowed(of_type("real", "real[]"), "Java writes the smallest floats with other digits", same_float32),
    ]
    if not schemas:
        return out + [Allowed(rf"{PREFIX}\.same\.(defaults|required|grows) value\.(after|before)\..*",
                              "Connect's converters say the default instead of NULL (replace.null.with.default)", ours_is_null)]
    return out + [
        Allowed(of_type("bit(1)[]", "bit(8)[]", "bit(16)[]"), "Debezium's schema of an array of bit(n) is that of one value"),
        Allowed(r".* value\.schema\..*\.items\.optional", "Debezium says that such arrays hold no NULL, and fails when one does",
                lambda it: it.theirs is False and it.ours is True),
        Allowed(of_type("types.real_mood[]"), "Debezium knows no labels of an array of a domain over an enum"),
        Allowed(column("defaults", "us"), "Debezium takes DEFAULT current_user for the text CURRENT_USER",
                lambda it: it.theirs == "CURRENT_USER"),
        Allowed(r".* value\.source\.snapshot", "replace.null.with.default=false keeps the connector from saying false",
                lambda it: it.theirs is None and it.ours == "false"),
    ]


# ---- both at work ----

def prepare(source):
    source.sql("CREATE SCHEMA contrib; " + "; ".join(f"CREATE EXTENSION {name} SCHEMA contrib" for name in EXTENSIONS))
    source.sql(TABLES)
    for create, _, _ in MADE.values():
        source.sql(create)
    source.sql("CREATE PUBLICATION same FOR ALL TABLES")


class Markers:
    """Rows of same.last: when one has come, all before it has."""

    def __init__(self, source, brokers):
        self.source, self.brokers, self.count = source, brokers, 0

    def wait(self):
        self.count += 1
        self.source.sql("INSERT INTO same.last VALUES (%s)", [self.count])
        for broker in self.brokers:
            broker.wait_records(f"{PREFIX}.same.last", self.count)


def work(source, markers):
    """Both read the catalogs as they are when a table's changed shape comes: nothing is left of the shape before."""
    interleaved(source)
    with closing(source.connect()) as connection:  # its own "with" would be one transaction
        connection.cursor().execute("SET timezone = 'UTC'; SET datestyle = 'ISO'")
        for statement in statements():
            if "ALTER " in statement:
                markers.wait()
            try:
                connection.cursor().execute(statement)
            except Exception as error:
                raise AssertionError(f"{statement[:300]}: {error}") from error
    markers.wait()


def both(pair, brokers, schemas):
    """Debezium and walferry, at work. With schemas Debezium's converter leaves NULLs alone."""
    worker = {f"{part}.converter.replace.null.with.default": "false" for part in ("key", "value")} if schemas else {}
    connector = pair.debezium(brokers[0], PREFIX, schemas=schemas, publication="same", snapshot_mode="no_data", worker=worker, config={
        "topic.creation.default.partitions": PARTITIONS, "heartbeat.interval.ms": 200,
        "message.prefix.exclude.list": r"walferry\..*", "table.exclude.list": r"public\.dts_.*"})
    job = pair.job(file_only=True, phases=["incremental"], kafka={
        "brokers": brokers[1].client()["bootstrap.servers"], "prefix": PREFIX, "json_schema": schemas,
        "topics": {"partitions": PARTITIONS}})
    job.start()
    connector.start()
    job.wait_for("running")
    return connector, job


def everything(broker):
    """Records of all topics with data."""
    return broker.consume(sorted(topic for topic in broker.topics(f"{PREFIX}.") if topic != f"{PREFIX}.walferry"))


# ---- walferry compat of both ----

WITH = "dbz"


def copy(records, broker):
    """Another's records to where ours are, under the prefix WITH, as the connector would write them there."""
    def named(text):
        return text and text.replace(f'"name":"{PREFIX}.'.encode(), f'"name":"{WITH}.'.encode())
    names = {record.topic: record.topic.replace(PREFIX, WITH, 1) for record in records}
    for name in sorted(set(names.values())):
        broker.create_topic(name, PARTITIONS)
    producer = broker.producer()
    for record in records:
        producer.produce(names[record.topic], named(record.value), named(record.key), record.partition,
                         headers=[(name, named(value)) for name, value in record.headers])
        producer.poll(0)
    assert producer.flush(30) == 0


def place_of(record):
    payload = json.loads(record.value)
    source = payload.get("payload", payload)["source"]
    return record.key, source["lsn"]


def spoiled(theirs, ours):
    """One record changed, one missing, one more; and what is to be found of it."""
    records = [record for record in theirs if record.topic == f"{PREFIX}.same.many" and record.value and b'"v":"x"' in record.value]
    changed, missing = records[40], records[50]
    partners = {place_of(record): record for record in ours if record.topic == changed.topic and record.value}
    one, other = partners[place_of(changed)], partners[place_of(missing)]
    out = [replace(record, value=record.value.replace(b'"v":"x"', b'"v":"other"')) if record is changed else record
           for record in theirs if record is not missing] + [replace(changed, value=None)]
    return out, {("same.many", one.partition, one.offset, "value.after.v"), ("same.many", other.partition, other.offset, None)}


def what_compat_leaves_out(difference):
    return re.fullmatch(r"value\.source\.(version|name)|value\.ts_(ms|us|ns)|headers\.(walferry|__debezium\.context)\..*|.*\(order\)",
                        difference.path) or (re.fullmatch(r"value\.source\.ts_(ms|us|ns)", difference.path)
                                             and difference.topic == f"{PREFIX}.message" and difference.headers["walferry.xid"] == "0")


def compat_finds_it(job, broker, theirs, ours):
    """Just what the comparison of the test finds, and what was spoiled; without a list of what may differ."""
    all_ = compare(theirs, ours, [], most=10**9).differences
    expected = {(each.topic.removeprefix(f"{PREFIX}."), *map(int, re.findall(r"\d+", each.where)),
                 re.sub(r"^(headers\.\w+\.\w+)\.payload", r"\1", each.path)) for each in all_ if not what_compat_leaves_out(each)}
    theirs, wrong = spoiled(theirs, ours)
    gone = {each[:3] for each in wrong if each[3] is None}
    expected = {each for each in expected if each[:3] not in gone}
    copy(theirs, broker)
    done = job.call("compat", "--with", WITH, "--json", "--all", 10**9, timeout=200)
    assert done.exit == 1, done.err
    found, additional = set(), []
    for topic in done.json()["topics"]:
        assert topic["missing"] is None, topic["topic"]
        for each in topic["differences"]:
            if each["ours"]["at"]:
                found.add((topic["topic"], each["ours"]["at"]["partition"], each["ours"]["at"]["offset"], each["path"]))
            else:
                additional.append(topic["topic"])
    assert found == expected | wrong, f"compat alone: {sorted(found - expected - wrong, key=str)[:10]}; not found: {sorted((expected | wrong) - found, key=str)[:10]}"
    assert additional == ["same.many"]
    print(f"walferry compat: {len(found)} differences, as expected")


@pytest.mark.deadline(400)
@pytest.mark.parametrize("schemas", [False, True], ids=["bare", "schemas"])
def test_the_same_records(make_pair, make_broker, schemas):
    pair, brokers = make_pair(source=SETTINGS), [make_broker(), make_broker()]
    prepare(pair.source)
    connector, job = both(pair, brokers, schemas)
    work(pair.source, Markers(pair.source, brokers))
    for broker in brokers:
        broker.wait_records(HEARTBEATS, 3)
    connector.stop()
    assert job.process.terminate() == 0, job.process.err
    theirs, ours = map(everything, brokers)
    rules = allowed(connector.log(), schemas)
    outcome = compare(theirs, ours, rules)
    print(f"\n{outcome}")
    assert not outcome.differences, "\n".join(map(str, [*outcome.differences[:10], outcome]))
    assert outcome.records > 5000 and outcome.topics > 40
    unused = {rule.reason for rule in rules} - set(outcome.used)
    assert not unused, f"nothing differs like this any more: {sorted(unused)}"
    compat_finds_it(job, brokers[1], theirs, ours)
    beats = [broker.consume(HEARTBEATS)[:3] for broker in brokers]
    outcome = compare(*beats, rules)
    print(f"heartbeats: {outcome}")
    assert not outcome.differences, "\n".join(map(str, outcome.differences))


# ---- the comparer sees what differs ----

def record(value, key=b'{"id":1}', partition=0, headers=()):
    return Record("shop.t", partition, 0, key, value, list(headers), 0)


@pytest.mark.parametrize("theirs, ours, path", [
    (record(b'{"a":1,"b":2}'), record(b'{"b":2,"a":1}'), "value (order)"), (record(b'{"a":1}'), record(b'{"a":"1"}'), "value.a"),
    (record(b'{"a":1}'), record(b'{"a":1,"b":null}'), "value.b"), (record(b'{"a":[1]}'), record(b'{"a":[1,2]}'), "value.a"),
    (record(b'{"a":9007199254740993}'), record(b'{"a":9007199254740992}'), "value.a"), (record(b'{"a":0.1}'), record(b'{"a":0.2}'), "value.a"),
    (record(b'{}', b'{"id":1}'), record(b'{}', b'{"id":2}'), "key.id"), (record(None), record(b'{}'), "value"),
    (record(b'{}'), record(b'{}', partition=1), "number of records"),
    (record(b'{}', headers=[("__debezium.newkey", b'{"id":1}')]), record(b'{}'), "headers.__debezium.newkey")])
def test_the_comparer_sees(theirs, ours, path):
    assert path in [difference.path for difference in compare([theirs], [ours], []).differences]
    assert not compare([theirs], [theirs], []).differences and not compare([ours], [ours], []).differences
    assert compare([theirs], [ours], [Allowed(".*", "everything")]).used["everything"] > 0
