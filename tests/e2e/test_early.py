"""Streamed transactions applied while they arrive (trap A7): the counters of the status say how many were."""
import json
import random
import threading
import time
from collections import Counter

import pytest

from harness.poll import poll_until
from harness.streaming import AT_ONCE, EARLY

SMALL = "early.small_parts:fail"  # parts of a few changes, so that small transactions come in many
TABLES = "CREATE TABLE s (id int PRIMARY KEY, v text); CREATE TABLE u (id int PRIMARY KEY, v text)"
ROWS = "INSERT INTO s SELECT i, md5(i::text) FROM generate_series({0}, {1}) i"
IN_WORK = ("SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND backend_xid IS NOT NULL"
           " AND datname = current_database()")
WAYS = {"streamed": EARLY, "16-at-once": {"version": 16} | AT_ONCE, "18-at-once": {"version": 18} | AT_ONCE,
        "14": {"version": 14} | EARLY}


def pair_with(make_pair, way):
    pair = make_pair(source=WAYS[way])
    pair.source.sql(TABLES)
    return pair


@pytest.fixture
def early_pair(make_pair):
    return pair_with(make_pair, "streamed")


def totals(job):
    found = job.status()["totals"]
    return found["early"], found["early_given_up"]


def in_work(job, pair):
    """Transactions that wait for their end at the destination."""
    return pair.target.one(IN_WORK, (f"walferry_{job.name}",))


def wait_in_work(job, pair, count=1):
    poll_until(lambda: in_work(job, pair) == count, f"{count} are applied while they arrive", 30, every=0.05)


def ended_equal(job, pair):
    job.drain(pair.source)
    pair.check_equal()
    poll_until(lambda: in_work(job, pair) == 0, "none is left open", 10)


@pytest.mark.asan
@pytest.mark.parametrize("way", WAYS)
def test_savepoints_and_exceptions(make_pair, way):
    """F47: exactly the surviving rows, by savepoints at the destination."""
    pair = pair_with(make_pair, way)
    job = pair.running_job(fault=SMALL)
    rows = lambda first: ROWS.format(first, first + 1499)  # noqa: E731
    for statement in (
            f"BEGIN; {rows(10000)}; SAVEPOINT a; {rows(20000)}; ROLLBACK TO a; {rows(30000)}; COMMIT",
            f"BEGIN; SAVEPOINT a; {rows(40000)}; SAVEPOINT b; {rows(50000)}; ROLLBACK TO a; {rows(60000)}; COMMIT",
            f"BEGIN; SAVEPOINT a; {rows(70000)}; SAVEPOINT b; {rows(80000)}; RELEASE b; SAVEPOINT c; {rows(90000)};"
            " ROLLBACK TO c; RELEASE a; COMMIT",
            f"BEGIN; {rows(100000)}; ROLLBACK",
            f"BEGIN; SAVEPOINT a; {rows(110000)}; SAVEPOINT b; {rows(120000)}; RELEASE b; ROLLBACK TO a; COMMIT",
            f"BEGIN; SAVEPOINT a; {rows(130000)}; ROLLBACK TO a; {rows(140000)}; ROLLBACK TO a; {rows(150000)};"
            " COMMIT"):
        pair.source.sql(statement)
    pair.source.sql("""
        DO $$ BEGIN
            FOR i IN 1..300 LOOP
                BEGIN
                    INSERT INTO s VALUES (200000 + i, repeat('x', 500));
                    IF i % 3 = 0 THEN RAISE EXCEPTION 'away'; END IF;
                EXCEPTION WHEN raise_exception THEN
                    INSERT INTO s VALUES (210000 + i, 'instead');
                END;
            END LOOP;
        END $$""")
    ended_equal(job, pair)
    early, given_up = totals(job)
    assert early >= 5 and given_up == 0, (early, given_up)


@pytest.mark.parametrize("way", ["streamed", "18-at-once"])
def test_interleaved_killed_and_committed_in_their_order(make_pair, way):
    """F43, F48: eight at once, of which four are applied early; one is rolled back; killed in between."""
    pair = pair_with(make_pair, way)
    job = pair.running_job(fault=SMALL)
    sessions = [pair.source.connect(autocommit=False) for _ in range(8)]
    for part in range(6):
        for number, session in enumerate(sessions):
            first = number * 100000 + part * 1000
            session.cursor().execute(ROWS.format(first, first + 999))
        if part == 1:
            wait_in_work(job, pair, 4)
        if part == 3:
            job.process.kill9()
            job.start(fault=SMALL)
    wait_in_work(job, pair, 4)
    sessions[3].rollback()
    for number in (5, 0, 7, 1, 6, 2, 4):
        sessions[number].cursor().execute("UPDATE s SET v = 'by %s' WHERE id %% 100000 = 7 AND id / 100000 = %s",
                                          (number, number))
        pair.source.sql(f"INSERT INTO u VALUES ({number}, 'between')")
        sessions[number].commit()
    for session in sessions:
        session.close()
    job.wait_for("running")
    ended_equal(job, pair)
    assert pair.target.one("SELECT count(*) FROM s") == 7 * 6000
    early, given_up = totals(job)
    assert early >= 3 and given_up == 0, (early, given_up)


