"""kafka.transactions: debezium (kafka-contract.md, section 6): the topic of transactions, and each event's place in its
transaction: as the real connector says it, in every format and envelope, and exact under kill -9."""
import json
from collections import Counter
from contextlib import closing
from dataclasses import replace

import pytest

from harness.records import groups_say_what_is_there, headers, identity, in_order, place, repeated, without_repeats
from harness.same import Allowed, compare
from test_confluent import Formats

TABLES = ("CREATE TABLE a (id int PRIMARY KEY, v text); CREATE TABLE b (id int PRIMARY KEY, v text);"
          ' CREATE SCHEMA "Odd Schema"; CREATE TABLE "Odd Schema"."Ü t" (id int PRIMARY KEY);'
          " CREATE TABLE no_key (i int); ALTER TABLE no_key REPLICA IDENTITY FULL; CREATE TABLE other (i int PRIMARY KEY)")


def kafka_job(pair, broker, prefix, **config):
    kafka = {"brokers": broker.client()["bootstrap.servers"], "prefix": prefix, "transactions": "debezium"}
    return pair.job(file_only=True, kafka=kafka | config.pop("kafka", {}), **{"phases": ["incremental"]} | config)


def until_now(job):
    done = job.run("--until", "now")
    assert done.exit == 0, done.err
    return job


def run(source, *statements):
    with closing(source.connect()) as connection:  # its own "with" would be one transaction
        for statement in statements:
            connection.cursor().execute(statement)


def said(record):
    value = json.loads(record.value) if record.value else None
    return value["payload"] if value and "payload" in value else value


class Told:
    """What the topics say of a job's transactions; by_end: {end of the transaction: (BEGIN, END, events in order)}."""

    def __init__(self, broker, prefix):
        topics = sorted(name for name in broker.topics(f"{prefix}.") if not name.endswith(".walferry"))
        self.all = broker.consume(topics)
        self.records = [record for record in self.all if not record.topic.endswith(".transaction")]
        self.markers = [record for record in self.all if record.topic.endswith(".transaction")]
        self.by_end = {}
        for record in self.markers:
            both = self.by_end.setdefault(place(record)[0], {})
            assert both.setdefault(said(record)["status"], record) is record, "told twice"
            key = json.loads(record.key)
            assert key.get("payload", key) == {"id": said(record)["id"]}

    def check(self):
        """Every transaction's counts are those of its events, whose orders are 1, 2, ... without a gap."""
        events = {end: [] for end in self.by_end}
        for record in self.records:
            if record.value is not None and said(record)["transaction"] is not None:
                events[place(record)[0]].append(record)
        for end, both in self.by_end.items():
            began, ended = said(both["BEGIN"]), said(both["END"])
            xid = headers(both["BEGIN"])["walferry.xid"]
            assert ended["id"] == f"{xid}:{end}" and began["id"].startswith(f"{xid}:")
            assert began["event_count"] is None and began["data_collections"] is None and began["ts_ms"] == ended["ts_ms"]
            self.events(ended, sorted(events[end], key=lambda record: said(record)["transaction"]["total_order"]))
            assert place(both["BEGIN"]) == (end, 0)
            assert place(both["END"])[1] > max((place(record)[1] for record in events[end]), default=-1)
        return self

    @staticmethod
    def events(ended, events):
        counted = Counter()
        for number, record in enumerate(events, 1):
            event = said(record)
            source, block = event["source"], event["transaction"]
            table = f"{source['schema']}.{source['table']}" if source["table"] else "message"
            counted[table] += 1
            assert block == {"id": f"{source['txId']}:{source['lsn']}", "total_order": number,
                             "data_collection_order": counted[table]}
            assert source["ts_ms"] == ended["ts_ms"]
        assert [place(record) for record in events] == sorted(map(place, events))
        assert ended["event_count"] == len(events)
        assert {each["data_collection"]: each["event_count"] for each in ended["data_collections"]} == dict(counted)

    def counts(self):
        """Of each transaction, in order."""
        ends = [said(self.by_end[end]["END"]) for end in sorted(self.by_end)]
        return [{each["data_collection"]: each["event_count"] for each in end["data_collections"]} for end in ends]


