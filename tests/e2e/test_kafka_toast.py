"""kafka.toast: complete. What a change does not carry comes from the old row, or is read at the source under the row's key; never
older than the change, and marked (kafka-contract.md, three-state columns; trap C9)."""
import json
import threading

import pytest

from harness.poll import poll_until
from harness.records import headers, in_order, place, repeated
from harness.server import lsn_number

ENVELOPES = ["debezium", "flat", "row+headers"]
PLACEHOLDER = "__debezium_unavailable_value"
LARGE = ("CREATE TABLE t (id int PRIMARY KEY, v int, big text);"
         " ALTER TABLE t ALTER big SET STORAGE EXTERNAL")
TYPES = {"big": ("text", "repeat('größe \"\\ ', 900)"), "doc": ("jsonb", "jsonb_build_object('a', repeat('x', 9000), 'b', 1.50)"),
         "raw": ("bytea", "decode(repeat('00ff5c27', 2500), 'hex')"), "words": ("text[]", "ARRAY[repeat('b', 9000), NULL, 'a\"b']"),
         "numbers": ("int[]", "array_agg(i) FROM generate_series(1, 4000) i"), "n": ("numeric", "repeat('123456789', 2000)::numeric / 10"),
         "mail": ("contrib.citext", "repeat('Ab', 5000)"), "spans": ("tstzrange[]", "array_agg(tstzrange(to_timestamp(i), NULL)) FROM generate_series(1, 400) i"),
         "bits": ("varbit", "repeat('10', 20000)::varbit"), "pairs": ("contrib.hstore", "('k => ' || repeat('v', 9000))::contrib.hstore")}


def toast_job(pair, broker, prefix, **config):
    kafka = {"brokers": broker.client()["bootstrap.servers"], "prefix": prefix, "toast": "complete"} | config.pop("kafka", {})
    job = pair.job(file_only=True, phases=["incremental"], kafka=kafka, **config)
    until_now(job)
    return job


def until_now(job):
    done = job.run("--until", "now")
    assert done.exit == 0, done.err


def rows(records):
    """Of those that have a value, in any envelope: [(row, headers)]."""
    said = [(json.loads(record.value), headers(record)) for record in records if record.value]
    return [(value.get("after", value) if "op" in value else value, there) for value, there in said]


def read_later(there):
    return json.loads(there["walferry.toast"]) if "walferry.toast" in there else None


# ---- from the source ----


@pytest.mark.parametrize("envelope", ENVELOPES)
def test_values_are_read_as_the_stream_would_have_them(pair, broker, topic_prefix, envelope):
    pair.source.sql("CREATE SCHEMA contrib; CREATE EXTENSION citext SCHEMA contrib; CREATE EXTENSION hstore SCHEMA contrib")
    columns = ", ".join(f"{name} {kind}" for name, (kind, _) in TYPES.items())
    pair.source.sql(f"CREATE TABLE t (id int PRIMARY KEY, v int, {columns})")
    pair.source.sql("; ".join(f"ALTER TABLE t ALTER {name} SET STORAGE EXTERNAL" for name in TYPES))
    job = toast_job(pair, broker, topic_prefix, kafka={"envelope": envelope})
    pair.source.sql(f"INSERT INTO t SELECT 1, 1, {', '.join(f'(SELECT {value})' for _, value in TYPES.values())}")
    pair.source.sql("UPDATE t SET v = 2; UPDATE t SET v = 3, doc = '1'; UPDATE t SET v = 4, big = NULL")
    until_now(job)
    records = broker.consume(f"{topic_prefix}.public.t")
    (first, none), *updates = rows(records)
    assert read_later(none) is None and set(TYPES) <= first.keys()
    expected = [first | {"v": 2, "doc": "1", "big": None}, first | {"v": 3, "doc": "1", "big": None}, first | {"v": 4, "doc": "1", "big": None}]
    read = [set(TYPES), set(TYPES) - {"doc"}, set(TYPES) - {"doc", "big"}]
    for (row, there), wanted, names, record in zip(updates, expected, read, records[1:], strict=True):
        assert {name: row[name] for name in ("id", "v", *TYPES)} == {name: wanted[name] for name in ("id", "v", *TYPES)}
        assert set(read_later(there)["columns"]) == names and "walferry.unchanged" not in there
        assert lsn_number(read_later(there)["lsn"]) >= place(records[-1])[0], "it says how new they may be"