def test_a_large_one_is_there_with_its_commit(early_pair):
    """Nothing of it is visible before; what others commit meanwhile is; at its commit little is left to do."""
    job = early_pair.running_job()
    session = early_pair.source.connect(autocommit=False)
    for part in range(20):
        session.cursor().execute(ROWS.format(part * 2000, part * 2000 + 1999))
        early_pair.source.sql(f"INSERT INTO u VALUES ({part}, 'between')")
    wait_in_work(job, early_pair)
    job.drain(early_pair.source)
    assert early_pair.target.one("SELECT count(*) FROM u") == 20
    assert early_pair.target.one("SELECT count(*) FROM s") == 0
    session.commit()
    session.close()
    ended_equal(job, early_pair)
    assert totals(job) == (1, 0)


@pytest.mark.parametrize("theirs, rows, early", [("64MB", 120_000, True), ("64MB", 10_000, False), ("64kB", 10_000, True)])
def test_it_is_on_its_way_before_the_server_would_send_it(make_pair, theirs, rows, early):
    """A server waits for 64 MB of changes by default; the stream's session asks it for 16, never for more than it has."""
    pair = make_pair(source={"logical_decoding_work_mem": theirs})
    pair.source.sql(TABLES)
    job = pair.running_job()
    session = pair.source.connect(autocommit=False)
    session.cursor().execute(ROWS.format(1, rows))
    pair.source.sql("INSERT INTO u VALUES (1, 'behind')")
    job.drain(pair.source)  # whatever was to come before its end has come
    assert in_work(job, pair) == early
    session.commit()
    session.close()
    ended_equal(job, pair)
    assert totals(job) == (int(early), 0)


@pytest.mark.parametrize("fault", ["early.part_applied:kill@1", "early.part_applied:kill@40", "early.before_commit:kill",
                                   "early.after_commit:kill", "early.part_applied:fail@3",
                                   "early.before_commit:fail@1", "early.before_commit:fail:data@1"])
def test_killed_or_failing_at_every_point(early_pair, fault):
    """F02, F48: all of it, once."""
    job = early_pair.running_job(fault=f"{SMALL},{fault}")
    statement = (f"BEGIN; {ROWS.format(1, 3000)}; SAVEPOINT a; {ROWS.format(5001, 8000)}; ROLLBACK TO a;"
                 f" {ROWS.format(3001, 6000)}; UPDATE s SET v = 'later' WHERE id % 10 = 0; COMMIT")
    early_pair.source.sql(statement)
    if "kill" in fault:
        assert job.process.wait(60) == -9
        assert early_pair.target.one("SELECT count(*) FROM s") in (0, 6000)
        job.start(fault=SMALL)
    job.wait_for("running")
    ended_equal(job, early_pair)
    assert early_pair.target.one("SELECT count(*) FROM s") == 6000


def test_trap_A7b_a_unique_index_of_the_destination(early_pair):
    """A later transaction that commits first waits for an open one, which waits for its turn here: no server sees that
    deadlock. The open one is rolled back, and applied again behind the other."""
    job = early_pair.running_job(fault=SMALL)
    early_pair.target.sql("CREATE UNIQUE INDEX strict ON s (v)")
    session = early_pair.source.connect(autocommit=False)
    session.cursor().execute(ROWS.format(1, 3000))
    wait_in_work(job, early_pair)
    early_pair.source.sql("INSERT INTO s VALUES (9001, md5('7'))")
    poll_until(lambda: early_pair.target.one("SELECT count(*) FROM s") == 1, "the other goes on", 20)
    assert totals(job) == (0, 1)
    early_pair.source.sql("DELETE FROM s WHERE id = 9001")
    session.cursor().execute(ROWS.format(3001, 6000))
    session.commit()
    session.close()
    ended_equal(job, early_pair)
    assert totals(job) == (0, 1)