# ---- side by side with the real connector ----

PREFIX = "shop"
STREAMED = "a 14 tells where a transaction began only where it is not streamed: else it is the place of its first change"
MARK = "INSERT INTO a VALUES ({0}, 'mark')"
# The server is a 14: it sends transactions in which there is nothing for the publication, and has messages already.
WORK = [
    """BEGIN; INSERT INTO a VALUES (1, 'x'); INSERT INTO b VALUES (1, 'x'); INSERT INTO "Odd Schema"."Ü t" VALUES (1);
       INSERT INTO a VALUES (2, 'y'); COMMIT""",
    "UPDATE a SET v = 'z' WHERE id = 1",
    "BEGIN; UPDATE a SET id = 11 WHERE id = 1; DELETE FROM b WHERE id = 1; INSERT INTO b VALUES (3, 'z'); UPDATE a SET id = id + 100; COMMIT",
    "TRUNCATE a, b",
    "BEGIN; INSERT INTO a VALUES (5, 'x'); TRUNCATE b, a; INSERT INTO a VALUES (6, 'x'); COMMIT",
    "INSERT INTO other VALUES (1)",
    "BEGIN; INSERT INTO other VALUES (2); INSERT INTO a VALUES (7, 'x'); COMMIT",
    """BEGIN; SAVEPOINT one; INSERT INTO a VALUES (20, 's'); SAVEPOINT two; INSERT INTO b VALUES (20, 's'); ROLLBACK TO two;
       INSERT INTO b VALUES (21, 't'); RELEASE one; INSERT INTO a VALUES (22, 'u'); COMMIT""",
    "BEGIN; SAVEPOINT one; INSERT INTO a VALUES (23, 's'); ROLLBACK TO one; COMMIT",
    "BEGIN; INSERT INTO a VALUES (24, 's'); ROLLBACK",
    "SELECT pg_logical_emit_message(true, 'p', 'alone')",
    "SELECT pg_logical_emit_message(false, 'p', 'outside')",
    """BEGIN; INSERT INTO a VALUES (30, 'm'); SELECT pg_logical_emit_message(true, 'p', 'with');
       SELECT pg_logical_emit_message(false, 'p', 'outside, too'); INSERT INTO a VALUES (31, 'n'); COMMIT""",
    "BEGIN; INSERT INTO no_key VALUES (1), (1); DELETE FROM no_key; COMMIT",
    "INSERT INTO a SELECT i, 'many' FROM generate_series(1000, 1999) i",
    "BEGIN; UPDATE a SET v = 'of many' WHERE id BETWEEN 1000 AND 1999; DELETE FROM a WHERE id BETWEEN 1800 AND 1999; INSERT INTO b SELECT generate_series(100, 199); COMMIT",
]


def of_one_name(record):
    """Debezium counts each message as a table of its own, and names it by its place in Java's memory; and lists tables in the
    order of a HashMap."""
    whole = json.loads(record.value)
    value = whole["payload"]
    counts = Counter()
    for each in value["data_collections"] or []:
        counts["message" if "LogicalDecodingMessageId" in each["data_collection"] else each["data_collection"]] += each["event_count"]
    listed = [{"data_collection": name, "event_count": count} for name, count in sorted(counts.items())]
    value["data_collections"] = None if value["data_collections"] is None else listed
    return replace(record, value=json.dumps(whole).encode())


def of_a_streamed_one(difference):
    """theirs, ours: "<xid>:<lsn>"."""
    (their_xid, their_place), (our_xid, our_place) = difference.theirs.split(":"), difference.ours.split(":")
    return their_xid == our_xid and int(their_place) < int(our_place)


