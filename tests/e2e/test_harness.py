"""The harness itself: servers die and come back, and every oracle is able to fail."""
import time

import psycopg2
import pytest

from harness.bank import BIG_ROWS, Bank, Watcher, check_prefix, prefix_violations
from harness.oracle import check_definitions, check_equal, check_sequences, differences
from harness.poll import poll_until


def copied(pair, bank):
    """The target becomes an exact copy of the source by the server's own means."""
    pair.target.drop()
    pair.source.server.drop_slots(pair.name)
    import subprocess
    from harness.place import clean_environment, postgres_bin
    dump = subprocess.run([postgres_bin() / "pg_dump", "-h", pair.source.server.directory, "-p",
                           str(pair.source.server.port), "-U", "postgres", pair.name],
                          capture_output=True, check=True, env=clean_environment()).stdout
    pair.target.server.database(pair.name)
    subprocess.run([postgres_bin() / "psql", "-qX", "-v", "ON_ERROR_STOP=1", "-h", pair.target.server.directory, "-p",
                    str(pair.target.server.port), "-U", "postgres", pair.name], input=dump, check=True,
                   stdout=subprocess.DEVNULL, env=clean_environment())


@pytest.fixture
def stopped_bank(pair):
    bank = pair.bank(pause=0.001).start()
    bank.writers[1].ask_large(BIG_ROWS, 64)
    poll_until(lambda: all(writer.seq > 60 for writer in bank.writers), "writers write")
    bank.stop()
    copied(pair, bank)
    return bank


def test_bank_is_a_prefix_at_every_moment_of_its_own_life(pair):
    bank = pair.bank(pause=0.001).start()
    for _ in range(15):
        bank.check_prefix(pair.source)
        time.sleep(0.02)
    bank.pause_writers()
    assert bank.check_prefix(pair.source) == bank.counters()
    seen = pair.source.sql("SELECT (SELECT count(*) FROM log), (SELECT count(*) FROM detail)")[0]
    assert min(seen) > 10, f"the workload does nothing: {seen}"


def test_copy_of_a_bank_passes_all_oracles(pair, stopped_bank):
    stopped_bank.check_prefix(pair.target)
    check_equal(pair.source, pair.target)
    check_definitions(pair.source, pair.target)
    check_sequences(pair.source, pair.target)


CORRUPTIONS = {
    "sum of money": "UPDATE accounts_b SET balance = balance + 1 WHERE id = 7",
    "counter and log": "ALTER TABLE log DISABLE TRIGGER ALL; ALTER TABLE detail DISABLE TRIGGER ALL;"
                       " DELETE FROM log WHERE writer = 1 AND seq = 5",
    "counter lost": "UPDATE counters SET seq = seq - 1 WHERE writer = 2",
    "details": "DELETE FROM detail WHERE ctid = (SELECT ctid FROM detail LIMIT 1)",
    "full rows lost": "DELETE FROM full_rows WHERE ctid = (SELECT ctid FROM full_rows LIMIT 1)",
    "full rows doubled": "INSERT INTO full_rows SELECT * FROM full_rows LIMIT 1",
    "documents": "UPDATE documents SET body = '' WHERE writer = 0",
    "documents version": "UPDATE documents SET version = version + 1 WHERE writer = 0",
    "keys": "UPDATE keys SET id = id + 1 WHERE writer = 1",
    "scratch": "INSERT INTO scratch VALUES (77, 1)",
    "poison": "INSERT INTO full_rows VALUES (0, 1, 'poison')",
    "phantom detail": "ALTER TABLE detail DISABLE TRIGGER ALL; INSERT INTO detail VALUES (1, 999999, 1, 'x')",
    "writers": "ALTER TABLE counters DISABLE TRIGGER ALL; DELETE FROM counters WHERE writer = 2",
}


def test_prefix_oracle_sees_every_corruption(pair, stopped_bank):
    for name, statement in CORRUPTIONS.items():
        connection = pair.target.connect(autocommit=False)
        try:
            connection.cursor().execute(statement)
            found = violations_inside(connection, len(stopped_bank.writers))
            assert found, f"not seen: {name}"
        finally:
            connection.rollback()
            connection.close()
    assert prefix_violations(pair.target, 3)[0] == []


def violations_inside(connection, writers):
    from harness.bank import PREFIX_CHECKS, TOTAL
    cursor = connection.cursor()
    cursor.execute(PREFIX_CHECKS, {"total": TOTAL, "writers": writers})
    return cursor.fetchall()


def test_equality_oracle_sees_rows_tables_and_definitions(pair, stopped_bank):
    pair.target.sql("UPDATE keys SET seq = seq + 1 WHERE writer = 0")
    assert [line.split(":")[0] for line in differences(pair.source, pair.target)] == ["public.keys"]
    pair.target.sql("UPDATE keys SET seq = seq - 1 WHERE writer = 0; CREATE TABLE more (id int)")
    with pytest.raises(AssertionError, match="public.more"):
        check_equal(pair.source, pair.target)
    pair.target.sql("DROP TABLE more; CREATE INDEX few ON log (at)")
    check_equal(pair.source, pair.target)
    with pytest.raises(AssertionError, match="few"):
        check_definitions(pair.source, pair.target)


def test_equality_oracle_tells_unequal_text_of_equal_values(pair):
    for database, value in ((pair.source, "1.0"), (pair.target, "1.00")):
        database.sql(f"CREATE TABLE n (id int PRIMARY KEY, v numeric, t text); INSERT INTO n VALUES (1, {value}, NULL)")
    assert differences(pair.source, pair.target)
    pair.target.sql("UPDATE n SET v = 1.0, t = ''")
    assert differences(pair.source, pair.target), "NULL and '' are different"