def test_trap_A7b_two_that_are_both_open(early_pair):
    """The one that asks for the lock goes on."""
    job = early_pair.running_job(fault=SMALL)
    early_pair.target.sql("CREATE UNIQUE INDEX strict ON s (v)")
    first, second = (early_pair.source.connect(autocommit=False) for _ in range(2))
    first.cursor().execute(ROWS.format(1, 3000))
    wait_in_work(job, early_pair)
    second.cursor().execute("INSERT INTO s SELECT i, md5((i - 10000)::text) FROM generate_series(10001, 13000) i")
    poll_until(lambda: totals(job)[1] == 1, "one is given up", 20)
    wait_in_work(job, early_pair)
    second.cursor().execute("DELETE FROM s WHERE id > 10000")
    second.commit()
    first.commit()
    ended_equal(job, early_pair)
    assert totals(job) == (1, 1)


def test_trap_A7b_equal_rows_under_full_identity(early_pair):
    """Which of two equal rows is deleted is chosen anew at the destination."""
    early_pair.source.sql("CREATE TABLE d (n int); ALTER TABLE d REPLICA IDENTITY FULL;"
                          " INSERT INTO d VALUES (1), (1), (1)")
    job = early_pair.running_job(fault=SMALL)
    session = early_pair.source.connect(autocommit=False)
    session.cursor().execute("DELETE FROM d WHERE ctid = '(0,2)'")
    session.cursor().execute(ROWS.format(1, 3000))
    wait_in_work(job, early_pair)
    early_pair.source.sql("DELETE FROM d WHERE ctid = '(0,1)'")
    poll_until(lambda: early_pair.target.one("SELECT count(*) FROM d") == 2, "the other goes on", 20)
    session.commit()
    session.close()
    ended_equal(job, early_pair)
    assert totals(job) == (0, 1)


def test_trap_A7b_a_stranger_between(early_pair):
    """The stream waits for a stranger, who waits for the open transaction."""
    early_pair.source.sql("INSERT INTO u VALUES (5, 'old')")
    job = early_pair.running_job(fault=SMALL)
    session = early_pair.source.connect(autocommit=False)
    session.cursor().execute(ROWS.format(1, 3000))
    wait_in_work(job, early_pair)
    stranger = early_pair.target.connect(autocommit=False)
    stranger.cursor().execute("SELECT FROM u WHERE id = 5 FOR UPDATE")

    def go_on():
        stranger.cursor().execute("LOCK TABLE s IN SHARE MODE")
        stranger.commit()
    waiting = threading.Thread(target=go_on)
    waiting.start()
    poll_until(lambda: early_pair.target.one("SELECT count(*) FROM pg_locks WHERE NOT granted") == 1, "they wait", 10)
    early_pair.source.sql("UPDATE u SET v = 'new' WHERE id = 5")
    waiting.join(20)
    assert not waiting.is_alive(), "nobody goes on"
    stranger.close()
    session.commit()
    session.close()
    ended_equal(job, early_pair)
    assert totals(job) == (0, 1)


def test_trap_A7c_relations_are_private(early_pair):
    """Columns that an open transaction has made are its own; of a rolled-back one nobody's. What the destination's record
    of the table does not know yet waits for the transaction's end."""
    job = early_pair.running_job(fault=SMALL)
    early_pair.target.sql("ALTER TABLE s ADD more int")
    for given_up, end in enumerate(("ROLLBACK", "COMMIT"), 1):
        session = early_pair.source.connect()
        session.cursor().execute("BEGIN; ALTER TABLE s ADD more int;"
                                 " INSERT INTO s SELECT i, 'x', i FROM generate_series(1, 3000) i")
        poll_until(lambda: totals(job) == (0, given_up), "it is given up")
        early_pair.source.sql(f"INSERT INTO u VALUES ({len(end)}, 'meanwhile')")
        session.cursor().execute(end)
        early_pair.source.sql(f"INSERT INTO s VALUES ({len(end)}0000, 'behind')")
        job.drain(early_pair.source)
        session.close()
    ended_equal(job, early_pair)
    assert early_pair.target.one("SELECT count(more) FROM s") == 3000


@pytest.mark.parametrize("what", ["TRUNCATE u", "SELECT pg_logical_emit_message(true, 'app', 'hello')"])
def test_trap_A7d_what_is_never_early(early_pair, tmp_path, what):
    """From where it shows the transaction waits for its end, and the file beside gets all of it, numbered."""
    file = tmp_path / "changes"
    job = early_pair.running_job(fault=SMALL, file={"path": str(file)})
    early_pair.source.sql("INSERT INTO u VALUES (1, 'goes')")
    early_pair.source.sql(f"BEGIN; {ROWS.format(1, 1000)}; {what}; {ROWS.format(1001, 2000)}; COMMIT")
    ended_equal(job, early_pair)
    assert totals(job) == (0, 0)


