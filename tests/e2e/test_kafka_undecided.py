"""A commit in Kafka whose outcome is not known (F90, trap A3): the producer is made anew, the old transaction is settled, the
position is read again, and only what lies beyond it is sent. Read by whoever reads committed records of the real broker."""
import json
import signal

import pytest

from harness.place import free_port
from harness.poll import poll_until
from harness.proxy import Proxy
from harness.records import groups_say_what_is_there, in_order, repeated, same_rows
from test_kafka import exactly_once

TABLE = "CREATE TABLE t (id int PRIMARY KEY, v text)"
# What walferry waits for in an undecided commit is a third of it.
PATIENCE = {"config": {"transaction.timeout.ms": "6000"}}
LONG_MS = 600000


@pytest.fixture(scope="module")
def road(place):
    """A broker with a proxy in front."""
    from harness.broker import Broker
    port = free_port()
    directory = place.folder("road")
    proxy = Proxy(directory, port)
    broker = Broker(place, "far", far=(port, proxy.port)).start()
    yield proxy, broker
    broker.discard(place.keep)
    proxy.close()


prefixes = iter(range(1000))


@pytest.fixture
def prefix(road):
    proxy, broker = road
    prefix = f"u{next(prefixes):03}"
    yield prefix
    proxy.tell("clear")
    proxy.tell("reset")
    broker.delete_topics(prefix)


def far_job(pair, road, prefix, **kafka):
    """No beats: every commit in Kafka is one of rows."""
    pair.source.sql(TABLE)
    job = pair.job(file_only=True, phases=["incremental"], source={"heartbeat": 0}, kafka={
        "brokers": f"127.0.0.1:{road[0].port}", "prefix": prefix} | PATIENCE | kafka)
    done = job.run("--until", "now")
    assert done.exit == 0, done.err
    return job


def insert(pair, first, last):
    pair.source.sql("INSERT INTO t SELECT i, 'x' FROM generate_series(%s, %s) i", (first, last))


def ids(broker, prefix, isolation="read_committed"):
    topic = f"{prefix}.public.t"
    return [json.loads(record.key)["id"] for record in broker.consume(topic, isolation, settle=0)] if topic in broker.topics() else []


def lose(pair, road, job, late_ms=None):
    system_id = pair.source.one("SELECT system_identifier FROM pg_control_system()")
    road[0].lose_commit_of_kafka(job, system_id, late_ms)


def gone_on(pair, road, prefix, job):
    insert(pair, 101, 110)
    road[1].wait_records(f"{prefix}.public.t", 20)
    assert job.process.alive(), job.process.err
    assert job.status()["totals"]["retries"] >= 1
    assert job.process.terminate() == 0, job.process.err
    assert sorted(json.loads(r.key)["id"] for r in exactly_once(road[1], prefix, job, pair)) == [*range(1, 11), *range(101, 111)]


def test_the_answer_is_lost_and_the_broker_has_committed(pair, road, prefix):
    proxy, broker = road
    job = far_job(pair, road, prefix)
    job.start()
    job.wait_for("running")
    lose(pair, road, job)
    insert(pair, 1, 10)
    poll_until(lambda: proxy.stats()["swallowed"], "an answer is swallowed")
    poll_until(lambda: len(ids(broker, prefix)) == 10, "readers see what walferry has not heard of")
    assert "trying again" not in job.process.err
    gone_on(pair, road, prefix, job)


def test_the_answer_is_lost_with_the_connection(pair, road, prefix):
    """librdkafka asks again by itself, on another connection; behind such an answer nothing goes on with the same producer."""
    proxy, broker = road
    job = far_job(pair, road, prefix)
    job.start()
    job.wait_for("running")
    swallowed = proxy.stats()["swallowed"]
    lose(pair, road, job)
    insert(pair, 1, 10)
    poll_until(lambda: proxy.stats()["swallowed"] > swallowed, "an answer is swallowed")
    proxy.tell("reset")
    gone_on(pair, road, prefix, job)


def test_the_request_is_lost_and_the_broker_has_not_committed(pair, road, prefix):
    proxy, broker = road
    job = far_job(pair, road, prefix)
    job.start()
    job.wait_for("running")
    delayed = proxy.stats()["delayed"]
    lose(pair, road, job, LONG_MS)
    insert(pair, 1, 10)
    poll_until(lambda: proxy.stats()["delayed"] > delayed, "a request is lost")
    assert len(ids(broker, prefix, "read_uncommitted")) == 10 and ids(broker, prefix) == []
    gone_on(pair, road, prefix, job)


def test_the_request_comes_when_nobody_waits_for_it_any_more(pair, road, prefix):
    """Between taking over the transactional id, which settles what it would have ended, and reading the position: were that
    the other way round, the position would be that of before the late commit."""
    proxy, broker = road
    job = far_job(pair, road, prefix)
    job.start(fault="kafka.before_position_read:sleep:5000@2")
    job.wait_for("running")
    delayed = proxy.stats()["delayed"]
    lose(pair, road, job, 4500)
    insert(pair, 1, 10)
    poll_until(lambda: proxy.stats()["delayed"] > delayed, "a request is late")
    job.process.wait_reached("kafka.before_position_read")
    gone_on(pair, road, prefix, job)


def test_an_instance_that_was_thought_dead_commits_late(pair, road, prefix):
    """Nothing of its transaction has reached the broker when another instance takes the job over. Whoever reads the position
    before the old producer is fenced does not know of what it commits then."""
    proxy, broker = road
    job = far_job(pair, road, prefix, config={"linger.ms": "5000"})
    first = job.start(fault="kafka.before_commit:sleep:500")
    job.wait_for("running")
    insert(pair, 1, 10)
    first.wait_reached("kafka.before_commit")
    first.signal(signal.SIGSTOP)
    assert ids(broker, prefix, "read_uncommitted") == []
    try:
        pair.source.sql("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = %s", (job.slot,))
        second = job.start(fault="kafka.before_position_read:sleep:4000", env={"XDG_RUNTIME_DIR": str(pair.directory)})
        second.wait_reached("kafka.before_position_read")
    finally:
        first.signal(signal.SIGCONT)
    broker.wait_records(f"{prefix}.public.t", 10)
    first.kill9()
    insert(pair, 101, 110)
    broker.wait_records(f"{prefix}.public.t", 20)
    assert second.terminate() == 0, second.err
    records = broker.consume(f"{prefix}.public.t")
    assert not repeated(records)
    in_order(records)
    same_rows(records, pair.source, "t", ("id", "v"))
    groups_say_what_is_there(broker.consume(f"{prefix}.walferry"), records, job.name)
