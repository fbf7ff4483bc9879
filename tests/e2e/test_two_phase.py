"""source.two_phase: yes (trap A8, F50): prepared at the destination, decided there; no kill between loses or doubles."""
import random
import threading

import psycopg2
import pytest

from harness.oracle import wait_equal
from harness.poll import poll_until

# Without a key a transaction that is applied twice is seen.
TABLES = """
CREATE TABLE plain (n int, v text);
ALTER TABLE plain REPLICA IDENTITY FULL;
CREATE TABLE sums (id int PRIMARY KEY, amount int NOT NULL);
INSERT INTO sums SELECT i, 100 FROM generate_series(1, 10) i;
CREATE TABLE big (id int PRIMARY KEY, v text)"""
YES = {"source": {"two_phase": True}}


SERVERS = {"15-whole": (15, "64MB"), "15-streamed": (15, "64kB"), "18-streamed": (18, "64kB")}
MORE = SERVERS | {"16-streamed": (16, "64kB"), "17-whole": (17, "64MB")}
every_server = pytest.mark.parametrize("two_phase_pair", MORE.values(), ids=MORE, indirect=True)


@pytest.fixture(params=SERVERS.values(), ids=SERVERS)
def two_phase_pair(request, make_pair):
    version, memory = request.param
    common = {"max_prepared_transactions": 20, "version": version}
    pair = make_pair(source=common | {"logical_decoding_work_mem": memory}, target=common)
    pair.source.sql(TABLES)
    return pair


def prepare(database, name, *statements):
    database.sql("; ".join(["BEGIN", *statements, f"PREPARE TRANSACTION '{name}'"]))


def prepared(pair):
    return {row[0] for row in pair.target.sql("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")}


def rows(first, count):
    return f"INSERT INTO big SELECT i, repeat(md5(i::text), 10) FROM generate_series({first}, {first + count - 1}) i"


@pytest.mark.asan
@every_server
def test_trap_A8_prepared_and_decided_at_the_destination(two_phase_pair):
    pair = two_phase_pair
    job = pair.running_job(**YES)
    prepare(pair.source, "kept", "INSERT INTO plain VALUES (1, 'kept')", rows(1, 2000), "DELETE FROM sums WHERE id = 1")
    prepare(pair.source, "away", "INSERT INTO plain VALUES (2, 'away')", rows(5001, 2000), "DELETE FROM sums WHERE id = 2")
    prepare(pair.source, "empty", "CREATE TABLE later (id int PRIMARY KEY)")
    pair.source.sql("UPDATE sums SET amount = amount + 1 WHERE id > 2")
    job.drain(pair.source)
    names = prepared(pair)
    assert len(names) == 3 and all(name.startswith(f"walferry_{job.name}_") for name in names)
    assert pair.target.one("SELECT count(*) FROM plain") == 0
    assert pair.target.one("SELECT sum(amount) FROM sums WHERE id > 2") == 8 * 101
    before = pair.source.slot(job.slot)[0]
    pair.source.sql("UPDATE sums SET amount = amount + 1 WHERE id = 3")
    poll_until(lambda: pair.source.slot(job.slot)[0] > before, "the position moves while transactions are prepared")
    pair.source.sql("COMMIT PREPARED 'kept'")
    pair.source.sql("ROLLBACK PREPARED 'away'")
    pair.source.sql("ROLLBACK PREPARED 'empty'")
    job.drain(pair.source)
    assert prepared(pair) == set()
    pair.check_equal()
    assert job.process.terminate() == 0


@pytest.mark.parametrize("point", ["apply.after_prepare", "apply.after_finish", "apply.before_commit",
                                   "apply.after_commit", "source.before_feedback"])
