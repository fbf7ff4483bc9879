"""The snapshot into Kafka: every row once, in parallel, resumable, and the stream behind it without gap (traps A2, A10, A17)."""
import json
import threading
import time

import pytest

from harness.poll import poll_until
from harness.records import headers, in_order, place, repeated, rows_of, same_rows
from harness.standby import disk_keep, disk_set_back

TABLES = "CREATE TABLE a (id int PRIMARY KEY, v text); CREATE TABLE b (id int PRIMARY KEY, v text); CREATE TABLE e (id int PRIMARY KEY)"
ROWS = ("INSERT INTO a SELECT i, 'a' || i FROM generate_series(1, 3000) i;"
        " INSERT INTO b SELECT i, repeat('b', 500) FROM generate_series(1, 5000) i")
FULL = {"phases": ["full", "incremental"]}


def load_job(pair, broker, prefix, **config):
    kafka = {"brokers": broker.client()["bootstrap.servers"], "prefix": prefix} | config.pop("kafka", {})
    return pair.job(file_only=True, kafka=kafka, **FULL, **config)


def until_now(job, **more):
    done = job.run("--until", "now", **more)
    assert done.exit == 0, done.err
    return done


def records_of(broker, prefix, table):
    topic = f"{prefix}.public.{table}"
    return broker.consume(topic) if topic in broker.topics() else []


def followed(broker, prefix, pair, tables=("a", "b")):
    """Whoever follows the topic ends up with the table."""
    for table in tables:
        same_rows(records_of(broker, prefix, table), pair.source, table, ("id", "v"))


def test_rows_then_changes(pair, broker, topic_prefix):
    pair.source.sql(TABLES)
    pair.source.sql(ROWS)
    pair.source.sql("INSERT INTO a VALUES (0, E'tab\\t line\\n back\\\\slash \\\\N'), (-1, NULL), (-2, ''), (-3, '\\N')")
    job = load_job(pair, broker, topic_prefix, kafka={"topics": {"partitions": 3}})
    done = until_now(job)
    assert "rows are loaded: 8,004" in done.err, done.err
    pair.source.sql("UPDATE a SET v = 'new' WHERE id = 1; DELETE FROM b WHERE id < 10")
    until_now(job)
    a = records_of(broker, topic_prefix, "a")
    loaded = [record for record in a if place(record)[1] == -1]
    assert len(loaded) == 3004 and not repeated(a) and len({place(record) for record in loaded}) == 1
    assert len({record.partition for record in loaded}) == 3
    events = [json.loads(record.value) for record in loaded]
    assert {event["op"] for event in events} == {"r"} and all(event["before"] is None for event in events)
    marks = [event["source"]["snapshot"] for event in events]
    assert sorted(set(marks)) == ["first_in_data_collection", "last_in_data_collection", "true"]
    assert marks.count("first_in_data_collection") == marks.count("last_in_data_collection") == 1
    assert headers(loaded[0])["walferry.seq"] == "-1" and "walferry.lsn" in headers(loaded[0])
    in_order(a)
    followed(broker, topic_prefix, pair)
    assert records_of(broker, topic_prefix, "e") == []
    keys = [json.loads(r.key) for r in broker.consume(f"{topic_prefix}.walferry") if r.value]
    assert {key["table"] for key in keys if "table" in key} == {"public.a", "public.b", "public.e"}
    status = job.run("--until", "now")
    assert status.exit == 0 and len(records_of(broker, topic_prefix, "a")) == len(a), "it is not loaded again"


def test_row_filters_and_column_lists(pair, broker, topic_prefix):
    pair.source.sql(TABLES)
    pair.source.sql(ROWS)
    job = load_job(pair, broker, topic_prefix, objects={"include": ["public.a", "public.b"], "tables": {
        "public.a": {"where": "id <= 10"}, "public.b": {"columns": ["id"]}}})
    until_now(job)
    assert len(records_of(broker, topic_prefix, "a")) == 10
    assert set(json.loads(records_of(broker, topic_prefix, "b")[0].value)["after"]) == {"id"}


class Writer(threading.Thread):
    """Changes of both tables, while the load goes on."""

    def __init__(self, source):
        super().__init__()
        self.source, self.done = source, threading.Event()

    def run(self):
        number = 0
        connection = self.source.connect(autocommit=True)
        cursor = connection.cursor()
        while not self.done.is_set():
            number += 1
            cursor.execute("UPDATE a SET v = %s WHERE id = %s", [f"u{number}", number % 3000 + 1])
            cursor.execute("INSERT INTO b VALUES (%s, 'new')", [100000 + number])
            cursor.execute("DELETE FROM b WHERE id = %s", [number % 5000 + 1])
            if number % 7 == 0:
                cursor.execute("UPDATE a SET id = %s WHERE id = %s", [200000 + number, number % 3000 + 1])
            time.sleep(0.001)
        connection.close()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.join()


def test_the_stream_follows_the_load_without_gap(pair, broker, topic_prefix):
    pair.source.sql(TABLES)
    pair.source.sql(ROWS)
    job = load_job(pair, broker, topic_prefix)
    with Writer(pair.source):
        until_now(job)
    until_now(job)
    for table in "ab":
        records = records_of(broker, topic_prefix, table)
        assert not repeated(records)
        in_order(records)
    followed(broker, topic_prefix, pair)