def test_a_change_of_the_key_is_completed_under_the_new_key(pair, broker, topic_prefix):
    pair.source.sql("CREATE TABLE t (\"my \"\"id\" text COLLATE \"C\", n numeric(9,2), v int, big text, PRIMARY KEY (n, \"my \"\"id\"));"
                    " ALTER TABLE t ALTER big SET STORAGE EXTERNAL")
    job = toast_job(pair, broker, topic_prefix)
    pair.source.sql("INSERT INTO t VALUES (E'a\\\\b,{\"}\\n', 1.5, 1, repeat('x', 9000)); UPDATE t SET n = 2, v = 2")
    until_now(job)
    created, deleted, tombstone, moved = broker.consume(f"{topic_prefix}.public.t")
    assert tombstone.value is None and read_later(headers(deleted)) is None and read_later(headers(tombstone)) is None
    assert json.loads(moved.value)["after"]["big"] == "x" * 9000 and "__debezium.oldkey" in headers(moved)
    assert read_later(headers(moved))["columns"] == ["big"]


def test_a_row_that_is_gone_keeps_the_placeholder_and_says_so(pair, broker, topic_prefix):
    pair.source.sql(LARGE)
    job = toast_job(pair, broker, topic_prefix)
    pair.source.sql("INSERT INTO t SELECT i, 1, repeat('x', 9000) FROM generate_series(1, 4) i")
    pair.source.sql("UPDATE t SET v = 2")
    pair.source.sql("DELETE FROM t WHERE id = 1; UPDATE t SET id = 22 WHERE id = 2; UPDATE t SET big = NULL WHERE id = 3")
    until_now(job)
    updates = [(row, there) for row, there in rows(broker.consume(f"{topic_prefix}.public.t")) if row and row["v"] == 2]
    assert [(row["id"], row["big"]) for row, _ in updates] == [
        (1, PLACEHOLDER), (2, PLACEHOLDER), (3, None), (4, "x" * 9000), (22, "x" * 9000), (3, None)]
    for row, there in updates[:5]:
        assert (json.loads(there.get("walferry.unchanged", "[]")) == ["big"]) == (row["big"] == PLACEHOLDER)
        assert (read_later(there) is None) == (row["big"] == PLACEHOLDER)
    assert read_later(updates[5][1]) is None, "this one came along"


@pytest.mark.parametrize("envelope", ["flat"])
def test_a_row_that_is_gone_is_without_the_column_where_that_can_be(pair, broker, topic_prefix, envelope):
    pair.source.sql(LARGE)
    job = toast_job(pair, broker, topic_prefix, kafka={"envelope": envelope})
    pair.source.sql("INSERT INTO t VALUES (1, 1, repeat('x', 9000)); UPDATE t SET v = 2; DELETE FROM t")
    until_now(job)
    _, (row, there), _ = rows(broker.consume(f"{topic_prefix}.public.t"))
    assert "big" not in row and row["v"] == 2 and json.loads(there["walferry.unchanged"]) == ["big"]


def test_the_table_is_another_one_by_now(pair, broker, topic_prefix):
    """Renamed and moved, with columns dropped, renamed and of other types; and gone altogether."""
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, v int, big text, dropped text, other text, named text); CREATE SCHEMA s;"
                    " CREATE TABLE gone (id int PRIMARY KEY, v int, big text); ALTER TABLE gone ALTER big SET STORAGE EXTERNAL")
    pair.source.sql("; ".join(f"ALTER TABLE t ALTER {name} SET STORAGE EXTERNAL" for name in ("big", "dropped", "other", "named")))
    job = toast_job(pair, broker, topic_prefix)
    x = "repeat('1', 9000)"
    pair.source.sql(f"INSERT INTO t VALUES (1, 1, {x}, {x}, {x}, {x}); INSERT INTO gone VALUES (1, 1, {x})")
    pair.source.sql("UPDATE t SET v = 2; UPDATE gone SET v = 2")
    pair.source.sql("ALTER TABLE t DROP dropped, ALTER other TYPE numeric USING other::numeric, ALTER v TYPE bigint; ALTER TABLE t RENAME named TO n;"
                    " ALTER TABLE t SET SCHEMA s; ALTER TABLE s.t RENAME TO u; CREATE TABLE t (LIKE s.u INCLUDING ALL); DROP TABLE gone")
    until_now(job)
    _, (row, there) = rows(broker.consume(f"{topic_prefix}.public.t"))
    assert row["big"] == "1" * 9000 and {row[name] for name in ("dropped", "other", "named")} == {PLACEHOLDER}
    assert read_later(there)["columns"] == ["big"] and json.loads(there["walferry.unchanged"]) == ["dropped", "other", "named"]
    assert rows(broker.consume(f"{topic_prefix}.public.gone"))[1][0]["big"] == PLACEHOLDER


