"""From Debezium to walferry in the same topics: nothing lost, at most the transaction in work twice (trap C11)."""
import json
from collections import Counter

from harness.poll import poll_until
from harness.records import rows_of

TABLE = "CREATE TABLE t (id int PRIMARY KEY, v text); ALTER TABLE t REPLICA IDENTITY FULL; CREATE PUBLICATION dbz_publication FOR TABLE t"


def takeover_job(pair, broker, prefix):
    return pair.job(file_only=True, phases=["incremental"], source={"publication": "dbz_publication", "heartbeat": 0},
                    kafka={"brokers": broker.client()["bootstrap.servers"], "prefix": prefix})


def events(broker, prefix):
    return [r for r in broker.consume(f"{prefix}.public.t") if r.value]


def connector(pair, broker, prefix, **more):
    return pair.debezium(broker, prefix, publication="dbz_publication", slot="debezium", snapshot_mode="no_data",
                         schemas=False, **more)


def cannot_be_taken_over(pair, job, debezium, prefix):
    """What is refused while the connector runs, and behind its end, with nothing made."""
    poll_until(lambda: debezium.offsets_path.exists(), "offsets are kept")
    running = job.run("--until", "now", "--from-debezium", debezium.offsets_path)
    assert running.exit == 2 and "stop the connector first" in running.err, running.err
    debezium.stop()
    other = job.run("--until", "now", "--from-debezium", debezium.offsets_path, "--set", f"kafka.prefix=x{prefix}")
    assert other.exit == 2 and "topic.prefix" in other.err, other.err
    nothing = job.run("--until", "now", "--from-debezium", job.file)
    assert nothing.exit == 2 and "no offsets file" in nothing.err, nothing.err
    slot = job.run("--until", "now", "--from-debezium", debezium.offsets_path, "--debezium-slot", "nobody")
    assert slot.exit == 2 and "--debezium-slot" in slot.err, slot.err
    own = job.run("--until", "now", "--from-debezium", debezium.offsets_path, "--set", f"source.publication={job.slot}")
    assert own.exit == 2 and "dbz_publication" in own.err, own.err
    assert pair.source.one("SELECT count(*) FROM pg_replication_slots") == 1, "nothing was made"


def test_takeover_by_the_offsets_file(pair, broker, topic_prefix):
    pair.source.sql(TABLE)
    debezium = connector(pair, broker, topic_prefix)
    debezium.start()
    for number in range(100):
        pair.source.sql(f"INSERT INTO t VALUES ({number}, 'debezium'); UPDATE t SET v = v || '!' WHERE id = {number // 2}")
    broker.wait_records(f"{topic_prefix}.public.t", 200)
    job = takeover_job(pair, broker, topic_prefix)
    cannot_be_taken_over(pair, job, debezium, topic_prefix)
    pair.source.sql("INSERT INTO t SELECT i, 'between' FROM generate_series(100, 149) i")
    job.start("--from-debezium", debezium.offsets_path, fault="takeover.before_slot:kill").wait()
    anew = job.run("--until", "now")
    assert anew.exit == 2 and "--from-debezium once more" in anew.err, "a slot of now would leave out what is between"
    done = job.run("--until", "now", "--from-debezium", debezium.offsets_path)
    assert done.exit == 0 and "made as a copy" in done.err, done.err
    pair.source.sql("DELETE FROM t WHERE id < 10; INSERT INTO t VALUES (1000, 'behind')")
    again = job.run("--until", "now")
    assert again.exit == 0, again.err
    records = events(broker, topic_prefix)
    there = {tuple(row.values()) for row in rows_of(broker.consume(f"{topic_prefix}.public.t")).values()}
    assert there == set(pair.source.sql("SELECT id, v FROM t"))
    sources = [json.loads(r.value)["source"] for r in records]
    seen = Counter((source["txId"], source["lsn"]) for source in sources)
    assert sum(seen.values()) - len(seen) <= 2, "at most the last transaction comes twice"
    assert [source["lsn"] for source in sources] == sorted(source["lsn"] for source in sources) or len(seen) < len(sources)
    assert pair.source.one("SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'debezium'") == 1
    assert job.call("cleanup").exit == 0
    pair.source.sql("SELECT pg_drop_replication_slot('debezium')")


def test_takeover_by_the_offsets_topic(pair, broker, topic_prefix):
    """Of a real worker of a Connect cluster; and with records of another connector, of the form that this one's have."""
    pair.source.sql(TABLE)
    debezium = connector(pair, broker, topic_prefix, distributed=True)
    debezium.start()
    pair.source.sql("INSERT INTO t SELECT i, 'debezium' FROM generate_series(0, 99) i")
    pair.source.sql("DELETE FROM t WHERE id < 10")
    broker.wait_records(f"{topic_prefix}.public.t", 120)
    debezium.stop()
    pair.source.sql("INSERT INTO t SELECT i, 'between' FROM generate_series(100, 149) i")
    job = takeover_job(pair, broker, topic_prefix)

    def take(*more, topic=debezium.offsets_topic):
        return job.run("--until", "now", "--from-debezium", f"topic:{topic}", *more)
    nothing = take(topic="nothing")
    assert nothing.exit == 2 and 'no topic "nothing"' in nothing.err, nothing.err
    other = take("--set", f"kafka.prefix=x{topic_prefix}")
    assert other.exit == 2 and "topic.prefix" in other.err, other.err
    newest = [r for r in broker.consume(debezium.offsets_topic) if json.loads(r.key)[0] == "debezium"][-1]
    key = newest.key.replace(b'"debezium"', b'"before"')
    assert json.loads(newest.key) == ["debezium", {"server": topic_prefix}] and key != newest.key
    broker.produce(debezium.offsets_topic, newest.value, key)
    several = take()
    assert several.exit == 2 and '"before"' in several.err and '"debezium"' in several.err, several.err
    wrong = take("--debezium-connector", "after")
    assert wrong.exit == 2 and 'no connector "after"' in wrong.err, wrong.err
    done = take("--debezium-connector", "debezium")
    assert done.exit == 0 and "made as a copy" in done.err, done.err
    records = broker.consume(f"{topic_prefix}.public.t")
    there = {tuple(row.values()) for row in rows_of(records).values()}
    assert there == set(pair.source.sql("SELECT id, v FROM t"))
    seen = Counter((r.key, json.loads(r.value)["source"]["lsn"]) for r in records if r.value)
    assert sum(seen.values()) - len(seen) <= 10, "at most the last transaction comes twice"
    assert job.call("cleanup").exit == 0
    pair.source.sql("SELECT pg_drop_replication_slot('debezium')")
