"""Avro without a registry: bodies are single objects, and the control topic has their schemas, by the fingerprint that they begin with
(kafka-contract.md, formats)."""
import json

import pytest

from harness.readers import SingleObjects
from harness.records import groups, headers, place, repeated
from test_confluent import Formats, Wide, kafka_job, run


class Alone(Formats):
    """A job in JSON, and one in Avro without a registry."""

    def __init__(self, pair, broker, prefix, **kafka):
        super().__init__(pair, broker, prefix, None, forms=["avro"], **kafka)

    def control(self, isolation="read_committed"):
        return self.broker.consume(f"{self.prefix}.avro.walferry", isolation)

    def reader(self, form):
        return SingleObjects(self.control(), self.jobs[1].name)

    def schemas(self, topic, part):
        """Of the newest to each fingerprint."""
        return [said["schema"] for said in self.reader("avro").schemas.values()
                if (said["topic"], said["part"]) == (f"{self.prefix}.avro.{topic}", part)]


@pytest.mark.deadline(300)
def test_every_type_is_read_as_its_json_says(pair, broker, topic_prefix):
    wide = Wide(pair.source)
    jobs = Alone(pair, broker, topic_prefix)
    wide.fill()
    pair.source.sql("SELECT pg_logical_emit_message(true, 'app', 'one')")
    jobs.run()
    said = jobs.check("types.wide")
    assert {key["id"] for key, _, _ in said if key} >= {-1, 0, 1, 5, 1000}
    jobs.check("types.required")
    assert len(jobs.check("types.large")) == 2
    assert [value["message"]["content"] for _, value, _ in jobs.check("message")] == [b"one"]


@pytest.mark.parametrize("envelope, delivery", [("debezium", "exactly-once"), ("flat", "at-least-once"), ("row+headers", "exactly-once")])
def test_schemas_that_change_and_sessions_that_begin_anew(pair, broker, topic_prefix, envelope, delivery):
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, v text DEFAULT 'old')")
    jobs = Alone(pair, broker, topic_prefix, envelope=envelope, delivery=delivery)
    for job in jobs.jobs:
        job.start()
        job.wait_for("running")
    for change in ("INSERT INTO t VALUES (1, 'a')", "ALTER TABLE t ADD COLUMN w int", "INSERT INTO t VALUES (2, 'b', 2)",
                   "ALTER TABLE t ALTER v SET DEFAULT 'new'", "INSERT INTO t VALUES (3, 'c', 3)"):
        pair.source.sql(change)
    for job in jobs.jobs:
        broker.wait_records(f"{topic_prefix}.{job.name[len(pair.name) + 1:]}.public.t", 3)
        assert job.process.terminate() == 0, job.process.err
    pair.source.sql("UPDATE t SET v = 'x' WHERE id = 1; DELETE FROM t WHERE id = 2")
    jobs.run()
    said = jobs.check("public.t")
    rows = [(value.get("after") if envelope == "debezium" else value) or {} for _, value, _ in said[:3]]
    assert [[row.get(name, "-") for name in ("id", "v", "w")] for row in rows] == [[1, "a", "-"], [2, "b", 2], [3, "c", 3]]
    assert len(jobs.schemas("public.t", "key")) == 1 and len(jobs.schemas("public.t", "value")) == 2
    if envelope == "debezium":
        defaults = {field["name"]: field.get("default") for field in jobs.schemas("public.t", "value")[-1]["fields"][0]["type"][1]["fields"]}
        assert defaults["v"] == "new", "the fingerprint is the same: the newest text counts"


def test_a_schema_comes_with_its_records_or_not_at_all(pair, broker, topic_prefix):
    """Killed before the commit, nobody sees either; then both are there once, and the lists of transactions know nothing of it."""
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, v text)")
    jobs = Alone(pair, broker, topic_prefix)
    job = jobs.jobs[1]
    pair.source.sql("INSERT INTO t VALUES (1, 'a')")
    job.start(fault="kafka.before_commit:kill")
    job.process.wait_reached("kafka.before_commit")
    job.process.popen.wait()
    assert not jobs.schemas("public.t", "value")
    assert any("schema" in json.loads(record.key) for record in jobs.control("read_uncommitted"))
    jobs.run()
    jobs.check("public.t")
    records = jobs.records("public.t", "avro")
    assert len(records) == 1 and not repeated(records)
    listed, positions = groups(jobs.control(), job.name)
    assert [(end, xid) for end, xid, _ in listed] == [(place(records[0])[0], int(headers(records[0])["walferry.xid"]))]
    assert len(positions) >= 3


def test_a_load_beside_a_heap_of_schemas(pair, broker, topic_prefix):
    """The position is found behind them, by a start as by cleanup; who reads the topics still finds them when the job is gone."""
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'x' FROM generate_series(1, 20) i")
    job = kafka_job(pair, broker, topic_prefix, "avro")
    job.rewrite({"phases": ["full", "incremental"]})
    run(job)
    producer = broker.producer()
    for number in range(1500):
        producer.produce(f"{topic_prefix}.walferry", '{"version":1,"topic":"other","part":"value","schema":"null"}',
                         json.dumps({"job": job.name, "schema": f"{number:016x}"}, separators=(",", ":")), 0)
    assert producer.flush(20) == 0
    pair.source.sql("UPDATE t SET v = 'y' WHERE id = 1")
    run(job)
    assert job.call("cleanup").exit == 0
    reader = SingleObjects(broker.consume(f"{topic_prefix}.walferry"), job.name)
    records = broker.consume(f"{topic_prefix}.public.t")
    assert len(records) == 21 and not repeated(records)
    for record in records:
        assert reader.schema(record.topic, "key", record.key)["fields"][0]["name"] == "id"
        assert reader.schema(record.topic, "value", record.value)["name"] == "Envelope"
    run(job)


def test_protobuf_needs_a_registry(pair, broker, topic_prefix):
    done = run(kafka_job(pair, broker, topic_prefix, "protobuf"), 2)
    assert "kafka.registry.url" in done.err, done.err
    assert "kafka-registry" not in kafka_job(pair, broker, topic_prefix, "avro").call("check").out