@pytest.mark.deadline(200)
def test_the_same_as_debezium(make_pair, make_broker):
    """Also the schemas. Debezium never has transactions streamed, walferry has the large ones."""
    pair = make_pair(source={"version": 14, "logical_decoding_work_mem": "64kB"})
    brokers = [make_broker(), make_broker()]
    pair.source.sql(TABLES)
    pair.source.sql('CREATE PUBLICATION same FOR TABLE a, b, no_key, "Odd Schema"."Ü t"')
    for broker in brokers:
        broker.create_topic(f"{PREFIX}.transaction")
    connector = pair.debezium(brokers[0], PREFIX, schemas=True, publication="same", snapshot_mode="no_data", config={
        "topic.creation.default.partitions": 3, "provide.transaction.metadata": True, "message.prefix.exclude.list": r"walferry\..*"})
    job = kafka_job(pair, brokers[1], PREFIX, kafka={"topics": {"partitions": 3}, "json_schema": True}, source={"heartbeat": 0},
                    objects={"exclude": ["public.other"]})
    job.start()
    connector.start()
    job.wait_for("running")
    run(pair.source, MARK.format(10000), *WORK, MARK.format(10001))
    found = []
    for broker in brokers:
        broker.wait_records(f"{PREFIX}.public.a", 1, timeout=60)
        until_marked(broker)
        found.append(between_marks(broker))
    connector.stop()
    assert job.process.terminate() == 0, job.process.err
    theirs, ours = found
    outcome = compare(theirs, ours, [
        Allowed(r".* value\.source\.version", "each names its own version"),
        Allowed(r".* value\.ts_(ms|us|ns)", "when each saw the change", lambda it: not it.topic.endswith(".transaction")),
        Allowed(r".* value\.source\.ts_(ms|us|ns)", "a message outside of transactions: when each saw it",
                lambda it: it.headers["walferry.xid"] == "0"),
        Allowed(r".* value\.source\.sequence", "what each has seen before", lambda it: "null" in it.theirs),
        Allowed(r".* headers\.(walferry|__debezium\.context)\..*", "headers that name the connector"),
        Allowed(rf"{PREFIX}\.transaction (key|value)\.id", STREAMED, of_a_streamed_one),
    ])
    print(f"\n{outcome}")
    assert not outcome.differences, "\n".join(map(str, [*outcome.differences[:10], outcome]))
    assert outcome.used[STREAMED] <= 4, "of BEGIN, key and value, of the two large ones"
    markers = [said(record) for record in ours if record.topic == f"{PREFIX}.transaction"]
    ends = {each["id"]: each["event_count"] for each in markers if each["status"] == "END"}
    assert len(markers) == 2 * len(ends) and 0 in ends.values() and max(ends.values()) > 1000
    Told(brokers[1], PREFIX).check()


def until_marked(broker):
    from harness.poll import poll_until
    poll_until(lambda: {10000, 10001} <= marks(broker).keys(), "the last mark", 60)
    end = marks(broker)[10001]
    poll_until(lambda: any(said(record)["status"] == "END" and said(record)["id"].startswith(f"{end}:")
                           for record in broker.consume(f"{PREFIX}.transaction")), "its end", 60)


def marks(broker):
    """{id: xid}."""
    events = [said(record) for record in broker.consume(f"{PREFIX}.public.a") if record.value]
    return {event["after"]["id"]: event["source"]["txId"] for event in events if event["op"] == "c" and event["after"]["v"] == "mark"}


def between_marks(broker):
    there = marks(broker)
    topics = sorted(name for name in broker.topics(f"{PREFIX}.") if not name.endswith(".walferry"))
    records = broker.consume(topics)

    def is_between(record):
        if record.topic.endswith(".transaction"):
            return there[10000] <= int(said(record)["id"].split(":")[0]) <= there[10001]
        return True
    return [of_one_name(record) if record.topic.endswith(".transaction") else record for record in records if is_between(record)]


# ---- what is written ----