POINTS = ["snapshot.after_slot:kill", "kafka.load_commit:kill", "kafka.load_commit:kill@2", "kafka.load_commit:kill@3"]


@pytest.mark.parametrize("point", POINTS)
def test_killed_in_the_load(pair, broker, topic_prefix, point):
    """Tables that are whole are not read again; the others are, under a snapshot of their own (trap A2)."""
    pair.source.sql(TABLES)
    pair.source.sql(ROWS)
    job = load_job(pair, broker, topic_prefix, load={"workers": 1})
    with Writer(pair.source):
        job.start(fault=point)
        job.process.wait_reached(point.split(":")[0])
        job.process.popen.wait()
        time.sleep(0.3)
        done = until_now(job)
    until_now(job)
    followed(broker, topic_prefix, pair)
    moments = {table: {place(r)[0] for r in records_of(broker, topic_prefix, table) if place(r)[1] == -1} for table in "ab"}
    assert all(len(moment) == 1 for moment in moments.values()), "what was not committed was not seen"
    assert len(set.union(*moments.values())) == (2 if point.endswith("@2") else 1), "b is the first one to be whole"
    if point.startswith("kafka"):
        assert "loading the rest under a new snapshot" in done.err
    assert pair.source.one("SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE %s", [job.slot + "%"]) == 1


def test_killed_again_and_again(pair, broker, topic_prefix):
    pair.source.sql(TABLES)
    pair.source.sql(ROWS)
    pair.source.sql("INSERT INTO b SELECT i, repeat('c', 500) FROM generate_series(5001, 60000) i")
    job = load_job(pair, broker, topic_prefix, load={"workers": 2})
    with Writer(pair.source):
        for after in (0.5, 1.2, 0.8, 1.6, 1.0):
            job.start()
            time.sleep(after)
            job.process.kill9()
        until_now(job)
    until_now(job)
    followed(broker, topic_prefix, pair)


def test_a_table_that_is_rewritten_meanwhile_is_read_again(pair, broker, topic_prefix):
    """Trap A10: the snapshot shows no rows of it any more."""
    pair.source.sql(TABLES)
    pair.source.sql(ROWS)
    job = load_job(pair, broker, topic_prefix, load={"workers": 1})
    job.start(fault="snapshot.after_slot:sleep:1500")
    job.process.wait_reached("snapshot.after_slot")
    pair.source.sql("VACUUM FULL a")
    job.wait_for("running")
    assert 'table "public.a" was rewritten' in job.process.err
    assert job.process.terminate() == 0
    followed(broker, topic_prefix, pair)


def test_a_second_instance_waits_for_the_load(pair, broker, topic_prefix):
    pair.source.sql(TABLES)
    pair.source.sql(ROWS)
    job = load_job(pair, broker, topic_prefix, load={"workers": 1}, throttle={"load": {"rows_per_s": 2000}})
    job.start()
    poll_until(lambda: job.process.alive() and "full" in job.process.err, "it loads")
    first = job.process
    second = job.run("--until", "now", env={"XDG_RUNTIME_DIR": str(pair.directory)}, timeout=60)
    assert second.exit != 0 and ("another instance" in second.err or "in use" in second.err), second.err
    assert first.alive()
    job.process = first
    job.wait_for("running")
    assert first.terminate() == 0
    assert not repeated(records_of(broker, topic_prefix, "a"))
    followed(broker, topic_prefix, pair)


def test_an_instance_that_slept_while_another_finished_the_load(pair, broker, topic_prefix):
    """What it has read of the position before is not what it goes on with: nothing is written there that takes it back."""
    pair.source.sql(TABLES)
    pair.source.sql(ROWS)
    job = load_job(pair, broker, topic_prefix, load={"workers": 1})
    job.start(fault="kafka.load_commit:kill@2")
    job.process.popen.wait()
    sleeper = job.start(fault="kafka.load_read:sleep:15000")
    job.process.wait_reached("kafka.load_read")
    elsewhere = {"XDG_RUNTIME_DIR": str(pair.directory)}
    until_now(job, env=elsewhere)
    pair.source.sql("UPDATE a SET v = 'new' WHERE id = 1; DELETE FROM b WHERE id < 10")
    until_now(job, env=elsewhere)
    assert sleeper.alive() and "loading" not in sleeper.err
    job.process = sleeper
    job.wait_for("running")
    assert sleeper.terminate() == 0, sleeper.err
    assert not repeated(records_of(broker, topic_prefix, "a")) and not repeated(records_of(broker, topic_prefix, "b"))
    followed(broker, topic_prefix, pair)


