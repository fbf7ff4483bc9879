"""`walferry snapshot`: chosen tables once more into the topics of a running job, at just one place of the stream (trap A12)."""
import json
import threading
import time

import pytest

from harness.poll import poll_until
from harness.records import in_order, place, repeated, rows_of, same_rows
from harness.topics import KafkaException

TABLES = """CREATE TABLE a (id int PRIMARY KEY, n bigint, big text); ALTER TABLE a ALTER big SET STORAGE EXTERNAL;
CREATE TABLE b (id int PRIMARY KEY, n bigint); CREATE TABLE c (id int PRIMARY KEY, n bigint);
CREATE TABLE keyless (id int, n bigint); ALTER TABLE keyless REPLICA IDENTITY FULL;
CREATE SEQUENCE clock; INSERT INTO a SELECT i, 0, repeat('x', 3000) FROM generate_series(1, 2000) i;
INSERT INTO b SELECT i, 0 FROM generate_series(1, 5000) i; INSERT INTO c SELECT i, 0 FROM generate_series(1, 500) i;
INSERT INTO keyless SELECT i, 0 FROM generate_series(1, 100) i"""
BESIDE, ALONE = "beside a database", "alone"


class Writer(threading.Thread):
    """Every row that it writes has a number that no row had before: what is older in a topic has the lower one."""

    def __init__(self, source):
        super().__init__()
        self.source, self.done, self.failed = source, threading.Event(), None

    def run(self):
        try:
            self.write()
        except Exception as failed:  # shown by the test
            self.failed = failed

    def write(self):
        connection = self.source.connect(autocommit=True)
        cursor = connection.cursor()
        round = 0
        while not self.done.is_set():
            round += 1
            for table, rows in ("a", 2000), ("b", 5000), ("c", 500):
                cursor.execute(f"UPDATE {table} SET n = nextval('clock') WHERE id BETWEEN %s AND %s",
                               [round * 7 % rows, round * 7 % rows + 3])
            cursor.execute("DELETE FROM b WHERE id = %s", [round * 13 % 5000])
            cursor.execute("INSERT INTO b VALUES (%s, nextval('clock')) ON CONFLICT DO NOTHING", [round * 11 % 5000])
            cursor.execute("UPDATE keyless SET n = nextval('clock') WHERE id = %s", [round % 100])
            if round % 9 == 0:
                cursor.execute("UPDATE a SET id = %s, n = nextval('clock') WHERE id = %s", [10000 + round, round * 5 % 2000])
            time.sleep(0.01)
        connection.close()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.join()
        assert self.failed is None, self.failed


def make_job(pair, broker, prefix, way, fault=None, **config):
    kafka = {"brokers": broker.client()["bootstrap.servers"], "prefix": prefix} | config.pop("kafka", {})
    if way == ALONE:
        return pair.job(file_only=True, kafka=kafka, phases=["full", "incremental"], **config)
    return pair.job(kafka=kafka, **config)


def asked(job, *tables):
    done = job.call("snapshot", "--tables", ",".join(f"public.{table}" for table in tables))
    assert done.exit == 0, done.said


def loaded(job, times=1):
    poll_until(lambda: job.process.err.count("rows are loaded") >= times, "the tables are loaded again", 60)


def until_now(job):
    done = job.run("--until", "now", timeout=120)
    assert done.exit == 0, done.err
    return done.err


def records_of(broker, prefix, table):
    topic = f"{prefix}.public.{table}"
    return broker.consume(topic) if topic in broker.topics() else []


def places_of_rows(records):
    return sorted({place(record)[0] for record in records if place(record)[1] == -1})


def never_back(records):
    """At no place of the topic a key's row is older than what was there before; a deleted one does not come back as it was."""
    last = {}
    for record in records:
        if record.value is None:
            continue
        event, key = json.loads(record.value), record.key
        number, gone = last.get(key, (-1, False))
        if event["op"] == "d":
            last[key] = (number, True)
            continue
        now = event["after"]["n"]
        assert now > number or (now == number and not gone), f"{record} is behind number {number}"
        last[key] = (now, False)


