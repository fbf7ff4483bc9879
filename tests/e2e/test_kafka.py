"""The fan-out to Kafka: exactly once, in order, beside a database or alone (kafka-contract.md, traps A3, C1 to C3)."""
import json
import threading
import time

import pytest

from harness.poll import poll_until
from harness.records import (groups, groups_say_what_is_there, headers, in_order, place, repeated, same_rows,
                             without_repeats)
from harness.server import lsn_number

TABLE = "CREATE TABLE t (id int PRIMARY KEY, v text)"
MANY = "INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, {}) i"


def kafka_job(pair, broker, prefix, alone=True, **config):
    kafka = {"brokers": broker.client()["bootstrap.servers"], "prefix": prefix} | config.pop("kafka", {})
    phases = {"phases": ["incremental"]} if alone else {}
    return pair.job(file_only=alone, kafka=kafka, **phases, **config)


def born(job):
    done = job.run("--until", "now")
    assert done.exit == 0, done.err
    return job


def started(job):
    job.start()
    job.wait_for("running")
    return job


def until_now(job):
    done = job.run("--until", "now")
    assert done.exit == 0, done.err


def exactly_once(broker, prefix, job, pair, columns=("id", "v")):
    records = broker.consume(f"{prefix}.public.t")
    assert not repeated(records)
    in_order(records)
    groups_say_what_is_there(broker.consume(f"{prefix}.walferry"), records, job.name)
    same_rows(records, pair.source, "t", columns)
    return records


# ---- what is written ----


@pytest.mark.asan
def test_changes_arrive(pair, broker, topic_prefix):
    pair.source.sql(TABLE)
    job = born(kafka_job(pair, broker, topic_prefix))
    pair.source.sql("INSERT INTO t VALUES (1, 'one'), (2, NULL)")
    pair.source.sql("UPDATE t SET v = 'eins' WHERE id = 1")
    pair.source.sql("UPDATE t SET id = 3 WHERE id = 2")
    pair.source.sql("DELETE FROM t WHERE id = 1")
    pair.source.sql("TRUNCATE t")
    until_now(job)
    records = exactly_once(broker, topic_prefix, job, pair)
    said = [(json.loads(r.key or "null"), (json.loads(r.value or "null") or {}).get("op")) for r in records]
    assert said == [({"id": 1}, "c"), ({"id": 2}, "c"), ({"id": 1}, "u"), ({"id": 2}, "d"), ({"id": 2}, None),
                    ({"id": 3}, "c"), ({"id": 1}, "d"), ({"id": 1}, None), (None, "t")]
    assert [place(r)[1] for r in records] == [0, 1, 0, 0, 0, 0, 0, 0, 0]
    sources = [json.loads(r.value)["source"] for r in records if r.value]
    assert all(source["table"] == "t" and source["name"] == topic_prefix and source["lsn"] > 0 for source in sources)
    assert [source["lsn"] for source in sources] == sorted(source["lsn"] for source in sources)


def test_beats_and_positions(pair, broker, topic_prefix):
    pair.source.sql(TABLE)
    job = started(kafka_job(pair, broker, topic_prefix))
    beats = broker.wait_records(f"__debezium-heartbeat.{topic_prefix}", 3)
    assert {r.partition for r in beats} == {0} and {r.key for r in beats} == {json.dumps(
        {"serverName": topic_prefix}, separators=(",", ":")).encode()}
    assert job.process.terminate() == 0
    _, positions = groups(broker.consume(f"{topic_prefix}.walferry"), job.name)
    applied = [lsn_number(position["applied"]) for position in positions]
    assert applied == sorted(applied) and positions[0]["intent"] and not positions[-1]["intent"]
    assert broker.config(f"{topic_prefix}.walferry")["cleanup.policy"] == "compact"
    assert len(broker.partitions(f"{topic_prefix}.walferry")) == 1


def test_records_without_a_key_are_in_partition_0(pair, broker, topic_prefix):
    """Trap C1: a key is the primary key, else the first unique index over NOT NULL columns; never the identity FULL."""
    pair.source.sql("CREATE TABLE plain (v int); ALTER TABLE plain REPLICA IDENTITY FULL;"
                    " CREATE TABLE keyed (a int NOT NULL, b int); CREATE UNIQUE INDEX ON keyed (a);"
                    " ALTER TABLE keyed REPLICA IDENTITY FULL")
    job = born(kafka_job(pair, broker, topic_prefix, kafka={"topics": {"partitions": 7}}))
    pair.source.sql("INSERT INTO plain SELECT generate_series(1, 50); INSERT INTO keyed SELECT i, i FROM generate_series(1, 50) i")
    until_now(job)
    plain = broker.consume(f"{topic_prefix}.public.plain")
    keyed = broker.consume(f"{topic_prefix}.public.keyed")
    assert {(r.key, r.partition) for r in plain} == {(None, 0)} and len(plain) == 50
    assert {json.loads(r.key)["a"] for r in keyed} == set(range(1, 51)) and len({r.partition for r in keyed}) > 3