def test_watcher_sees_a_confirmed_position_that_is_not_there(pair, stopped_bank):
    bank = stopped_bank
    pair.source.sql("SELECT pg_create_logical_replication_slot('watched', 'pgoutput')")
    watcher = Watcher(bank, pair.source, pair.target, "watched", every=0.01)
    watcher.start()
    watcher.watch()
    poll_until(lambda: watcher.looks > 3, "the watcher looks")
    assert watcher.violations == []
    pair.target.sql("UPDATE counters SET seq = seq - 1 WHERE writer = 1")
    poll_until(lambda: watcher.violations, "the watcher sees it")
    watcher.stop()
    with pytest.raises(AssertionError, match="writer 1"):
        watcher.check()


def test_writers_survive_every_end_of_their_server(make_pair):
    pair = make_pair()
    bank = pair.bank(pause=0.001).start()
    for end in ("fast", "immediate", "kill9"):
        before = bank.transactions()
        poll_until(lambda: bank.transactions() > before + 30, "writers write")
        if end == "kill9":
            pair.source.server.kill9()
        else:
            pair.source.server.stop(end)
        pair.source.server.start()
    before = bank.transactions()
    poll_until(lambda: bank.transactions() > before + 30, "writers go on")
    bank.pause_writers()
    assert bank.check_prefix(pair.source) == bank.counters()
    lsns = [writer.lsns for writer in bank.writers]
    assert all(known == sorted(known) for known in lsns)


def test_a_due_counter_is_never_one_beyond_the_position(pair):
    bank = Bank(pair.source, writers=1)
    writer = bank.writers[0]
    for seq, lsn in ((1, 100), (2, 200), (3, 200), (5, 300)):
        writer.note(seq, lsn)
    assert [writer.seq_at(lsn) for lsn in (99, 100, 199, 200, 299, 300)] == [0, 1, 1, 3, 3, 5]


def answer_through(proxy, database, statement="SELECT 1"):
    connection = psycopg2.connect(host="127.0.0.1", port=proxy.port, dbname=database.name, user="postgres",
                                  connect_timeout=5)
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute(statement)
    return connection, cursor.fetchall()


def test_proxy_passes_bytes_and_delays_them(pair):
    proxy = pair.proxy(pair.target.server)
    big = "SELECT repeat('walferry', 300000)"
    connection, rows = answer_through(proxy, pair.target, big)
    assert len(rows[0][0]) == 2400000
    proxy.tell("latency 200 50")
    begin = time.monotonic()
    connection.cursor().execute("SELECT 1")
    assert 0.4 <= time.monotonic() - begin < 2
    proxy.tell("clear")
    proxy.tell("slice 1")
    connection.cursor().execute("SELECT 'slices', " + "+".join(["1"] * 200))
    proxy.tell("clear")
    proxy.tell("rate 1000")
    begin = time.monotonic()
    connection.cursor().execute(big)
    assert 1.5 <= time.monotonic() - begin < 10, "2.3 MB at 1000 KiB/s"


def test_proxy_cuts_resets_refuses_and_corrupts(pair):
    proxy = pair.proxy(pair.target.server)
    connection, _ = answer_through(proxy, pair.target)
    proxy.tell("reset")
    with pytest.raises(psycopg2.OperationalError):
        connection.cursor().execute("SELECT 1")
    proxy.tell("cut down 2000")
    with pytest.raises(psycopg2.OperationalError):
        answer_through(proxy, pair.target, "SELECT repeat('x', 5000)")
    assert proxy.stats()["connections"] == 0
    proxy.tell("clear")
    proxy.tell("down")
    with pytest.raises(psycopg2.OperationalError):
        answer_through(proxy, pair.target)
    proxy.tell("clear")
    connection, _ = answer_through(proxy, pair.target)
    proxy.tell("corrupt down 1000")
    cursor = connection.cursor()
    cursor.execute("SELECT repeat('x', 5000)")
    assert cursor.fetchone()[0].count("h") >= 4, "x with one bit turned"


def test_proxy_holds_in_silence_and_goes_on(pair):
    proxy = pair.proxy(pair.target.server)
    connection, _ = answer_through(proxy, pair.target)
    proxy.tell("hold")
    pid = connection.fileno()
    import select
    import socket
    raw = socket.fromfd(pid, socket.AF_INET, socket.SOCK_STREAM)
    raw.send(b"Q\x00\x00\x00\x0dSELECT 1\x00")
    assert not select.select([raw], [], [], 0.5)[0], "no answer while held"
    proxy.tell("clear")
    assert select.select([raw], [], [], 5)[0], "the answer comes after all"
    raw.close()


def test_proxy_swallows_the_answer_to_commit_that_was_done(pair):
    pair.target.sql("CREATE TABLE t (id int)")
    proxy = pair.proxy(pair.target.server)
    connection, _ = answer_through(proxy, pair.target)
    connection.autocommit = False
    connection.cursor().execute("INSERT INTO t VALUES (1)")
    proxy.swallow_commit_answer()
    import threading
    failure = []

    def commit():
        try:
            connection.commit()
        except psycopg2.Error as error:
            failure.append(error)
    thread = threading.Thread(target=commit)
    thread.start()
    poll_until(lambda: proxy.stats()["swallowed"] > 0, "the answer is swallowed")
    assert pair.target.one("SELECT count(*) FROM t") == 1, "the server has committed"
    proxy.tell("reset")
    thread.join(10)
    assert failure, "the client cannot know"


def test_proxy_refuses_words_it_does_not_know(pair):
    proxy = pair.proxy(pair.target.server)
    for line in ("nonsense", "latency", "cut sideways 5", "swallow up", "corrupt up x"):
        with pytest.raises(AssertionError, match="not understood"):
            proxy.tell(line)
