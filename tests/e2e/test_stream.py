"""The stream: streamed, aborted, interleaved and large transactions; a native subscription is the second opinion."""
import random

import pytest

from harness.oracle import check_equal, wait_equal
from harness.poll import poll_until
from harness.streaming import EARLY, WAYS

ROWS = "INSERT INTO s SELECT i, md5(i::text) FROM generate_series({0}, {1}) i"


@pytest.fixture(params=WAYS)
def pair_of(request, make_pair):
    pair = make_pair(source=WAYS[request.param])
    pair.source.sql("CREATE TABLE s (id int PRIMARY KEY, v text); CREATE TABLE u (id int PRIMARY KEY, v text)")
    return pair


@pytest.mark.asan
def test_savepoints_rolled_back_released_and_nested(pair_of):
    """F47, L11: exactly the surviving rows."""
    job = pair_of.running_job()
    rows = lambda first: ROWS.format(first, first + 2999)  # noqa: E731
    for statement in (
            f"BEGIN; {rows(10000)}; SAVEPOINT a; {rows(20000)}; ROLLBACK TO a; {rows(30000)}; COMMIT",
            f"BEGIN; SAVEPOINT a; {rows(40000)}; SAVEPOINT b; {rows(50000)}; ROLLBACK TO a; {rows(60000)}; COMMIT",
            f"BEGIN; SAVEPOINT a; {rows(70000)}; SAVEPOINT b; {rows(80000)}; RELEASE b; SAVEPOINT c; {rows(90000)};"
            " ROLLBACK TO c; RELEASE a; COMMIT",
            f"BEGIN; {rows(100000)}; ROLLBACK",
            f"BEGIN; SAVEPOINT a; {rows(110000)}; SAVEPOINT b; {rows(120000)}; RELEASE b; ROLLBACK TO a; COMMIT",
            f"BEGIN; SAVEPOINT a; {rows(130000)}; ROLLBACK TO a; {rows(140000)}; ROLLBACK TO a; {rows(150000)};"
            " COMMIT"):
        pair_of.source.sql(statement)
    pair_of.source.sql("""
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
    job.drain(pair_of.source)
    pair_of.check_equal()
    assert pair_of.target.one("SELECT count(*) FROM s") == 6 * 3000 + 300


def test_interleaved_transactions_commit_in_their_order(pair_of):
    """F43, F48: A begins, B begins, B commits, restart, A commits; and eight at once."""
    job = pair_of.running_job()
    sessions = [pair_of.source.connect(autocommit=False) for _ in range(8)]
    for part in range(6):
        for number, session in enumerate(sessions):
            first = number * 100000 + part * 1000
            session.cursor().execute(ROWS.format(first, first + 999))
        if part == 3:
            job.process.kill9()
            job.start()
    sessions[3].rollback()
    for number in (5, 0, 7, 1, 6, 2, 4):
        sessions[number].cursor().execute("UPDATE s SET v = 'by %s' WHERE id %% 100000 = 7 AND id / 100000 = %s",
                                          (number, number))
        sessions[number].commit()
    for session in sessions:
        session.close()
    job.wait_for("running")
    job.drain(pair_of.source)
    pair_of.check_equal()
    assert pair_of.target.one("SELECT count(*) FROM s") == 7 * 6000


def test_large_transaction_keeps_to_the_memory_and_survives_kills(pair_of):
    """F44, F51: 90 MB in one transaction, 16 MiB of memory; killed while it is held and while it is applied."""
    job = pair_of.running_job(memory="16MiB")
    pair_of.source.sql("INSERT INTO s SELECT i, repeat(md5(i::text), 64) FROM generate_series(1, 45000) i")
    for fault in ("assembler.spill_write:kill@3", "apply.before_commit:kill@1"):
        job.process.kill9()
        job.start(fault=fault)
        assert job.process.wait(60) == -9
        assert pair_of.target.one("SELECT count(*) FROM s") == 0
    job.start()
    poll_until(lambda: pair_of.target.one("SELECT count(*) FROM s") == 45000, "it arrives", 60)
    rss = job.status()["rss_bytes"]
    assert rss < 16 * 4 << 20, f"{rss >> 20} MiB"
    pair_of.wait_equal()


def test_copy_shares_lsns_and_is_killed_in_the_middle(pair_of):
    """F44, L6."""
    job = pair_of.running_job()
    job.process.kill9()
    import io
    connection = pair_of.source.connect()
    connection.cursor().copy_expert("COPY s FROM STDIN", io.StringIO("".join(f"{i}\tx\n" for i in range(10000))))
    connection.close()
    job.start(fault="apply.before_commit:kill@1")
    assert job.process.wait(60) == -9
    assert pair_of.target.one("SELECT count(*) FROM s") in (0, 10000)
    job.start()
    job.wait_for("running")
    pair_of.wait_equal()


def transactions_at(database):
    return database.one("SELECT pg_current_xact_id()::text::bigint")


def test_empty_and_foreign_transactions_move_the_position_and_cost_nothing(pair_of):
    """F52: 100,000 that hold nothing for us; the beat alone is written at the destination. Older servers than 15 send
    the empty ones, too."""
    job = pair_of.running_job(source={"heartbeat": "1s"})
    pair_of.source.sql("CREATE TEMP TABLE x (a int); SELECT pg_create_restore_point('x');"
                       " CREATE TABLE foreign_to_us (n int)")
    elsewhere = pair_of.source.server.database("elsewhere")
    elsewhere.sql("CREATE TABLE foreign_to_us (n int)")
    many = "DO $$ BEGIN FOR i IN 1..{} LOOP INSERT INTO foreign_to_us VALUES (i); COMMIT; END LOOP; END $$"
    before = transactions_at(pair_of.target)
    pair_of.source.sql(many.format(98000))
    elsewhere.sql(many.format(2000))
    end = pair_of.source.lsn()
    poll_until(lambda: pair_of.source.slot(job.slot)[0] >= end, "the position follows", 30)
    assert transactions_at(pair_of.target) - before < 500, "they cost transactions at the destination"
    assert job.status()["totals"]["retries"] == 0


def test_logical_messages_and_prepared_transactions(make_pair):
    """F50, F54: a prepared transaction is delivered once, at its commit; messages of others are passed over."""
    pair = make_pair(source={"max_prepared_transactions": 10, "logical_decoding_work_mem": "64kB"})
    pair.source.sql("CREATE TABLE s (id int PRIMARY KEY, v text)")
    job = pair.running_job()
    for transactional in ("true", "false"):
        pair.source.sql(f"SELECT pg_logical_emit_message({transactional}, 'app', 'hello')")
    pair.source.sql(f"BEGIN; {ROWS.format(1, 3000)}; PREPARE TRANSACTION 'one'")
    pair.source.sql(f"BEGIN; {ROWS.format(10001, 13000)}; PREPARE TRANSACTION 'two'")
    job.drain(pair.source)
    assert pair.target.one("SELECT count(*) FROM s") == 0
    job.process.kill9()
    job.start()
    job.wait_for("running")
    pair.source.sql("ROLLBACK PREPARED 'two'")
    pair.source.sql("COMMIT PREPARED 'one'")
    job.drain(pair.source)
    pair.check_equal()
    assert pair.target.one("SELECT count(*) FROM s") == 3000


@pytest.mark.parametrize("restart", ["neither", "ours", "fast", "immediate", "kill9"])
def test_restart_between_prepare_and_its_end(make_pair, restart):
    """F50: with two_phase off the server sends the whole transaction at COMMIT PREPARED, whoever restarted meanwhile."""
    pair = make_pair(source={"max_prepared_transactions": 10} | EARLY)
    pair.source.sql("CREATE TABLE s (id int PRIMARY KEY, v text); CREATE TABLE plain (n int);"
                    " ALTER TABLE plain REPLICA IDENTITY FULL")
    job = pair.running_job()
    for gid, first in (("large", 1), ("away", 10001)):
        pair.source.sql(f"BEGIN; {ROWS.format(first, first + 2999)}; SAVEPOINT a; {ROWS.format(first + 5000, first + 7999)};"
                        f" ROLLBACK TO a; INSERT INTO plain VALUES ({first}); PREPARE TRANSACTION '{gid}'")
    pair.source.sql("BEGIN; INSERT INTO s VALUES (-1, 'small'); PREPARE TRANSACTION 'small'")
    pair.source.sql("INSERT INTO plain VALUES (-1)")
    job.drain(pair.source)
    if restart == "ours":
        job.process.kill9()
        job.start()
    elif restart == "kill9":
        pair.source.server.kill9()
        pair.source.server.start()
    elif restart != "neither":
        pair.source.server.restart(restart)
    job.wait_for("running")
    assert pair.target.one("SELECT count(*) FROM s") == 0
    pair.source.sql("COMMIT PREPARED 'small'")
    pair.source.sql("ROLLBACK PREPARED 'away'")
    pair.source.sql("COMMIT PREPARED 'large'")
    pair.source.sql("INSERT INTO plain VALUES (-2)")
    job.drain(pair.source)
    pair.check_equal()
    assert pair.target.one("SELECT count(*) FROM s") == 3001
    assert pair.target.sql("SELECT n FROM plain ORDER BY n") == [(-2,), (-1,), (1,)]


class Play:
    """Random work of one session on the tables s and u, from a seed."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.savepoints = 0

    def statement(self):
        key, pick = self.random.randint(1, 3000), self.random.random()
        if pick < 0.35:
            return f"INSERT INTO s VALUES ({key}, md5('{key}')) ON CONFLICT (id) DO UPDATE SET v = s.v || 'x'"
        if pick < 0.5:
            return f"UPDATE u SET v = repeat('u{key}', 300) WHERE id = {key}"
        if pick < 0.6:
            return f"DELETE FROM s WHERE id BETWEEN {key} AND {key + 20}"
        if pick < 0.7:
            return (f"UPDATE s SET id = id + 10000 WHERE id = {key}"
                    f" AND NOT EXISTS (SELECT FROM s x WHERE x.id = {key + 10000})")
        if pick < 0.8:
            return (f"INSERT INTO u SELECT i, md5(i::text) FROM generate_series({key}, {key + 400}) i"
                    " ON CONFLICT DO NOTHING")
        if pick < 0.82:
            return "TRUNCATE u"
        if pick < 0.92:
            self.savepoints += 1
            return f"SAVEPOINT p{self.savepoints}"
        if self.savepoints:
            target = self.random.randint(1, self.savepoints)
            keep = self.random.random() < 0.5
            self.savepoints = target - 1 if keep else target
            return f"{'RELEASE' if keep else 'ROLLBACK TO'} SAVEPOINT p{target}"
        return "SELECT 1"

    def transaction(self):
        self.savepoints = 0
        body = [self.statement() for _ in range(self.random.randint(1, 15))]
        return "; ".join(["BEGIN", *body, "ROLLBACK" if self.random.random() < 0.1 else "COMMIT"])


@pytest.mark.parametrize("seed", range(2))
def test_random_work_gives_what_a_native_subscription_gives(pair_of, other_server, seed):
    """Differential: the same WAL through the server's own apply worker; the second time in small parts."""
    native = other_server.database(pair_of.name)
    native.sql("CREATE TABLE s (id int PRIMARY KEY, v text); CREATE TABLE u (id int PRIMARY KEY, v text)")
    pair_of.source.sql("CREATE PUBLICATION native FOR TABLE s, u")
    native.sql(f"CREATE SUBSCRIPTION native CONNECTION 'host=127.0.0.1 port={pair_of.source.server.port}"
               f" dbname={pair_of.name} user=postgres' PUBLICATION native WITH (streaming = on)")
    small = "early.small_parts:fail" if seed else None
    job = pair_of.running_job(fault=small)
    play = Play(seed)
    print(f"seed {seed}")
    connection = pair_of.source.connect()
    for number in range(150):
        connection.cursor().execute(play.transaction())
        if number in (50, 100):
            job.process.kill9()
            job.start(fault=small)
    connection.close()
    job.wait_for("running")
    job.drain(pair_of.source)
    check_equal(pair_of.source, pair_of.target)
    wait_equal(pair_of.source, native)
    check_equal(native, pair_of.target)
    native.sql("DROP SUBSCRIPTION native")