def just_once(pair, broker, prefix, whole):
    """Every record is where it belongs, none is there twice; whoever follows a topic that is whole has the table."""
    for table in "abc":
        records = records_of(broker, prefix, table)
        in_order(records)
        never_back(records)
        assert not repeated([record for record in records if place(record)[1] >= 0])
        if table in whole:
            same_rows(records, pair.source, table, ("id", "n"))
    a = rows_of(records_of(broker, prefix, "a"))
    if "a" in whole:
        moment = places_of_rows(records_of(broker, prefix, "a"))[-1]
        behind = rows_of([r for r in records_of(broker, prefix, "a") if place(r) >= (moment, -1)])
        assert behind == a, "the rows and what is behind them are the table"
    keyless = records_of(broker, prefix, "keyless")
    in_order(keyless)
    assert not repeated([record for record in keyless if place(record)[1] >= 0])


def whole_of(way, *again):
    """Beside a database the first load is the database's."""
    return "abc" if way == ALONE else again


@pytest.mark.parametrize("way", [BESIDE, ALONE])
def test_trap_A12_rows_stand_where_their_snapshot_belongs(pair, broker, topic_prefix, way):
    pair.source.sql(TABLES)
    job = make_job(pair, broker, topic_prefix, way)
    with Writer(pair.source):
        job.start()
        job.wait_for("running")
        begun = job.process.err.count("rows are loaded")
        first = places_of_rows(records_of(broker, topic_prefix, "a"))
        asked(job, "a", "b", "keyless")
        loaded(job, begun + 1)
        job.wait_for("running")
        asked(job, "b")
        loaded(job, begun + 2)
        job.wait_for("running")
        time.sleep(0.3)
    assert job.process.terminate() == 0, job.process.err
    until_now(job)
    if way == BESIDE:
        pair.check_equal()
    just_once(pair, broker, topic_prefix, whole_of(way, "a", "b"))
    moments = {table: places_of_rows(records_of(broker, topic_prefix, table)) for table in ("a", "b", "c", "keyless")}
    new = {table: [moment for moment in moments[table] if moment not in first] for table in moments}
    assert len(new["a"]) == len(new["keyless"]) == 1 and len(new["b"]) == 2 and not (way == ALONE and new["c"]), moments
    assert pair.source.one("SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE %s", [job.slot + "%"]) == 1


POINTS = [(BESIDE, "reload.after_slot"), (BESIDE, "kafka.load_commit@2"), (BESIDE, "reload.after_rows"), (ALONE, "reload.noted")]
SOON_S = 10  # a transaction that is left open is given up by the broker after a minute


@pytest.mark.parametrize("way,point", POINTS)
def test_a_killed_run_goes_on_with_what_was_asked_for(pair, broker, topic_prefix, way, point):
    pair.source.sql(TABLES)
    job = make_job(pair, broker, topic_prefix, way, load={"workers": 1})
    until_now(job)
    before = {table: len(places_of_rows(records_of(broker, topic_prefix, table))) for table in "abc"}
    name, _, hit = point.partition("@")
    with Writer(pair.source):
        job.start(fault=f"{name}:kill" + (f"@{hit}" if hit else ""))
        job.wait_for("running")
        job.call("snapshot", "--tables", "public.a,public.c")
        job.process.popen.wait(60)
        assert job.process.reached(name)
        time.sleep(0.3)
        until_now(job)
    err = until_now(job)
    assert "loaded again" not in err, "it is done"
    if way == BESIDE:
        pair.check_equal()
    just_once(pair, broker, topic_prefix, whole_of(way, "a", "c"))
    after = {table: len(places_of_rows(records_of(broker, topic_prefix, table))) for table in "abc"}
    # a, the larger one, was whole by its commit, which the kill came before or behind
    assert after == {"a": before["a"] + 1, "b": before["b"], "c": before["c"] + 1}