@pytest.mark.parametrize("delivery", ["exactly-once", "at-least-once"])
def test_begin_end_and_places(pair, broker, topic_prefix, delivery):
    """A 15 sends nothing of transactions in which there is nothing for the job. Its own beats are not told of, nor are what
    stands outside of transactions and what the job does not take."""
    pair.source.sql(TABLES)
    job = until_now(kafka_job(pair, broker, topic_prefix, kafka={"delivery": delivery},
                              objects={"dml": ["insert", "update", "delete"], "exclude": ["public.other"]}))
    job.start()
    job.wait_for("running")
    run(pair.source, "BEGIN; INSERT INTO a VALUES (1, 'x'); INSERT INTO b VALUES (1, 'x'); INSERT INTO a VALUES (2, 'y'); COMMIT",
        "INSERT INTO other VALUES (1)", "UPDATE a SET id = 3 WHERE id = 1", "TRUNCATE b",
        "SELECT pg_logical_emit_message(false, 'p', 'outside')",
        "SELECT pg_logical_emit_message(true, 'p', 'one'), pg_logical_emit_message(true, 'p', 'two')")
    broker.wait_records(f"__debezium-heartbeat.{topic_prefix}", 3)
    broker.wait_records(f"{topic_prefix}.message", 3)
    assert job.process.terminate() == 0, job.process.err
    told = Told(broker, topic_prefix).check()
    assert told.counts() == [{"public.a": 2, "public.b": 1}, {"public.a": 2}, {}, {"message": 2}]
    outside = [record for record in told.records if headers(record)["walferry.xid"] == "0"]
    assert [said(record)["transaction"] for record in outside] == [None]
    assert not repeated(told.all)
    groups_say_what_is_there(broker.consume(f"{topic_prefix}.walferry"), told.records, job.name)


def test_rows_of_a_snapshot_have_none(pair, broker, topic_prefix):
    pair.source.sql(TABLES)
    pair.source.sql("INSERT INTO a VALUES (1, 'x'), (2, 'y')")
    job = until_now(kafka_job(pair, broker, topic_prefix, phases=["full", "incremental"]))
    told = Told(broker, topic_prefix)
    assert [said(record)["transaction"] for record in told.records] == [None, None] and not told.markers
    pair.source.sql("INSERT INTO a VALUES (3, 'z')")
    until_now(job)
    assert Told(broker, topic_prefix).check().counts() == [{"public.a": 1}]


def test_what_goes_to_the_dead_letters_is_not_counted(pair, broker, topic_prefix):
    pair.source.sql(TABLES)
    job = until_now(kafka_job(pair, broker, topic_prefix, kafka={"refused": "dead-letter"}))
    pair.source.sql("INSERT INTO a VALUES (1, 'x'), (2, repeat('x', 3000000)), (3, 'y')")
    until_now(job)
    letters = broker.consume(f"{topic_prefix}.dead-letter")
    broker.delete_topic(f"{topic_prefix}.dead-letter")
    assert len(letters) == 1 and Told(broker, topic_prefix).check().counts() == [{"public.a": 2}]


# ---- formats and envelopes ----


def test_confluents_deserializers_read_them(pair, broker, topic_prefix, registry):
    pair.source.sql(TABLES)
    formats = Formats(pair, broker, topic_prefix, registry, transactions="debezium")
    run(pair.source, "BEGIN; INSERT INTO a VALUES (1, 'x'), (2, 'y'); UPDATE a SET id = 3 WHERE id = 1; INSERT INTO b VALUES (1); COMMIT",
        "BEGIN; SELECT pg_logical_emit_message(true, 'p', 'one'); COMMIT")
    formats.run()
    blocks = [value["transaction"] for _, value, _ in formats.check("public.a") if value]
    assert [(block["total_order"], block["data_collection_order"]) for block in blocks] == [(1, 1), (2, 2), (3, 3), (4, 4)]
    assert [value["transaction"]["total_order"] for _, value, _ in formats.check("message")] == [1]
    first, first_end, _, second_end = formats.check("transaction")
    assert first[0] == {"id": blocks[0]["id"]} and (first[1]["status"], first[1]["event_count"], first[1]["data_collections"]) == (
        "BEGIN", None, None)
    assert [(end[1]["status"], end[1]["event_count"], end[1]["data_collections"]) for end in (first_end, second_end)] == [
        ("END", 5, [{"data_collection": "public.a", "event_count": 4}, {"data_collection": "public.b", "event_count": 1}]),
        ("END", 1, [{"data_collection": "message", "event_count": 1}])]
    for form in formats.forms:
        assert {f"{topic_prefix}.{form}.transaction-{part}" for part in ("key", "value")} <= registry.subjects.keys()