def test_partitions_and_children(pair, broker, topic_prefix):
    """A key that a parent and its child both have is two rows."""
    pair.source.sql("CREATE TABLE p (id int PRIMARY KEY, v int, big text) PARTITION BY RANGE (id);"
                    " CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); CREATE TABLE t (id int PRIMARY KEY, v int, big text);"
                    " CREATE TABLE child (PRIMARY KEY (id)) INHERITS (t)")
    pair.source.sql("; ".join(f"ALTER TABLE {table} ALTER big SET STORAGE EXTERNAL" for table in ("p1", "t", "child")))
    job = toast_job(pair, broker, topic_prefix)
    for table, letter in (("p", "p"), ("t", "t"), ("child", "c")):
        pair.source.sql(f"INSERT INTO {table} VALUES (1, 1, repeat('{letter}', 9000))")
    pair.source.sql("UPDATE p SET v = 2; UPDATE t SET v = 2")
    until_now(job)
    said = {table: rows(broker.consume(f"{topic_prefix}.public.{table}"))[-1] for table in ("p1", "t", "child")}
    assert {table: row["big"] for table, (row, _) in said.items()} == {"p1": "p" * 9000, "t": "t" * 9000, "child": "c" * 9000}
    assert all(read_later(there)["columns"] == ["big"] for _, there in said.values())


def test_many_changes_are_asked_for_together(pair, broker, topic_prefix):
    """A row that is changed often is read a few times; large ones are not all read at once."""
    pair.source.sql(LARGE)
    job = toast_job(pair, broker, topic_prefix)
    pair.source.sql("INSERT INTO t SELECT i, 0, repeat('x', 2500) FROM generate_series(1, 3) i; INSERT INTO t SELECT i, 0, repeat('y', 400000) FROM generate_series(101, 140) i")
    before = scans(pair)
    with pair.source.connect() as source:
        for number in range(1, 401):
            source.cursor().execute(f"UPDATE t SET v = {number} WHERE id < 100")
    pair.source.sql("UPDATE t SET v = 1 WHERE id > 100; UPDATE t SET v = 2 WHERE id > 100")
    own = poll_until(lambda: scans(pair) - before or None, "the statistics are there", 10)
    until_now(job)
    updates = [(row, there) for row, there in rows(broker.consume(f"{topic_prefix}.public.t")) if row["v"] > 0]
    assert len(updates) == 1280 and all(row["big"] == ("x" * 2500 if row["id"] < 100 else "y" * 400000) for row, _ in updates)
    assert all(read_later(there)["columns"] == ["big"] for _, there in updates)
    assert scans(pair) - before - own < 300, "each row is read for itself"


def scans(pair):
    return pair.source.one("SELECT coalesce(sum(idx_scan), 0) FROM pg_stat_user_tables WHERE relname = 't'")


# ---- from the old row ----