def test_transactions_of_killed_workers_hold_nobody(pair, broker, topic_prefix):
    """The next run has less to load, so it does not need all the workers' ids by itself. Whose transaction stays open is chance."""
    pair.source.sql(TABLES)
    job = make_job(pair, broker, topic_prefix, BESIDE, load={"workers": 3})
    until_now(job)
    job.start(fault="kafka.load_commit:kill@3")
    job.wait_for("running")
    job.call("snapshot", "--tables", "public.a,public.b,public.c")
    job.process.popen.wait(60)
    began = time.monotonic()
    err = until_now(job)
    assert time.monotonic() - began < SOON_S and "takes long" not in err, err
    just_once(pair, broker, topic_prefix, "abc")


def test_killed_again_and_again(pair, broker, topic_prefix):
    pair.source.sql(TABLES)
    pair.source.sql("INSERT INTO b SELECT i, 0 FROM generate_series(5001, 60000) i")
    job = make_job(pair, broker, topic_prefix, BESIDE, load={"workers": 2})
    until_now(job)
    with Writer(pair.source):
        job.start()
        job.wait_for("running")
        asked(job, "a", "b", "keyless")
        for after in (0.6, 2.0, 3.2):
            time.sleep(after)
            job.process.kill9()
            job.start()
        job.wait_for("running")
        poll_until(lambda: records_of(broker, topic_prefix, "keyless") and
                   not [1 for at in last_positions(broker, topic_prefix) if at.get("again")], "all is loaded again", 60)
    assert job.process.terminate() == 0, job.process.err
    until_now(job)
    pair.check_equal()
    just_once(pair, broker, topic_prefix, "ab")


def last_positions(broker, prefix):
    """The newest one."""
    values = [json.loads(r.value) for r in broker.consume(f"{prefix}.walferry") if r.value and list(json.loads(r.key)) == ["job"]]
    return values[-1:]


def test_an_open_transaction_of_the_source_does_not_hold_the_stream(pair, broker, topic_prefix):
    pair.source.sql(TABLES)
    job = make_job(pair, broker, topic_prefix, BESIDE)
    job.start()
    job.wait_for("running")
    held = pair.source.connect(autocommit=False)
    held.cursor().execute("UPDATE c SET n = nextval('clock') WHERE id = 1")
    asked(job, "a")
    poll_until(lambda: "tried again in" in job.process.err, "it is put off", 20)
    pair.source.sql("UPDATE a SET n = nextval('clock') WHERE id = 1")
    poll_until(lambda: pair.target.one("SELECT n FROM a WHERE id = 1") > 0, "the stream goes on", 10)
    told = job.status()["reason"]
    assert "wait" in told and "PID" in told, told
    held.commit()
    held.close()
    assert job.process.terminate() == 0
    before = len(places_of_rows(records_of(broker, topic_prefix, "a")))
    until_now(job)
    assert len(places_of_rows(records_of(broker, topic_prefix, "a"))) == before + 1
    pair.check_equal()
    just_once(pair, broker, topic_prefix, "a")


def test_workers_that_are_noted_since_an_instance_looked(pair, broker, topic_prefix):
    """It gets the slot while another one's workers read tables, of which it has not heard: from then on they write nothing any more."""
    pair.source.sql(TABLES)
    pair.source.sql(f'ALTER DATABASE "{pair.name}" SET wal_sender_timeout = 60000')
    job = make_job(pair, broker, topic_prefix, ALONE)
    until_now(job)
    job.start(fault="kafka.before_position_read:sleep:8000")
    job.process.wait_reached("kafka.before_position_read")
    control = f"{topic_prefix}.walferry"
    newest = [r for r in broker.consume(control) if r.value and json.loads(r.key) == {"job": job.name}][-1]
    position = json.loads(newest.value) | {"again": True, "workers": 2}
    broker.produce(control, json.dumps(position), newest.key)
    worker = broker.producer({"transactional.id": f"walferry.{position['system_identifier']}.{job.slot}.load.1"})
    worker.init_transactions(20)
    worker.begin_transaction()
    worker.produce(f"{topic_prefix}.public.a", b"{}", b"of a table that is loaded again")
    worker.flush(20)
    job.wait_for("running")
    assert "trying again" not in job.process.err, job.process.err
    with pytest.raises(KafkaException, match="(?i)fenced|epoch"):
        worker.commit_transaction(20)
    assert job.process.terminate() == 0, job.process.err
    just_once(pair, broker, topic_prefix, "abc")