def test_flat_records_without_tombstones(pair, broker, topic_prefix):
    pair.source.sql(TABLE)
    job = born(kafka_job(pair, broker, topic_prefix, kafka={"envelope": "flat", "tombstones": False}))
    pair.source.sql("INSERT INTO t VALUES (1, 'a'); DELETE FROM t")
    until_now(job)
    created, deleted = [json.loads(r.value) for r in broker.consume(f"{topic_prefix}.public.t")]
    assert (created["id"], created["v"], created["__op"]) == (1, "a", "c") and deleted["__op"] == "d"


def test_no_list_of_transactions_where_nobody_wants_it(pair, broker, topic_prefix):
    pair.source.sql(TABLE)
    job = born(kafka_job(pair, broker, topic_prefix, kafka={"groups": "no"}))
    pair.source.sql("INSERT INTO t VALUES (1, 'a')")
    until_now(job)
    assert len(broker.consume(f"{topic_prefix}.public.t")) == 1
    listed, positions = groups(broker.consume(f"{topic_prefix}.walferry"), job.name)
    assert not listed and not positions[-1]["intent"]


def test_objects_dml_leaves_kinds_out(pair, broker, topic_prefix):
    pair.source.sql(TABLE)
    job = born(kafka_job(pair, broker, topic_prefix, objects={"dml": ["insert", "delete"]}))
    pair.source.sql("INSERT INTO t VALUES (1, 'a'); UPDATE t SET v = 'b'; DELETE FROM t; TRUNCATE t")
    until_now(job)
    records = broker.consume(f"{topic_prefix}.public.t")
    assert [json.loads(r.value)["op"] for r in records if r.value] == ["c", "d"]
    assert [place(r)[1] for r in records] == [0, 2, 2], "left out is not renumbered (trap C2)"


def test_logical_messages(pair, broker, topic_prefix):
    pair.source.sql(TABLE)
    job = born(kafka_job(pair, broker, topic_prefix))
    pair.source.sql("SELECT pg_logical_emit_message(true, 'app', 'one'), pg_logical_emit_message(false, 'app', 'two')")
    until_now(job)
    said = [json.loads(r.value) for r in broker.consume(f"{topic_prefix}.message")]
    assert sorted(event["message"]["content"] for event in said) == ["b25l", "dHdv"]
    assert {event["op"] for event in said} == {"m"}


# ---- beside a database ----


def test_beside_a_database_each_has_a_position_of_its_own(pair, broker, topic_prefix):
    pair.source.sql(TABLE)
    pair.source.sql("INSERT INTO t VALUES (0, 'loaded')")
    job = started(kafka_job(pair, broker, topic_prefix, alone=False))
    for number in range(1, 40):
        pair.source.sql(f"INSERT INTO t VALUES ({number}, 'x')")
    pair.wait_equal()
    poll_until(lambda: len(broker.consume(f"{topic_prefix}.public.t")) == 39, "39 records", 30)
    assert job.process.terminate() == 0
    job.start()
    pair.source.sql("UPDATE t SET v = 'y'")
    pair.wait_equal()
    assert job.process.terminate() == 0
    records = broker.consume(f"{topic_prefix}.public.t")
    assert len(records) == 79 and not repeated(records)


def test_kafka_joins_a_job_that_runs_without_it(pair, broker, topic_prefix):
    """It begins where the database stands: nothing before, everything behind."""
    pair.source.sql(TABLE)
    job = pair.job()
    assert job.run("--until", "now").exit == 0
    pair.source.sql("INSERT INTO t VALUES (1, 'before')")
    until_now(job)
    pair.source.sql("INSERT INTO t VALUES (2, 'behind')")
    job.rewrite({"kafka": {"brokers": broker.client()["bootstrap.servers"], "prefix": topic_prefix}})
    until_now(job)
    assert [json.loads(r.key) for r in broker.consume(f"{topic_prefix}.public.t")] == [{"id": 2}]


