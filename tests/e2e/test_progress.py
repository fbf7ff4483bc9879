"""What a long load shows while it runs: rows, speed, time left, the slot's WAL, and how far each index is."""
from harness.poll import poll_until

ROWS = 6000
TABLES = ("CREATE TABLE t (id int PRIMARY KEY, v text);"
          f" INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, {ROWS}) i; ANALYZE t")


def test_a_table_shows_its_speed_and_the_time_left(pair):
    pair.source.sql(TABLES)
    job = pair.job(throttle={"load": {"rows_per_s": 1000}})
    process = job.start()

    def table():
        return next(iter(job.status()["tables"]), {"rows": 0})
    shown = poll_until(lambda: (found := table())["rows"] > 1000 and found["left_ms"] is not None and found,
                       "the table is in work", every=0.05)
    assert shown["state"] == "copying" and shown["rows_estimated"] == ROWS
    left_s = (ROWS - shown["rows"]) / 1000
    assert left_s / 3 < shown["left_ms"] / 1000 < left_s * 3, shown
    assert 30_000 < shown["bytes_per_s"] < 400_000, shown
    text = job.call("status").out
    assert "left" in text and "public.t" in text, text
    assert job.call("set", "throttle.load.rows_per_s", "0").exit == 0
    job.wait_for("running")
    assert table()["left_ms"] is None and table()["bytes_per_s"] is None
    assert process.terminate() == 0


def test_the_wal_that_waits_is_shown_while_it_loads_and_told_when_it_is_over(pair):
    pair.source.sql(TABLES)
    job = pair.job(throttle={"load": {"rows_per_s": 500}})
    process = job.start()

    def slot():
        return job.status()["slot"]
    poll_until(lambda: job.phase() == "full" and slot()["retained_bytes"] is not None, "the slot is looked at", every=0.05)
    before = slot()["retained_bytes"]
    pair.source.sql("CREATE TABLE noise (v text); INSERT INTO noise SELECT repeat('y', 1000) FROM generate_series(1, 5000)")
    poll_until(lambda: slot()["retained_bytes"] > before + 4_000_000, "its WAL grows", every=0.1)
    assert job.phase() == "full" and slot()["wal_status"] == "reserved"
    assert "MiB of WAL on the source" in job.call("status").out
    job.call("set", "throttle.load.rows_per_s", "0")
    job.wait_for("catching-up")
    told = next(line for line in process.err.splitlines() if "rows are loaded" in line)
    assert f"slot \"{job.slot}\" keeps" in told and "MiB of WAL" in told, told


def test_an_index_shows_how_far_it_is(pair):
    pair.source.sql("CREATE FUNCTION slow(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN i; END';"
                    " CREATE TABLE t (id int PRIMARY KEY, v text); ALTER TABLE t ALTER v SET STORAGE PLAIN;"
                    " CREATE INDEX t_slow ON t (slow(id));"
                    " INSERT INTO t SELECT i, repeat('x', 1500) FROM generate_series(1, 400) i;"
                    " CREATE OR REPLACE FUNCTION slow(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS"
                    " 'BEGIN PERFORM pg_sleep(0.01); RETURN i; END'")
    job = pair.job()
    job.start()

    def build():
        return next((each for each in job.status()["builds"] if "t_slow" in each["name"]), None)
    first = poll_until(lambda: (found := build()) and found["total"] and found["done"] > 0 and found, "its progress", every=0.05)
    poll_until(lambda: (found := build()) is None or found["done"] > first["done"], "it grows", every=0.05)
    text = job.call("status").out
    assert "t_slow" in text and "%" in text or build() is None, text
    job.wait_for("running")
    assert job.status()["builds"] == []