def test_a_broker_that_is_slow_when_it_is_asked_does_not_end_the_job(pair, make_broker):
    """What waits for Kafka gives up soon when the stream is to end; here that ends for the load, not the job."""
    broker = make_broker()
    pair.source.sql(TABLES)
    job = make_job(pair, broker, "p", BESIDE)
    job.start()
    job.wait_for("running")
    broker.pause()
    try:
        pair.source.sql("UPDATE a SET n = nextval('clock') WHERE id = 1")
        time.sleep(1)
        asking = job.start("--tables", "public.a", command="snapshot")
        time.sleep(8)
    finally:
        broker.resume()
    assert asking.wait(60) == 0, asking.err
    poll_until(lambda: "of 1 table" in job.process.err, "it is loaded", 60)
    assert job.process.terminate() == 0, job.process.err
    until_now(job)
    just_once(pair, broker, "p", "a")


def test_asked_for_while_another_table_is_set_aside(pair, broker, topic_prefix):
    """The target's load of the one comes first, and has to stream for itself to its end."""
    pair.source.sql(TABLES)
    job = make_job(pair, broker, topic_prefix, BESIDE, ddl="pause-table")
    job.start(fault="walk.begun:sleep:3000@2")
    job.wait_for("running")
    pair.source.sql("ALTER TABLE c ADD w int; INSERT INTO c VALUES (1000, 1, 2)")
    job.process.wait_reached("walk.begun")
    asked(job, "a")
    poll_until(lambda: "of 1 table" in job.process.err.partition("asked for by")[2], "it is loaded again", 30)
    assert job.process.err.count('"public.c" is loaded again') <= 1, job.process.err
    assert job.process.terminate() == 0, job.process.err
    until_now(job)
    pair.check_equal()
    just_once(pair, broker, topic_prefix, "a")


def test_status_says_that_the_stream_waits_and_what_the_source_keeps(pair, broker, topic_prefix):
    pair.source.sql(TABLES)
    job = make_job(pair, broker, topic_prefix, BESIDE)
    until_now(job)
    job.rewrite({"throttle": {"load": {"rows_per_s": 1500}}, "load": {"workers": 1}})
    job.start()
    job.wait_for("running")
    asked(job, "b", "c")
    poll_until(lambda: "the stream waits" in (job.status()["reason"] or ""), "it is told", 20)
    pair.source.sql("CREATE TABLE noise AS SELECT repeat('x', 1000) FROM generate_series(1, 5000)")
    kept = poll_until(lambda: (job.status()["slot"]["retained_bytes"] or 0) > 4 << 20, "what is kept is told", 20)
    assert kept
    refused = job.call("snapshot", "--tables", "public.a")
    assert refused.exit == 2 and "phase full" in refused.err, refused.said
    job.call("set", "throttle.load.rows_per_s", "0")
    job.wait_for("running")
    assert job.status()["reason"] is None
    assert job.process.terminate() == 0
    just_once(pair, broker, topic_prefix, "bc")


def test_what_cannot_be_loaded_does_not_end_the_stream(pair, broker, topic_prefix):
    pair.source.sql("CREATE TABLE a (id int PRIMARY KEY, n numeric(10,2)); INSERT INTO a VALUES (1, 'NaN'), (2, 2)")
    kafka = {"brokers": broker.client()["bootstrap.servers"], "prefix": topic_prefix, "special": "fail"}
    job = pair.job(file_only=True, kafka=kafka, phases=["incremental"])
    job.start()
    job.wait_for("running")
    asked(job, "a")
    poll_until(lambda: "the stream goes on" in job.process.err, "it is given up", 20)
    job.wait_for("running")
    pair.source.sql("INSERT INTO a VALUES (3, 3)")
    poll_until(lambda: [r for r in records_of(broker, topic_prefix, "a") if place(r)[1] == 0], "the stream goes on", 20)
    assert "were not loaded again" in job.status()["reason"]
    assert job.process.terminate() == 0
    assert "loaded again" not in until_now(job) and places_of_rows(records_of(broker, topic_prefix, "a")) == []