@pytest.mark.parametrize("alone", [True, False])
def test_a_position_that_is_gone_is_not_made_up(pair, broker, topic_prefix, alone):
    """Beside a database, too: what that has and Kafka does not would be missing without a word."""
    pair.source.sql(TABLE)
    job = born(kafka_job(pair, broker, topic_prefix, alone=alone))
    pair.source.sql("INSERT INTO t VALUES (1, 'a')")
    broker.delete_topic(f"{topic_prefix}.walferry")
    done = job.run("--until", "now")
    assert done.exit == 3, done.err
    assert "position" in done.err or "knows no job" in done.err
    assert not broker.consume(f"{topic_prefix}.public.t")


def test_the_position_of_another_slot_is_refused(pair, broker, topic_prefix):
    pair.source.sql(TABLE)
    job = born(kafka_job(pair, broker, topic_prefix))
    record = [r for r in broker.consume(f"{topic_prefix}.walferry") if r.value][-1]
    other = json.loads(record.value) | {"slot": "dts_sync_other"}
    broker.produce(f"{topic_prefix}.walferry", json.dumps(other), record.key)
    done = job.run("--until", "now")
    assert done.exit == 3 and "not one of walferry's" in done.err, done.err


# ---- another job's transaction is open in the control topic ----


def test_a_hung_transaction_of_another_job_hides_nothing(pair, broker, topic_prefix):
    """Readers of committed records stop at it: the position behind it must be waited for, not guessed."""
    pair.source.sql(TABLE)
    job = born(kafka_job(pair, broker, topic_prefix))
    pair.source.sql("INSERT INTO t VALUES (1, 'a')")
    until_now(job)
    hung = broker.producer({"transactional.id": f"other-{topic_prefix}"})
    hung.init_transactions(10)
    hung.begin_transaction()
    hung.produce(f"{topic_prefix}.walferry", b"{}", b'{"job":"other"}', 0)
    assert hung.flush(10) == 0
    started_at = time.monotonic()
    job.start("--until", "now")
    pair.source.sql("INSERT INTO t VALUES (2, 'b')")
    time.sleep(3)
    assert job.process.alive(), job.process.err
    hung.abort_transaction(10)
    assert job.process.wait(60) == 0, job.process.err
    assert time.monotonic() - started_at > 2
    exactly_once(broker, topic_prefix, job, pair)


# ---- large transactions ----


def test_a_large_transaction_is_one_kafka_transaction(make_pair, broker, topic_prefix):
    """Also when it is killed in the middle: a reader sees all of it or nothing."""
    pair = make_pair(source={"logical_decoding_work_mem": "64kB"})
    pair.source.sql(TABLE)
    job = born(kafka_job(pair, broker, topic_prefix))
    pair.source.sql(MANY.format(60000))
    job.start(fault="kafka.before_commit:kill")
    job.process.wait(60)
    assert job.process.reached("kafka.before_commit")
    assert not broker.consume(f"{topic_prefix}.public.t", settle=0)
    until_now(job)
    assert len(broker.consume(f"{topic_prefix}.public.t", "read_uncommitted")) >= 60000
    assert len(exactly_once(broker, topic_prefix, job, pair)) == 60000


def test_a_stop_within_a_large_transaction_leaves_nothing_open(make_pair, broker, topic_prefix):
    pair = make_pair(source={"logical_decoding_work_mem": "64kB"})
    pair.source.sql(TABLE)
    job = born(kafka_job(pair, broker, topic_prefix))
    pair.source.sql("INSERT INTO t VALUES (0, 'small')")
    pair.source.sql(MANY.format(400000))
    job.start()
    topic = f"{topic_prefix}.public.t"
    poll_until(lambda: topic in broker.topics() and broker.led(topic)[0].high > 20000, "in the middle of it", 60, every=0.02)
    assert job.process.terminate() == 0, job.process.err
    part = broker.led(topic)[0]
    assert broker.led(topic, "read_committed")[0].high == part.high, "an open transaction holds readers up"
    until_now(job)
    assert len(exactly_once(broker, topic_prefix, job, pair)) == 400001


# ---- killed ----


POINTS = ["snapshot.after_slot", "kafka.before_commit", "kafka.after_commit"]


@pytest.mark.parametrize("point", POINTS)
def test_killed_at(pair, broker, topic_prefix, point):
    pair.source.sql(TABLE)
    job = kafka_job(pair, broker, topic_prefix)
    if not point.startswith("snapshot"):
        born(job)
    for number in range(5):
        pair.source.sql(f"INSERT INTO t VALUES ({number}, 'x')")
    job.start(fault=f"{point}:kill")
    job.process.wait_reached(point)
    job.process.popen.wait()
    pair.source.sql("INSERT INTO t VALUES (100, 'last')")
    until_now(job)
    records = broker.consume(f"{topic_prefix}.public.t")
    assert not repeated(records) and json.loads(records[-1].key) == {"id": 100} if records else point.startswith("snapshot")
    if not point.startswith("snapshot"):
        exactly_once(broker, topic_prefix, job, pair)


