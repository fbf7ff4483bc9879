"""Brokers in trouble (F85, F87, F89): what the job says, that it goes on by itself where it can, and that a reader of committed
records sees everything once and in order afterwards."""
import json
import os
import subprocess
import time

import pytest

from harness.poll import poll_until
from harness.records import in_order, place, repeated, same_rows
from harness.server import lsn_number
from test_kafka import TABLE, born, exactly_once, kafka_job, started, until_now

DELIVERIES = ["exactly-once", "at-least-once"]
BOTH = pytest.mark.parametrize("delivery", DELIVERIES)
SLOW = bool(os.environ.get("WALFERRY_SLOW"))
PAUSE_S = 30 if SLOW else 3
BACK_S = 8  # from a broker that has started to records again; librdkafka alone rests for up to 10 s


def insert(pair, first, last, size=1):
    pair.source.sql("INSERT INTO t SELECT i, repeat('x', %s) FROM generate_series(%s, %s) i", (size, first, last))


def once(broker, prefix, job, pair, delivery):
    if delivery == "exactly-once":
        return exactly_once(broker, prefix, job, pair)
    records = broker.consume(f"{prefix}.public.t")
    same_rows(records, pair.source, "t", ("id", "v"))
    return records


def confirmed(pair, job):
    return lsn_number(pair.source.one("SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = %s", [job.slot]))


# ---- brokers that go away ----


@pytest.mark.parametrize("delivery", DELIVERIES if SLOW else ["at-least-once"])
def test_nothing_is_confirmed_that_a_paused_broker_has_not_taken(make_pair, make_broker, delivery):
    """F85. With WALFERRY_SLOW in the environment for 30 s, and in both deliveries, as the tests behind it."""
    pair, broker = make_pair(), make_broker()
    pair.source.sql(TABLE)
    job = started(kafka_job(pair, broker, "shop", kafka={"delivery": delivery}))
    insert(pair, 1, 10)
    broker.wait_records("shop.public.t", 10)
    broker.pause()
    try:
        time.sleep(0.5)  # what was on its way
        before = pair.source.lsn()
        insert(pair, 11, 20)
        until = time.monotonic() + PAUSE_S
        while time.monotonic() < until:
            assert confirmed(pair, job) <= before
            assert job.process.alive(), job.process.err
            time.sleep(0.1)
    finally:
        broker.resume()
    broker.wait_records("shop.public.t", 20)
    assert job.process.terminate() == 0, job.process.err
    once(broker, "shop", job, pair, delivery)
    begun_anew = job.process.err.count("trying again")
    if not SLOW:
        assert begun_anew == 0, "a broker that is silent for a while is waited for"
    # A commit may be on its way when a pause begins that is longer than a request may take: asked for twice, it needs a new producer.
    assert begun_anew == job.process.err.count("the connection was lost during a commit") <= 1


@pytest.mark.parametrize("delivery", DELIVERIES if SLOW else ["exactly-once"])
def test_records_flow_again_soon_after_a_broker_is_back(make_pair, make_broker, delivery):
    """F85: killed, and away for as long as a client's rests grow to."""
    pair, broker = make_pair(), make_broker()
    pair.source.sql(TABLE)
    job = started(kafka_job(pair, broker, "shop", kafka={"delivery": delivery}))
    insert(pair, 1, 10)
    broker.wait_records("shop.public.t", 10)
    broker.kill()
    insert(pair, 11, 20)
    time.sleep(6)
    broker.start()
    began = time.monotonic()
    broker.wait_records("shop.public.t", 20)
    took = time.monotonic() - began
    print(f"records again after {took:.1f} s")
    assert took < BACK_S, job.process.err
    assert job.process.terminate() == 0, job.process.err
    once(broker, "shop", job, pair, delivery)


def loading(pair, broker, rows_per_s, **kafka):
    """A job in the middle of a load."""
    pair.source.sql(TABLE)
    insert(pair, 1, 3000)
    job = pair.job(file_only=True, phases=["full", "incremental"], throttle={"load": {"rows_per_s": rows_per_s}}, kafka={
        "brokers": broker.client()["bootstrap.servers"], "prefix": "shop"} | kafka)
    job.start()
    broker.wait_records("shop.public.t", 10)
    return job