def test_trap_A9_a_source_that_has_lost_what_the_load_has_read(make_pair, broker, topic_prefix):
    """The load went on under a later snapshot; the source that is promoted forks before it, and behind the position."""
    pair = make_pair()
    pair.source.sql(TABLES)
    pair.source.sql(ROWS)
    job = load_job(pair, broker, topic_prefix, load={"workers": 1}, source={"heartbeat": 0})
    job.start(fault="kafka.load_commit:kill@2")
    job.process.popen.wait()
    server = pair.source.server
    server.stop()
    behind = disk_keep(server)
    server.start()
    pair.source.sql("INSERT INTO a VALUES (9999, 'lost')")
    job.start(fault="kafka.before_position_read:kill")
    job.process.popen.wait()
    assert job.process.reached("kafka.before_position_read"), job.process.err
    server.stop()
    disk_set_back(server, behind)
    server.configure({"restore_command": "/bin/false"})
    (server.data / "recovery.signal").touch()
    server.start()
    poll_until(lambda: not pair.source.one("SELECT pg_is_in_recovery()"), "it is promoted")
    done = job.run("--until", "now")
    assert done.exit == 3 and "timeline" in done.err, done.err


def test_stopped_in_the_load_it_goes_on(pair, broker, topic_prefix):
    pair.source.sql(TABLES)
    pair.source.sql(ROWS)
    job = load_job(pair, broker, topic_prefix, load={"workers": 1}, throttle={"load": {"rows_per_s": 1500}})
    job.start()
    poll_until(lambda: "full" in job.process.err, "it loads")
    time.sleep(1)
    assert job.process.terminate() == 0, job.process.err
    job.rewrite({"throttle": {"load": {"rows_per_s": 0}}})
    until_now(job)
    followed(broker, topic_prefix, pair)


def test_cleanup_within_the_load(pair, broker, topic_prefix):
    pair.source.sql(TABLES)
    pair.source.sql(ROWS)
    job = load_job(pair, broker, topic_prefix, load={"workers": 1})
    job.start(fault="kafka.load_commit:kill@2")
    job.process.wait_reached("kafka.load_commit")
    job.process.popen.wait()
    cleaned = job.call("cleanup")
    assert cleaned.exit == 0, cleaned.said
    until_now(job)
    followed(broker, topic_prefix, pair)
    assert {place(r)[1] for r in records_of(broker, topic_prefix, "b")} == {-1}


# ---- again, while it runs ----


def asked(job, *tables):
    done = job.call("snapshot", "--tables", ",".join(tables))
    assert done.exit == 0, done.said
    return done


def test_a_table_is_loaded_again_while_it_runs(pair, broker, topic_prefix):
    """Trap A12: no row that was read is behind a change that it does not know."""
    pair.source.sql(TABLES)
    pair.source.sql(ROWS)
    job = load_job(pair, broker, topic_prefix)
    job.start()
    job.wait_for("running")
    before = len(records_of(broker, topic_prefix, "b"))
    with Writer(pair.source):
        time.sleep(0.5)
        asked(job, "public.a")
        poll_until(lambda: "rows are loaded" in job.process.err.split("is loaded again", 1)[-1] and
                   "is loaded again" in job.process.err, "it was loaded again", 60)
        time.sleep(0.5)
    assert job.process.alive()
    assert job.process.terminate() == 0, job.process.err
    until_now(job)
    followed(broker, topic_prefix, pair)
    a, b = records_of(broker, topic_prefix, "a"), records_of(broker, topic_prefix, "b")
    moments = sorted({place(r)[0] for r in a if place(r)[1] == -1})
    assert len(moments) == 2 and len({place(r)[0] for r in b if place(r)[1] == -1}) == 1 and len(b) > before
    at = max(number for number, r in enumerate(a) if place(r) == (moments[1], -1))
    assert all(place(r)[0] <= moments[1] for r in a[:at]), "no change that the snapshot has not is in front of its rows"
    assert not repeated([r for r in a if place(r)[1] >= 0])


def test_killed_while_it_loads_again(pair, broker, topic_prefix):
    pair.source.sql(TABLES)
    pair.source.sql(ROWS)
    job = load_job(pair, broker, topic_prefix, load={"workers": 1})
    until_now(job)
    job.start(fault="kafka.load_commit:kill")
    job.wait_for("running")
    asked(job, "public.b")
    job.process.popen.wait(30)
    assert job.process.reached("kafka.load_commit")
    with Writer(pair.source):
        until_now(job)
    until_now(job)
    followed(broker, topic_prefix, pair)
    b = records_of(broker, topic_prefix, "b")
    assert len({place(r)[0] for r in b if place(r)[1] == -1}) == 2
    assert len({place(r)[0] for r in records_of(broker, topic_prefix, "a") if place(r)[1] == -1}) == 1


def test_what_cannot_be_loaded_again(pair, broker, topic_prefix):
    pair.source.sql(TABLES)
    job = load_job(pair, broker, topic_prefix)
    nobody = job.call("snapshot", "--tables", "public.a")
    assert nobody.exit == 2 and "not running" in nobody.err
    job.start()
    job.wait_for("running")
    unknown = job.call("snapshot", "--tables", "public.aa")
    assert unknown.exit == 2 and 'no table "public.aa"' in unknown.err and 'mean "public.a"' in unknown.err
    assert job.call("snapshot").exit == 2
    assert job.process.alive() and job.process.terminate() == 0