def test_at_least_once_repeats_only_after_a_kill(pair, broker, topic_prefix):
    pair.source.sql(TABLE)
    job = born(kafka_job(pair, broker, topic_prefix, kafka={"delivery": "at-least-once"}))
    pair.source.sql(MANY.format(500))
    until_now(job)
    assert not repeated(broker.consume(f"{topic_prefix}.public.t"))
    pair.source.sql("UPDATE t SET v = 'again'")
    job.start(fault="kafka.before_commit:kill")
    job.process.wait_reached("kafka.before_commit")
    job.process.popen.wait()
    until_now(job)
    records = broker.consume(f"{topic_prefix}.public.t")
    assert len(repeated(records)) == 500
    once = without_repeats(records)
    assert len(once) == 1000
    groups_say_what_is_there(broker.consume(f"{topic_prefix}.walferry"), once, job.name)
    same_rows(records, pair.source, "t", ("id", "v"))


def test_a_second_instance_ends_and_harms_nobody(make_pair, broker, topic_prefix):
    """It must not fence the first one (F05, F88)."""
    pair = make_pair(source={"wal_sender_timeout": "2s"})
    pair.source.sql(TABLE)
    job = started(kafka_job(pair, broker, topic_prefix))
    first = job.process
    second = job.run(timeout=60)
    assert second.exit == 2 and "is running already" in second.err, second.err
    elsewhere = job.run(timeout=60, env={"XDG_RUNTIME_DIR": str(pair.directory)})
    assert elsewhere.exit == 2 and "another instance" in elsewhere.err, elsewhere.err
    pair.source.sql("INSERT INTO t VALUES (1, 'a')")
    broker.wait_records(f"{topic_prefix}.public.t", 1)
    assert first.alive() and "retry" not in first.err, first.err
    assert first.terminate() == 0


# ---- topics, rights and addresses ----


def test_topics_that_are_not_to_be_made(pair, broker, topic_prefix):
    pair.source.sql(TABLE)
    broker.create_topic(f"{topic_prefix}.walferry", config={"cleanup.policy": "compact"})
    job = kafka_job(pair, broker, topic_prefix, kafka={"topics": {"create": False}})
    done = job.run("--until", "now")
    assert done.exit == 2 and f"{topic_prefix}.public.t" in done.err and "kafka.topics.create" in done.err, done.err


def test_a_control_topic_with_several_partitions_is_refused(pair, broker, topic_prefix):
    pair.source.sql(TABLE)
    broker.create_topic(f"{topic_prefix}.walferry", partitions=3)
    done = kafka_job(pair, broker, topic_prefix).run("--until", "now")
    assert done.exit == 2 and "has 3 partitions" in done.err, done.err


def test_a_record_that_is_too_large_ends_the_job_with_its_place(pair, broker, topic_prefix):
    pair.source.sql(TABLE)
    job = born(kafka_job(pair, broker, topic_prefix))
    pair.source.sql("INSERT INTO t VALUES (1, 'a')")
    pair.source.sql("INSERT INTO t VALUES (2, repeat('x', 3000000))")
    done = job.run("--until", "now")
    assert done.exit == 5 and "message.max.bytes" in done.err and 'table "public.t"' in done.err, done.err
    again = job.run("--until", "now")
    assert again.exit == 5
    records = broker.consume(f"{topic_prefix}.public.t")
    assert [json.loads(r.key) for r in records] == [{"id": 1}], "what is before it is there, once"


@pytest.mark.parametrize("delivery", ["exactly-once", "at-least-once"])
def test_what_cannot_be_written_goes_to_the_dead_letters(pair, broker, topic_prefix, delivery):
    """In the same Kafka transaction, with its place; of one change all records or none."""
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, v text, n numeric)")
    job = born(kafka_job(pair, broker, topic_prefix, kafka={"refused": "dead-letter", "special": "fail", "delivery": delivery}))
    pair.source.sql("INSERT INTO t VALUES (1, 'a', 1), (2, repeat('x', 3000000), 2), (3, 'c', 'NaN'), (4, 'd', 4)")
    pair.source.sql("UPDATE t SET id = 5, v = repeat('y', 3000000) WHERE id = 4")
    until_now(job)
    records = broker.consume(f"{topic_prefix}.public.t")
    assert [json.loads(r.key)["id"] for r in records] == [1, 4]
    letters = [json.loads(r.value) for r in broker.consume(f"{topic_prefix}.dead-letter")]
    assert [(letter["op"], letter["after"]["id"], letter["seq"]) for letter in letters] == [("c", "2", 1), ("c", "3", 2), ("u", "5", 0)]
    assert letters[0]["after"]["v"]["bytes"] == 3000000 and "message.max.bytes" in letters[0]["error"]
    assert letters[1]["after"]["n"] == "NaN" and letters[0]["lsn"] == headers(records[0])["walferry.lsn"]
    groups_say_what_is_there(broker.consume(f"{topic_prefix}.walferry"), records, job.name)
    assert job.run("--until", "now").exit == 0
    assert len(broker.consume(f"{topic_prefix}.dead-letter")) == 3


