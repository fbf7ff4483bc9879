"""Dead letters: what `conflicts: skip` left out, in the same transaction, once, and where a person finds it."""
import pytest

from harness.poll import poll_until

TABLE = "CREATE TABLE t (id int PRIMARY KEY, v text)"


def letters(job):
    result = job.call("dead-letters", "--json")
    assert result.exit == 0, result.err
    return result.json()["dead_letters"]


def skipping(pair, rows=5, **config):
    """A running job at whose target somebody has put rows 1 to `rows`."""
    pair.source.sql(TABLE)
    job = pair.running_job(conflicts="skip", **config)
    pair.target.sql(f"INSERT INTO t SELECT i, 'own' FROM generate_series(1, {rows}) i")
    return job


@pytest.mark.asan
def test_the_command_shows_and_clears_them(pair):
    job = skipping(pair)
    empty = job.call("dead-letters")
    assert empty.exit == 0 and "no dead letters" in empty.out
    odd = "a \"quoted\" \\ text\twith\nlines, ünïcode"
    pair.source.sql("BEGIN; INSERT INTO t VALUES (1, %s); INSERT INTO t VALUES (9, 'fine'); INSERT INTO t VALUES (2, NULL); COMMIT", (odd,))
    job.drain(pair.source)
    pair.source.sql("DELETE FROM t WHERE id = 9")
    job.drain(pair.source)
    found = letters(job)
    assert [(letter["key"], letter["values"]) for letter in found] == \
        [({"id": "1"}, {"id": "1", "v": odd}), ({"id": "2"}, {"id": "2", "v": None})]
    first = found[0]
    assert (first["table"], first["operation"], first["seq"], first["sqlstate"]) == ("public.t", "insert", 0, "23505")
    assert "duplicate key" in first["reason"] and "in transaction" not in first["reason"]
    assert first["xid"] > 0 and "/" in first["lsn"] and first["at"].endswith("Z")
    shown = job.call("dead-letters")
    assert shown.exit == 0 and "insert public.t" in shown.out and "2 dead letters" in shown.out
    assert job.status()["totals"]["dead_letters"] == 2
    assert "2 dead letters" in job.call("status").out
    assert job.process.terminate() == 0
    assert job.status()["totals"]["dead_letters"] == 2, "of a stopped job, too"
    job.start()
    job.wait_for("running")
    assert job.status()["totals"]["dead_letters"] == 2, "and of the one that goes on"
    cleared = job.call("dead-letters", "--json", "--clear").json()
    assert cleared["count"] == 2 and cleared["cleared"] is True
    assert letters(job) == []


@pytest.mark.parametrize("point", ["apply.before_dead_letter", "apply.after_dead_letter", "apply.before_commit", "apply.after_commit",
                                   "ledger.after_durable", "source.before_feedback"])
def test_each_is_there_once_whatever_is_killed(pair, point):
    """In the transaction that would have had the change: neither lost nor twice."""
    job = skipping(pair, rows=3)
    assert job.process.terminate() == 0
    for key in range(1, 6):
        pair.source.sql(f"INSERT INTO t VALUES ({key}, 'source')")
    for hit in (1, 2):
        process = job.start(fault=f"{point}:kill@{hit}")
        assert process.wait(60) == -9 and process.reached(point)
    job.start()
    job.wait_for("running")
    job.drain(pair.source)
    assert [letter["key"]["id"] for letter in letters(job)] == ["1", "2", "3"]
    assert pair.target.sql("SELECT id, v FROM t ORDER BY 1") == [(1, "own"), (2, "own"), (3, "own"), (4, "source"), (5, "source")]


def test_a_transaction_that_stops_leaves_none(pair):
    """It is rolled back whole, its dead letters with it."""
    pair.source.sql(f"{TABLE}; CREATE TABLE u (id int PRIMARY KEY)")
    job = pair.running_job(conflicts="skip", objects={"tables": {"public.u": {"conflicts": "stop"}}})
    pair.target.sql("INSERT INTO t VALUES (1, 'own'); INSERT INTO u VALUES (1)")
    pair.source.sql("BEGIN; INSERT INTO t VALUES (1, 'x'); INSERT INTO u VALUES (1); COMMIT")
    assert job.process.wait(30) == 5
    assert letters(job) == [] and job.status()["totals"]["dead_letters"] == 0
    pair.target.sql("DELETE FROM u")
    job.start()
    job.wait_for("running")
    job.drain(pair.source)
    assert len(letters(job)) == 1 and pair.target.one("SELECT count(*) FROM u") == 1