def test_killed_at_each_step(two_phase_pair, point):
    pair = two_phase_pair
    job = pair.job(**YES)
    job.start()
    job.wait_for("running")
    job.process.terminate()
    for number, decision in enumerate(["COMMIT", "ROLLBACK", "COMMIT"]):
        name = f"t{number}"
        process = job.start(fault=f"{point}:kill@2")
        job_ended = lambda: not process.alive()  # noqa: E731
        prepare(pair.source, name, f"INSERT INTO plain VALUES ({number}, '{name}')", rows(1 + 10000 * number, 1500))
        poll_until(lambda: prepared(pair) or job_ended(), "it is prepared", 30)
        pair.source.sql("UPDATE sums SET amount = amount + 1 WHERE id = 5")
        pair.source.sql(f"{decision} PREPARED '{name}'")
        prepare(pair.source, f"{name}b", f"INSERT INTO plain VALUES ({number + 100}, '{name}b')")
        pair.source.sql(f"COMMIT PREPARED '{name}b'")
        poll_until(job_ended, "it is killed", 40)
        assert process.reached(point)
        job.start()
        job.wait_for("running")
        wait_equal(pair.source, pair.target)
        assert prepared(pair) == set()
        job.process.terminate()


@pytest.mark.parametrize("who", ["walferry", "source", "target"])
def test_restarted_between_prepare_and_decision(two_phase_pair, who):
    pair = two_phase_pair
    job = pair.running_job(**YES)
    prepare(pair.source, "kept", "INSERT INTO plain VALUES (1, 'kept')", rows(1, 2000))
    prepare(pair.source, "away", "INSERT INTO plain VALUES (2, 'away')", rows(5001, 2000))
    job.drain(pair.source)
    if who == "walferry":
        job.process.kill9()
        pair.source.sql("COMMIT PREPARED 'kept'")
        job.start()
    else:
        server = getattr(pair, who).server
        server.kill9()
        server.start()
        pair.source.sql("COMMIT PREPARED 'kept'")
    pair.source.sql("ROLLBACK PREPARED 'away'")
    job.wait_for("running")
    pair.wait_equal()
    assert prepared(pair) == set()
    assert pair.target.one("SELECT count(*) FROM plain") == 1


def backend_waits_for(database, xid):
    return database.one("SELECT count(*) FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted"
                        " AND transactionid = %s::text::xid", (xid,))


def test_prepared_before_the_slot_knew_it_arrives_whole_at_its_commit(two_phase_pair):
    """While a slot is made, what begins in its last step may be prepared before its point: sent at COMMIT PREPARED."""
    pair = two_phase_pair
    source = pair.source
    first, second = source.connect(autocommit=False), source.connect(autocommit=False)
    first.cursor().execute("INSERT INTO plain VALUES (-1, 'first')")
    job = pair.job(**YES)
    job.start()
    poll_until(lambda: "waiting for PID" in job.process.err, "the slot waits", 30)
    second.cursor().execute("INSERT INTO plain VALUES (-2, 'second')")
    with second.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id()")
        second_xid = cursor.fetchone()[0]
    first.commit()
    poll_until(lambda: backend_waits_for(source, second_xid), "the slot waits for the second one", 30)
    prepare(source, "kept", "INSERT INTO plain VALUES (1, 'kept')", rows(1, 2000))
    prepare(source, "away", "INSERT INTO plain VALUES (2, 'away')")
    second.commit()
    job.wait_for("running")
    source.sql("ROLLBACK PREPARED 'away'")
    source.sql("UPDATE sums SET amount = 7 WHERE id = 7")
    job.drain(source)
    assert prepared(pair) == set() and pair.target.one("SELECT count(*) FROM big") == 0
    job.process.kill9()
    job.start(fault="apply.before_commit:kill@1")
    source.sql("COMMIT PREPARED 'kept'")
    poll_until(lambda: not job.process.alive(), "it is killed")
    job.start()
    job.wait_for("running")
    pair.wait_equal()
    assert pair.target.one("SELECT count(*) FROM plain") == 3
    first.close()
    second.close()