@pytest.mark.parametrize("envelope", ENVELOPES[:2])
def test_the_old_row_is_exact_and_needs_no_mark(pair, broker, topic_prefix, envelope):
    """What the row holds by now does not matter."""
    pair.source.sql(LARGE)
    pair.source.sql("ALTER TABLE t REPLICA IDENTITY FULL")
    job = toast_job(pair, broker, topic_prefix, kafka={"envelope": envelope})
    pair.source.sql("INSERT INTO t VALUES (1, 1, repeat('x', 9000))")
    pair.source.sql("UPDATE t SET v = 2; UPDATE t SET big = repeat('y', 9000); UPDATE t SET id = 2; DELETE FROM t")
    until_now(job)
    said = rows(broker.consume(f"{topic_prefix}.public.t"))
    assert said[1][0]["big"] == "x" * 9000 and said[2][0]["big"] == "y" * 9000
    assert [row["big"] for row, _ in said if row and row["id"] == 2][0] == "y" * 9000
    assert all("walferry.toast" not in there and "walferry.unchanged" not in there for _, there in said)


# ---- never older than the change ----


def test_a_transaction_that_is_not_visible_yet_is_waited_for(make_pair, broker, topic_prefix):
    """The stream has what is on disk; while its commit waits for a standby, others still see the row as it was before."""
    pair = make_pair(source={"synchronous_commit": "local"})
    pair.source.sql(LARGE)
    job = toast_job(pair, broker, topic_prefix)
    pair.source.sql("INSERT INTO t VALUES (1, 1, repeat('old', 3000))")
    until_now(job)
    job.start()
    job.wait_for("running")
    synchronous(pair, "SET synchronous_standby_names = 'nobody'")
    poll_until(lambda: pair.source.one("SHOW synchronous_standby_names") == "nobody", "it is set", 10)

    def write():
        with pair.source.connect() as source:
            source.cursor().execute("SET synchronous_commit = on; BEGIN; UPDATE t SET big = repeat('new', 3000);"
                                    " UPDATE t SET v = 2; COMMIT")
    writer = threading.Thread(target=write)
    writer.start()
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    poll_until(lambda: pair.source.one(waits) == 1, "the commit waits", 20)
    poll_until(lambda: asked(pair), "the job asks whether it is visible", 20)
    assert len(broker.consume(f"{topic_prefix}.public.t", "read_uncommitted")) <= 2
    synchronous(pair, "RESET synchronous_standby_names")
    writer.join()
    said = rows(broker.wait_records(f"{topic_prefix}.public.t", 3))
    assert job.process.terminate() == 0, job.process.err
    assert [row["big"][:3] for row, _ in said] == ["old", "new", "new"]
    assert [read_later(there) is not None for _, there in said] == [False, False, True]


def synchronous(pair, setting):
    server = pair.source.connect()
    server.cursor().execute(f"ALTER SYSTEM {setting}")
    server.cursor().execute("SELECT pg_reload_conf()")
    server.close()


def asked(pair):
    return pair.source.one("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%txid_visible_in_snapshot(m.edge%'"
                           " AND pid <> pg_backend_pid()")


@pytest.mark.parametrize("delivery", ["exactly-once", "at-least-once"])
def test_killed_while_values_are_read(pair, broker, topic_prefix, delivery):
    pair.source.sql(LARGE)
    job = toast_job(pair, broker, topic_prefix, kafka={"delivery": delivery})
    pair.source.sql("INSERT INTO t SELECT i, 0, repeat('x', 9000) FROM generate_series(1, 50) i")
    for number in range(1, 4):
        pair.source.sql(f"UPDATE t SET v = {number}")
    job.start(fault="kafka.before_commit:kill")
    job.process.wait_reached("kafka.before_commit")
    job.process.popen.wait()
    pair.source.sql("UPDATE t SET v = 4, big = repeat('y', 9000) WHERE id = 7; UPDATE t SET v = 5 WHERE id = 7")
    until_now(job)
    records = broker.consume(f"{topic_prefix}.public.t")
    said = rows(records)
    assert all(row["big"] in ("x" * 9000, "y" * 9000) for row, _ in said) and said[-1][0]["big"] == "y" * 9000
    if delivery == "exactly-once":
        assert not repeated(records) and len(records) == 202
        in_order(records)


# ---- what stands in the way ----