def test_a_broker_that_is_killed_while_a_table_is_loaded(make_pair, make_broker):
    """F85: the load waits for it, or begins anew by itself."""
    pair, broker = make_pair(), make_broker()
    job = loading(pair, broker, 300)
    broker.kill()
    broker.start()
    job.call("set", "throttle.load.rows_per_s", "0")
    job.wait_for("running")
    assert job.process.terminate() == 0, job.process.err
    same_rows(broker.consume("shop.public.t"), pair.source, "t", ("id", "v"))


def test_a_topic_that_goes_while_its_table_is_loaded(make_pair, make_broker):
    """F89: the rows are all there when the load is over, or it says which topic it is."""
    pair, broker = make_pair(), make_broker()
    job = loading(pair, broker, 100)
    broker.delete_topic("shop.public.t")
    job.call("set", "throttle.load.rows_per_s", "0")
    assert job.process.wait(90) == 2 and "shop.public.t" in job.process.err, job.process.err
    until_now(job)
    same_rows(broker.consume("shop.public.t"), pair.source, "t", ("id", "v"))


@pytest.fixture
def small_disk(tmp_path):
    """A tmpfs of 48 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "none", folder], capture_output=True)
    assert mounted.returncode == 0, mounted.stderr
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("delivery", DELIVERIES if SLOW else ["exactly-once"])
def test_the_disk_of_a_broker_is_full(make_pair, make_broker, small_disk, delivery):
    """The broker gives up; the job waits for it, and goes on once there is space."""
    pair, broker = make_pair(), make_broker(log_dirs=[small_disk / "data"])
    pair.source.sql(TABLE)
    job = started(kafka_job(pair, broker, "shop", kafka={"delivery": delivery, "config": {"compression.type": "none"}}))
    insert(pair, 1, 10)
    broker.wait_records("shop.public.t", 10)
    space = os.statvfs(small_disk)
    with (small_disk / "filler").open("wb") as filler:
        os.posix_fallocate(filler.fileno(), 0, max(1, space.f_bavail * space.f_bsize - (1 << 20)))
    insert(pair, 11, 3000, 1000)
    poll_until(lambda: not broker.alive(), "the broker gives up", 60)
    assert "No space left on device" in broker.log() or "unsafe memory access" in broker.log(), broker.log()[-3000:]
    assert job.process.alive(), job.process.err
    subprocess.run(["mount", "-o", "remount,size=200m", small_disk], check=True)
    (small_disk / "filler").unlink()
    broker.kill()  # it has ended by itself
    broker.start()
    poll_until(lambda: len({json.loads(r.key)["id"] for r in broker.consume("shop.public.t", settle=0)}) == 3000,
               "all records", 60, every=0.5)
    assert job.process.terminate() == 0, job.process.err
    once(broker, "shop", job, pair, delivery)


# ---- what is too large for a broker ----


@BOTH
def test_batches_are_no_larger_than_a_topic_takes(pair, broker, topic_prefix, delivery):
    """F87: each record is small, and together they are more than the topic takes at once."""
    pair.source.sql(TABLE)
    job = born(kafka_job(pair, broker, topic_prefix, kafka={
        "delivery": delivery, "topics": {"config": {"max.message.bytes": "20000"}}, "config": {"compression.type": "none"}}))
    insert(pair, 1, 2000, 100)
    until_now(job)
    assert len(once(broker, topic_prefix, job, pair, delivery)) == 2000


@BOTH
@pytest.mark.parametrize("refused", ["stop", "dead-letter"])
def test_a_record_that_only_the_broker_refuses(pair, broker, topic_prefix, delivery, refused):
    """F87: larger than the topic takes, and smaller than the client may send."""
    pair.source.sql(TABLE)
    job = born(kafka_job(pair, broker, topic_prefix, kafka={
        "delivery": delivery, "refused": refused, "topics": {"config": {"max.message.bytes": "20000"}},
        "config": {"compression.type": "none"}}))
    insert(pair, 1, 1)
    insert(pair, 2, 2, 50000)
    insert(pair, 3, 3)
    done = job.run("--until", "now")
    records = [json.loads(r.key)["id"] for r in broker.consume(f"{topic_prefix}.public.t")]
    if refused == "dead-letter":
        assert done.exit == 0, done.err
        letters = [json.loads(r.value) for r in broker.consume(f"{topic_prefix}.dead-letter")]
        assert [letter["after"]["id"] for letter in letters] == ["2"] and records == [1, 3]
        return
    assert done.exit == 5 and f"{topic_prefix}.public.t" in done.err and "max.message.bytes" in done.err, done.err
    assert 2 not in records and (3 not in records or delivery == "at-least-once")
    broker.alter_config(f"{topic_prefix}.public.t", {"max.message.bytes": "200000"})
    until_now(job)
    assert len({place(r) for r in once(broker, topic_prefix, job, pair, delivery)}) == 3


# ---- topics that change ----


@BOTH
def test_partitions_are_added_while_the_job_runs(pair, broker, topic_prefix, delivery):
    """F89. The rows of new partitions follow; nothing is lost or doubled."""
    from confluent_kafka.admin import NewPartitions
    pair.source.sql(TABLE)
    job = started(kafka_job(pair, broker, topic_prefix, kafka={
        "delivery": delivery, "config": {"topic.metadata.refresh.interval.ms": "500"}}))
    topic = f"{topic_prefix}.public.t"
    insert(pair, 1, 50)
    broker.wait_records(topic, 50)
    for future in broker.admin.create_partitions([NewPartitions(topic, 4)]).values():
        future.result(20)
    for first in range(100, 2000, 100):
        insert(pair, first, first + 9)
        if len({r.partition for r in broker.consume(topic, settle=0)}) > 2:
            break
        time.sleep(0.3)
    assert job.process.alive() and "trying again" not in job.process.err, job.process.err
    assert job.process.terminate() == 0, job.process.err
    until_now(job)
    records = broker.consume(topic)
    assert not repeated(records) and len({r.partition for r in records}) > 2
    in_order(records)
    assert {json.loads(r.key)["id"] for r in records} == {row[0] for row in pair.source.sql("SELECT id FROM t")}


def test_a_topic_that_goes_and_is_not_to_be_made(pair, broker, topic_prefix):
    """F89: it is named; made by hand again, it gets what has happened since."""
    pair.source.sql(TABLE)
    topic = f"{topic_prefix}.public.t"
    broker.create_topic(topic)
    broker.create_topic(f"{topic_prefix}.walferry", config={"cleanup.policy": "compact"})
    job = started(kafka_job(pair, broker, topic_prefix, source={"heartbeat": 0}, kafka={"topics": {"create": False}}))
    broker.delete_topic(topic)
    insert(pair, 1, 1)
    assert job.process.wait(90) == 2, job.process.err
    assert topic in job.process.err and "hint" in job.process.err, job.process.err
    broker.create_topic(topic)
    until_now(job)
    assert [json.loads(r.key)["id"] for r in broker.consume(topic)] == [1]


def test_names_that_are_too_long_for_a_topic(pair, broker):
    """F89: with the longest prefix that is taken; what is cut is cut as Debezium does it."""
    pair.source.sql(f"CREATE SCHEMA {'s' * 60}; CREATE TABLE {'s' * 60}.t (id int PRIMARY KEY)")
    prefix = "long" + "p" * 196
    job = kafka_job(pair, broker, prefix, source={"heartbeat": 0})
    try:
        until_now(job)
        pair.source.sql(f"INSERT INTO {'s' * 60}.t VALUES (1)")
        until_now(job)
        topic = f"{prefix}.{'s' * 60}.t"[:249]
        assert [json.loads(r.key)["id"] for r in broker.consume(topic)] == [1]
        job.rewrite({"kafka": {"prefix": prefix + "p"}})
        done = job.run("--until", "now")
        assert done.exit == 2 and "kafka.prefix" in done.err, done.err
    finally:
        broker.delete_topics(prefix)