def test_the_file_beside_gets_it_whole_and_numbered(early_pair, tmp_path):
    """C2: numbers over what survives, as if nothing had been streamed."""
    file = tmp_path / "changes"
    job = early_pair.running_job(fault=SMALL, file={"path": str(file)})
    early_pair.source.sql(f"BEGIN; {ROWS.format(1, 1000)}; SAVEPOINT a; {ROWS.format(5001, 6000)}; ROLLBACK TO a;"
                          f" {ROWS.format(1001, 2000)}; COMMIT")
    ended_equal(job, early_pair)
    assert totals(job) == (1, 0)
    job.process.terminate()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    rows = [line for line in lines if line.get("table") == "s"]
    assert [line["seq"] for line in rows] == list(range(2000))
    assert [int(line["after"]["id"]) for line in rows] == list(range(1, 2001))
    assert len({line["lsn"] for line in rows}) == 1


def test_a_lost_connection_ends_the_session_and_the_next_one_is_exact(early_pair):
    """A6: the next session waits until no old one can commit."""
    job = early_pair.running_job(fault=SMALL)
    session = early_pair.source.connect(autocommit=False)
    session.cursor().execute(ROWS.format(1, 3000))
    wait_in_work(job, early_pair)
    early_pair.target.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_xid IS NOT NULL"
                          " AND application_name = %s", (f"walferry_{job.name}",))
    session.cursor().execute(ROWS.format(3001, 6000))
    session.commit()
    session.close()
    job.wait_for("running")
    ended_equal(job, early_pair)
    assert job.status()["totals"]["retries"] >= 1


def test_trap_A7d_beyond_the_spill(make_pair):
    """What is applied early need not be kept; if it has to be applied again after all, spill.max is what is missing."""
    pair = pair_with(make_pair, "streamed")
    job = pair.running_job(memory="16MiB", spill={"max": "1MiB"})
    rows = "INSERT INTO s SELECT i, md5(random()::text) || md5(random()::text) FROM generate_series({0}, {1}) i"
    session = pair.source.connect(autocommit=False)
    session.cursor().execute(rows.format(1, 70000))
    poll_until(lambda: "the spill folder is full" in job.process.err, "it is let go", 30)
    session.cursor().execute(f"SAVEPOINT a; {rows.format(80001, 90000)}; ROLLBACK TO a")
    session.commit()
    ended_equal(job, pair)
    assert totals(job) == (1, 0)
    pair.target.sql("CREATE UNIQUE INDEX strict ON s (v)")
    session.cursor().execute("INSERT INTO s VALUES (200000, 'in the way')")
    session.cursor().execute(rows.format(200001, 270000))
    poll_until(lambda: job.process.err.count("the spill folder is full") == 2, "it is let go", 30)
    pair.source.sql("INSERT INTO s VALUES (-1, 'in the way')")
    poll_until(lambda: totals(job) == (1, 1), "it is given up", 20)
    session.commit()
    assert job.process.wait(60) == 5
    assert "has to be applied again" in job.process.err and "raise spill.max" in job.process.err
    session.close()
    assert pair.target.one("SELECT count(*) FROM s WHERE id = -1") == 1


@pytest.mark.deadline(200)
@pytest.mark.parametrize("way", ["16-at-once", "18-at-once"])
def test_killed_while_the_bank_works_in_parts(make_pair, way):
    """I1 to I6 under kill -9: every transaction is streamed, most of them early, with savepoints and conflicts of locks."""
    pair = make_pair(source=WAYS[way])
    bank = pair.bank(writers=3, pause=0.1, big=False).start()
    job = pair.running_job(fault=SMALL)
    watcher = pair.watcher(bank, job)
    watcher.watch()
    choose, early = random.Random(pair.number), Counter()
    for _ in range(10):
        time.sleep(choose.uniform(0.3, 1.5))
        status = job.status()
        if status["state"] == "running":
            early.update({name: status["totals"][name] for name in ("early", "early_given_up")})
        job.process.kill9()
        bank.check_prefix(pair.target)
        job.start(fault=SMALL)
    job.wait_for("running")
    bank.pause_writers()
    job.drain(pair.source)
    bank.check_prefix(pair.target)
    ended_equal(job, pair)
    watcher.check()
    print(dict(early))
    assert early["early"] > 50, early