def test_a_missing_right_is_told_by_check_and_by_the_run(pair, broker, topic_prefix):
    pair.source.sql(LARGE)
    pair.source.sql("CREATE TABLE small (id int PRIMARY KEY, v int)")
    user = f"reader_{pair.name}"
    pair.source.sql(f"CREATE ROLE {user} LOGIN REPLICATION; GRANT pg_monitor TO {user}; GRANT CREATE ON DATABASE {pair.name} TO {user};"
                    f" GRANT CREATE, USAGE ON SCHEMA public TO {user}; CREATE PUBLICATION mine FOR TABLE t, small;"
                    " INSERT INTO t VALUES (1, 1, repeat('x', 9000))")
    reader = pair.source.dsn(user)
    config = dict(source_dsn=reader, file_only=True, phases=["incremental"], objects={"include": ["public.t", "public.small"]})
    kafka = {"brokers": broker.client()["bootstrap.servers"], "prefix": topic_prefix}
    job = pair.job(kafka=kafka | {"toast": "complete"}, source={"publication": "mine", "heartbeat": 0}, **config)
    found = item(job, "kafka-toast")
    assert found["state"] == "failed" and "public.t" in found["seen"] and "public.small" not in found["seen"], found
    assert f"GRANT SELECT ON public.t TO {user}" in found["fix"].replace('"', ""), found
    pair.source.sql(f"GRANT SELECT ON t, small TO {user}")
    assert item(job, "kafka-toast")["state"] == "passed"
    until_now(job)
    job.start()
    job.wait_for("running")
    pair.source.sql(f"REVOKE SELECT ON t FROM {user}; UPDATE t SET v = 2")
    assert job.process.wait(60) == 2, job.process.err
    assert "public.t" in job.process.err and "GRANT SELECT" in job.process.err, job.process.err
    pair.source.sql(f"GRANT SELECT ON t TO {user}; CREATE POLICY none ON t TO {user} USING (false); ALTER TABLE t ENABLE ROW LEVEL SECURITY")
    found = item(job, "kafka-toast")
    assert found["state"] == "failed" and "row security" in found["seen"] and "BYPASSRLS" in found["fix"], found
    pair.source.sql("ALTER TABLE t DISABLE ROW LEVEL SECURITY")
    until_now(job)
    assert rows(broker.consume(f"{topic_prefix}.public.t"))[-1][0]["big"] == "x" * 9000
    job.rewrite({"kafka": {"toast": "placeholder"}})
    assert item(job, "kafka-toast") is None


def item(job, name):
    found = job.call("check", "--json")
    return next((each for each in found.json()["items"] if each["name"] == name), None)


def test_a_table_that_somebody_has_locked_is_waited_for(pair, broker, topic_prefix):
    pair.source.sql(LARGE)
    job = toast_job(pair, broker, topic_prefix)
    pair.source.sql("INSERT INTO t VALUES (1, 1, repeat('x', 9000))")
    until_now(job)
    job.start()
    job.wait_for("running")
    pair.source.sql("UPDATE t SET big = big || 'y'")
    broker.wait_records(f"{topic_prefix}.public.t", 2)
    with pair.source.connect() as source:
        source.autocommit = False
        source.cursor().execute("UPDATE t SET v = 2")
        source.cursor().execute("LOCK TABLE t")
        source.commit()
        source.cursor().execute("LOCK TABLE t")
        poll_until(lambda: "exclusive lock" in job.process.err, "it says why it waits", 30)
        source.rollback()
    assert rows(broker.wait_records(f"{topic_prefix}.public.t", 3))[-1][0]["big"] == "x" * 9000 + "y"
    assert job.process.terminate() == 0, job.process.err


@pytest.mark.parametrize("version", [12, 18])
def test_at_the_oldest_and_the_newest_source(version_pair, broker, topic_prefix, version):
    pair = version_pair(version, version)
    pair.source.sql(LARGE)
    job = toast_job(pair, broker, topic_prefix)
    pair.source.sql("INSERT INTO t SELECT i, 1, repeat('x', 9000) FROM generate_series(1, 3) i; UPDATE t SET v = 2")
    until_now(job)
    updates = rows(broker.consume(f"{topic_prefix}.public.t"))[3:]
    assert [(row["v"], row["big"]) for row, _ in updates] == [(2, "x" * 9000)] * 3
    assert all(read_later(there)["columns"] == ["big"] for _, there in updates)