def test_nobody_answers(pair, broker, topic_prefix):
    pair.source.sql(TABLE)
    job = pair.job(file_only=True, phases=["incremental"], kafka={"brokers": "127.0.0.1:1", "prefix": topic_prefix},
                   retry={"connection": "1s", "other": "1s"})
    done = job.run("--until", "now", "--wait", "1s", timeout=60)
    assert done.exit == 6 and "kafka" in done.err and "kafka: kafka:" not in done.err, done.err
    assert pair.source.one("SELECT count(*) FROM pg_replication_slots WHERE slot_name = %s", [job.slot]) == 0


@pytest.mark.parametrize("setting, words", [
    ({"no.such.setting": "1"}, "no setting of librdkafka"), ({"transactional.id": "mine"}, "set by walferry itself"),
    ({"max.in.flight": "5"}, "set by walferry itself"),
    ({"security.protocol": "geheim"}, "does not take")])
def test_wrong_settings(pair, broker, topic_prefix, setting, words):
    pair.source.sql(TABLE)
    done = kafka_job(pair, broker, topic_prefix, kafka={"config": setting}).run("--until", "now")
    assert done.exit == 2 and words in done.err and "geheim" not in done.err, done.err


def test_cleanup_takes_the_position_and_leaves_the_topics(pair, broker, topic_prefix):
    pair.source.sql(TABLE)
    job = born(kafka_job(pair, broker, topic_prefix))
    pair.source.sql("INSERT INTO t VALUES (1, 'a')")
    until_now(job)
    dry = job.call("cleanup", "--dry-run")
    assert dry.exit == 0 and f"position in topic {topic_prefix}.walferry" in dry.out, dry.said
    assert job.call("cleanup").exit == 0
    assert "position" not in job.call("cleanup").out
    assert len(broker.consume(f"{topic_prefix}.public.t")) == 1
    born(job)


# ---- brokers that go away ----


def test_a_broker_that_is_killed_paused_and_restarted(make_pair, make_broker):
    pair, broker = make_pair(), make_broker()
    pair.source.sql(TABLE)
    job = started(kafka_job(pair, broker, "shop"))
    stop, wrote = threading.Event(), []

    def write():
        with pair.source.connect() as source:
            while not stop.is_set():
                source.cursor().execute("INSERT INTO t VALUES (%s, 'x')", [len(wrote)])
                wrote.append(1)
                time.sleep(0.005)
    writer = threading.Thread(target=write)
    writer.start()
    try:
        for harm in ("kill", "pause", "stop"):
            time.sleep(1.5)
            getattr(broker, harm)()
            time.sleep(8 if harm == "pause" else 2)
            broker.resume() if harm == "pause" else broker.start()
    finally:
        time.sleep(1)
        stop.set()
        writer.join()
    poll_until(lambda: len(broker.consume("shop.public.t")) == len(wrote), f"{len(wrote)} records", 60)
    assert job.process.alive(), job.process.err
    assert job.process.terminate() == 0, job.process.err
    exactly_once(broker, "shop", job, pair)


def test_a_topic_that_is_deleted_ends_the_job_with_its_name(make_pair, make_broker):
    pair, broker = make_pair(), make_broker()
    pair.source.sql(TABLE)
    job = started(kafka_job(pair, broker, "shop"))
    pair.source.sql("INSERT INTO t VALUES (1, 'a')")
    broker.wait_records("shop.public.t", 1)
    broker.delete_topic("shop.public.t")
    pair.source.sql("INSERT INTO t VALUES (2, 'b')")
    assert job.process.wait(90) == 2, job.process.err
    assert 'shop.public.t' in job.process.err
    until_now(job)
    assert [json.loads(r.key) for r in broker.consume("shop.public.t")] == [{"id": 2}]