@pytest.mark.parametrize("envelope", ["flat", "row+headers"])
def test_other_envelopes_have_the_topic_alone(pair, broker, topic_prefix, envelope):
    pair.source.sql(TABLES)
    job = until_now(kafka_job(pair, broker, topic_prefix, kafka={"envelope": envelope}))
    pair.source.sql("INSERT INTO a VALUES (1, 'x'), (2, 'y')")
    until_now(job)
    told = Told(broker, topic_prefix)
    assert told.counts() == [{"public.a": 2}] and len(told.records) == 2
    assert all("transaction" not in said(record) for record in told.records)


# ---- large, and killed ----


@pytest.mark.parametrize("delivery", ["exactly-once", "at-least-once"])
def test_killed_within_a_large_transaction(make_pair, broker, topic_prefix, delivery):
    """It is written in pieces, and streamed; killed in its middle, and before its commit; each time it begins anew."""
    pair = make_pair(source={"logical_decoding_work_mem": "64kB"})
    pair.source.sql(TABLES)
    job = until_now(kafka_job(pair, broker, topic_prefix, kafka={"delivery": delivery}))
    run(pair.source, "INSERT INTO b VALUES (0, 'before')",
        "BEGIN; INSERT INTO a SELECT i, 'x' FROM generate_series(1, 9000) i; INSERT INTO b SELECT i, 'x' FROM generate_series(1, 500) i;"
        " UPDATE a SET id = id + 10000 WHERE id <= 300; DELETE FROM a WHERE id > 8000 AND id <= 9000; COMMIT",
        "INSERT INTO b VALUES (501, 'behind')")
    for fault in ("kafka.piece:kill@3", "kafka.before_commit:kill@2"):
        job.start(fault=fault)
        job.process.wait_reached(fault.split(":")[0])
        job.process.popen.wait()
    until_now(job)
    if delivery == "at-least-once":
        at_least_once(broker, topic_prefix)
        return
    told = Told(broker, topic_prefix).check()
    assert told.counts() == [{"public.b": 1}, {"public.a": 10600, "public.b": 500}, {"public.b": 1}]
    assert not repeated(told.all)
    in_order(told.records)
    groups_say_what_is_there(broker.consume(f"{topic_prefix}.walferry"), told.records, job.name)
    part = broker.led(f"{topic_prefix}.transaction")[0]
    assert part.high > len(told.markers), "what was aborted is there, for those who read it"


def at_least_once(broker, prefix):
    """What is repeated is the same again, with the same places, counts and headers."""
    topics = [f"{prefix}.{name}" for name in ("public.a", "public.b", "transaction")]
    records = broker.consume(topics)
    once = without_repeats(records)
    assert len(records) > len(once), "nothing was repeated: the kills prove nothing"
    values = {}
    for record in records:
        value = said(record)
        if value and "source" in value:
            value = {name: each for name, each in value.items() if not name.startswith("ts_")}
            value["source"] = {name: each for name, each in value["source"].items() if name != "sequence"}
        assert values.setdefault(identity(record), value) == value
    ends = [said(record) for record in once if record.topic.endswith(".transaction") and said(record)["status"] == "END"]
    assert [end["event_count"] for end in ends] == [1, 11100, 1]
