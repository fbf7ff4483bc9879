"""Whatever ends a job, a load or a session, it leaves no Kafka transaction open: readers of committed records would see nothing of what
anybody writes behind it, for as long as transaction.timeout.ms."""
import pytest

from harness.poll import poll_until
from harness.records import place
from test_kafka import born, kafka_job
from test_kafka_load import ROWS, TABLES, asked, followed, load_job, records_of, until_now

NUMBERS = ("CREATE TABLE a (id int PRIMARY KEY, n numeric(10,2)); INSERT INTO a SELECT i, i FROM generate_series(1, 500) i;"
           " INSERT INTO a VALUES (501, 'NaN')")
SLOWLY = {"load": {"rows_per_s": 500}}


def nothing_open(broker, prefix):
    def ends(isolation):
        return {(name, part.number): part.high for name in sorted(broker.topics(prefix)) for part in broker.led(name, isolation)}
    poll_until(lambda: ends("read_committed") == ends("read_uncommitted"), "all transactions are over", 5)


def test_a_load_that_is_stopped(pair, broker, topic_prefix):
    pair.source.sql(TABLES)
    pair.source.sql(ROWS)
    job = load_job(pair, broker, topic_prefix, load={"workers": 2}, throttle={"load": {"rows_per_s": 400}})
    job.start()
    topic = f"{topic_prefix}.public.b"
    poll_until(lambda: topic in broker.topics() and broker.consume(topic, "read_uncommitted"), "rows come", 30)
    assert job.process.terminate() == 0, job.process.err
    nothing_open(broker, topic_prefix)
    job.rewrite({"throttle": {"load": {"rows_per_s": 0}}})
    until_now(job)
    followed(broker, topic_prefix, pair)


def test_a_load_with_a_row_that_cannot_be_written(pair, broker, topic_prefix):
    pair.source.sql(NUMBERS)
    job = load_job(pair, broker, topic_prefix, kafka={"special": "fail"}, throttle=SLOWLY)
    done = job.run("--until", "now")
    assert done.exit == 5 and "NaN" in done.err, done.err
    nothing_open(broker, topic_prefix)


def test_tables_that_are_not_loaded_again_after_all(pair, broker, topic_prefix):
    """What the stream writes behind the rows that were given up is there for everybody."""
    pair.source.sql(NUMBERS)
    job = kafka_job(pair, broker, topic_prefix, kafka={"special": "fail"}, throttle=SLOWLY)
    job.start()
    job.wait_for("running")
    asked(job, "public.a")
    poll_until(lambda: "the stream goes on" in job.process.err, "it is given up", 20)
    job.wait_for("running")
    pair.source.sql("INSERT INTO a VALUES (502, 3)")
    poll_until(lambda: [r for r in records_of(broker, topic_prefix, "a") if place(r)[1] == 0], "what comes then is seen", 10)
    assert job.process.terminate() == 0
    nothing_open(broker, topic_prefix)


@pytest.mark.parametrize("delivery", ["exactly-once", "at-least-once"])
def test_a_record_that_the_broker_refuses(pair, broker, topic_prefix, delivery):
    """Beside one that it has taken, in the same transaction."""
    pair.source.sql(TABLES)
    broker.create_topic(f"{topic_prefix}.public.b", config={"max.message.bytes": "20000"})
    job = born(kafka_job(pair, broker, topic_prefix, kafka={"delivery": delivery, "config": {"compression.type": "none"}}))
    pair.source.sql("INSERT INTO a VALUES (1, 'one'); INSERT INTO b VALUES (1, repeat('x', 50000))")
    done = job.run("--until", "now")
    assert done.exit == 5 and "max.message.bytes" in done.err, done.err
    nothing_open(broker, topic_prefix)


def test_a_topic_that_was_deleted(pair, broker, topic_prefix):
    pair.source.sql(TABLES)
    job = load_job(pair, broker, topic_prefix, source={"heartbeat": 0}, kafka={"topics": {"create": False}})
    for name in "public.a", "public.b", "public.e":
        broker.create_topic(f"{topic_prefix}.{name}")
    broker.create_topic(f"{topic_prefix}.walferry", config={"cleanup.policy": "compact"})
    job.start()
    job.wait_for("running")
    broker.delete_topic(f"{topic_prefix}.public.b")
    pair.source.sql("BEGIN; INSERT INTO a VALUES (1, 'one'); INSERT INTO b VALUES (1, 'two'); COMMIT")
    assert job.process.wait(90) == 2, job.process.err
    nothing_open(broker, topic_prefix)


def test_a_load_that_is_slow(pair, broker, topic_prefix):
    """A reader sees the rows while they come: a transaction is not open for longer because there are few."""
    pair.source.sql(TABLES)
    pair.source.sql("INSERT INTO a SELECT i, 'a' || i FROM generate_series(1, 400) i")
    job = load_job(pair, broker, topic_prefix, load={"workers": 1}, throttle={"load": {"rows_per_s": 20}})
    job.start()
    poll_until(lambda: "full" in job.process.err, "it loads", 20)
    poll_until(lambda: records_of(broker, topic_prefix, "a"), "rows are seen", 8)
    job.call("set", "throttle.load.rows_per_s", "0")
    job.wait_for("running")
    assert job.process.terminate() == 0
    followed(broker, topic_prefix, pair)


def killed_in_the_load(job):
    job.start(fault="kafka.load_commit:kill@2")
    job.process.wait_reached("kafka.load_commit")
    job.process.popen.wait()


def test_another_server_in_the_middle_of_a_load(pair, broker, topic_prefix, other_server):
    """F39: nothing of it is written, and what the slot has lost is told before hours of loading."""
    pair.source.sql(TABLES)
    pair.source.sql(ROWS)
    job = load_job(pair, broker, topic_prefix, load={"workers": 1})
    killed_in_the_load(job)
    before = len(records_of(broker, topic_prefix, "a"))
    stranger = other_server.database(pair.name)
    stranger.sql(TABLES)
    stranger.sql("INSERT INTO a VALUES (1, 'of another')")
    stranger.sql(f'CREATE PUBLICATION "{job.slot}" FOR ALL TABLES')
    stranger.sql("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (job.slot,))
    mine = job.config["source"]["dsn"]
    job.rewrite({"source": {"dsn": stranger.dsn()}})
    done = job.run("--until", "now")
    assert done.exit == 3 and "system identifier" in done.err, done.err
    assert len(records_of(broker, topic_prefix, "a")) == before
    job.rewrite({"source": {"dsn": mine}})
    until_now(job)
    followed(broker, topic_prefix, pair)


def test_a_slot_that_goes_in_the_middle_of_a_load(pair, broker, topic_prefix):
    pair.source.sql(TABLES)
    pair.source.sql(ROWS)
    job = load_job(pair, broker, topic_prefix, load={"workers": 1})
    killed_in_the_load(job)
    pair.source.sql("SELECT pg_drop_replication_slot(%s)", (job.slot,))
    done = job.run("--until", "now")
    assert done.exit == 3 and job.slot in done.err and "loading the rest" not in done.err, done.err