def test_cleanup_takes_the_table_and_a_state_of_an_earlier_version_gets_it(pair):
    job = skipping(pair)
    assert job.process.terminate() == 0
    pair.target.sql("DROP TABLE walferry.dead_letter")  # what an earlier version has left
    assert job.status()["totals"]["dead_letters"] == 0
    assert letters(job) == []
    pair.source.sql("INSERT INTO t VALUES (1, 'x')")
    job.start()
    job.wait_for("running")
    job.drain(pair.source)
    assert len(letters(job)) == 1
    assert job.process.terminate() == 0
    pair.target.sql("DROP TABLE walferry.dead_letter")
    cleaned = job.call("cleanup")
    assert cleaned.exit == 0, cleaned.err
    assert pair.target.one("SELECT count(*) FROM pg_namespace WHERE nspname = 'walferry'") == 0
    assert "no dead letters" in job.call("dead-letters").out


def test_only_those_of_this_job(pair):
    job = skipping(pair)
    pair.source.sql("INSERT INTO t VALUES (1, 'x')")
    job.drain(pair.source)
    pair.target.sql("INSERT INTO walferry.dead_letter SELECT 'other', lsn, seq, xid, schema_name, table_name, operation, old_key,"
                    " new_values, sqlstate, reason FROM walferry.dead_letter")
    assert job.call("dead-letters", "--json", "--clear").json()["count"] == 1
    assert pair.target.sql("SELECT job FROM walferry.dead_letter") == [("other",)]


def test_prepared_transactions_carry_theirs(make_pair):
    """two_phase: they are prepared with it, and gone when it is rolled back."""
    pair = make_pair(source={"max_prepared_transactions": 5}, target={"max_prepared_transactions": 5})
    job = skipping(pair, source={"two_phase": True})
    for key, end in ((1, "COMMIT"), (2, "ROLLBACK")):
        pair.source.sql(f"BEGIN; INSERT INTO t VALUES ({key}, 'x'), ({key + 10}, 'x'); PREPARE TRANSACTION 'p{key}'")
        poll_until(lambda: pair.target.one("SELECT count(*) FROM pg_prepared_xacts") == 1, "it is prepared there")
        pair.source.sql(f"{end} PREPARED 'p{key}'")
        poll_until(lambda: pair.target.one("SELECT count(*) FROM pg_prepared_xacts") == 0, "and ended")
    job.drain(pair.source)
    assert [letter["key"]["id"] for letter in letters(job)] == ["1"]
    assert pair.target.sql("SELECT id FROM t WHERE id > 10") == [(11,)]


@pytest.mark.parametrize("heartbeat", ["text", "binary"])
def test_values_are_the_texts_that_the_source_writes(pair, heartbeat):
    """In a binary stream, too: here every column's type allows one, there the enum does not."""
    columns = {"b": "bool", "i": "int8", "f": "float8", "n": "numeric", "x": "bytea", "u": "uuid", "j": "jsonb", "ts": "timestamptz", "d": "date"}
    values = "true, -7, 0.1, 12345678901234567890.5, '\\x00ff', '00000000-0000-0000-0000-00000000abcd', '{\"a\": [1, null]}', '2026-01-02 03:04:05.678+00', '1999-12-31'"
    pair.source.sql("CREATE TYPE mood AS ENUM ('glad', 'sad')")
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, " + ", ".join(f"{name} {kind}" for name, kind in columns.items()) +
                    (", m mood DEFAULT 'sad')" if heartbeat == "text" else ")"))
    job = pair.running_job(conflicts="skip")
    pair.target.sql("INSERT INTO t (id) VALUES (1)")
    pair.source.sql(f"INSERT INTO t VALUES (1, {values})")
    job.drain(pair.source)
    source = pair.source.sql("SELECT " + ", ".join(f"{name}::text" for name in columns) + " FROM t")[0]
    found = letters(job)[0]
    shown = {name: value for name, value in found["values"].items() if name in columns}
    expected = dict(zip(columns, source)) | {"b": shown["b"]}
    assert shown["b"] in ("t", "true") and found["key"] == {"id": "1"}
    assert shown == expected