class Deciders:
    """Sessions that move money in prepared transactions, and commit or roll them back some time later."""

    def __init__(self, source, seed, count=3):
        self.source = source
        self.halt = threading.Event()
        self.threads = [threading.Thread(target=self.work, args=(random.Random(seed * 100 + n), n), daemon=True)
                        for n in range(count)]
        self.committed = 0
        for thread in self.threads:
            thread.start()

    def work(self, dice, number):
        session = self.source.connect()
        turn = 0
        with session.cursor() as cursor:
            while not self.halt.is_set():
                turn += 1
                name = f"d{number}_{turn}"
                a, b = 3 * number + 1, 3 * number + 2  # of its own: prepared transactions keep their locks
                size = dice.choice([0, 1, 1500])
                cursor.execute(f"BEGIN; UPDATE sums SET amount = amount - 1 WHERE id = {a};"
                               f" UPDATE sums SET amount = amount + 1 WHERE id = {b};"
                               f" INSERT INTO plain VALUES ({turn}, '{name}');"
                               f" {rows(number * 10**7 + turn * 10**4, size)}")
                if dice.random() < 0.3:
                    cursor.execute("COMMIT")
                    continue
                cursor.execute(f"PREPARE TRANSACTION '{name}'")
                cursor.execute(f"INSERT INTO plain VALUES ({-turn}, 'beside {number}')")
                self.halt.wait(dice.random() * 0.1)
                cursor.execute(f"{'COMMIT' if dice.random() < 0.7 else 'ROLLBACK'} PREPARED '{name}'")
                self.committed += 1
        session.close()

    def stop(self):
        self.halt.set()
        for thread in self.threads:
            thread.join()


@pytest.mark.deadline(240)
@every_server
def test_random_kills_under_prepared_transactions(two_phase_pair):
    pair = two_phase_pair
    job = pair.running_job(**YES)
    dice = random.Random(pair.number)
    deciders = Deciders(pair.source, pair.number)
    try:
        for turn in range(10):
            before = deciders.committed
            poll_until(lambda: deciders.committed > before + dice.randint(2, 30), "traffic", 30)
            victim = dice.choice(["walferry", "walferry", "target"])
            if victim == "walferry":
                job.process.kill9()
                job.start()
            else:
                pair.target.server.kill9()
                pair.target.server.start()
            assert pair.target.one("SELECT sum(amount) FROM sums") == 1000, f"not a prefix after kill {turn}"
    finally:
        deciders.stop()
    job.wait_for("running")
    pair.wait_equal(timeout=60)
    assert prepared(pair) == set()


def test_check_configuration_and_cleanup(make_pair):
    pair = make_pair(source={"max_prepared_transactions": 5})
    pair.source.sql(TABLES)
    refused = pair.job(**YES).run()
    assert refused.exit == 2 and "max_prepared_transactions = 0 at the target" in refused.err
    assert pair.source.server.slots() == set()
    for places, state in ((4, "alert"), (5, "passed")):
        pair.target.server.configure({"max_prepared_transactions": places})
        pair.target.server.restart()
        items = pair.job(**YES).call("check", "--json").json()["items"]
        assert next(item["state"] for item in items if item["name"] == "two-phase") == state
    both = pair.job(**YES, file={"path": str(pair.directory / "out")}).run()
    assert both.exit == 2 and "needs a database as the only destination" in both.err
    job = pair.running_job(**YES)
    prepare(pair.source, "kept", "INSERT INTO plain VALUES (1, 'kept')")
    job.drain(pair.source)
    job.process.terminate()
    job.rewrite({"source": {"two_phase": False}})
    mismatch = job.run()
    assert mismatch.exit == 2 and "is of a job with two-phase transactions" in mismatch.err
    assert len(prepared(pair)) == 1
    cleaned = job.call("cleanup")
    assert cleaned.exit == 0 and "prepared transaction walferry_" in cleaned.said
    assert prepared(pair) == set()
    with pytest.raises(psycopg2.errors.UndefinedTable):
        pair.target.sql("SELECT * FROM walferry.job")
