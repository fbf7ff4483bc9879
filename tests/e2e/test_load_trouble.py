"""What goes wrong at the servers in the middle of the load: a sentence, an exit code, and going on where that is possible."""
import subprocess

import pytest

from harness.poll import poll_until
from test_object_trouble import account
from test_target import small_disk  # noqa: F401 (a fixture)

MIB = 1 << 20
SLOW = {"load": {"workers": 1}, "throttle": {"load": {"rows_per_s": 500}}}
TABLES = ("CREATE TABLE first (id int PRIMARY KEY, v text); CREATE TABLE victim (id int PRIMARY KEY, v text, w int);"
          " INSERT INTO first SELECT i, repeat('x', 500) FROM generate_series(1, 3000) i;"
          " INSERT INTO victim SELECT i, 'x', i FROM generate_series(1, 10) i")
CHANGES = {  # F70: the change, its undoing, and what is said
    "dropped": ("DROP TABLE victim", None, "was dropped or renamed"),
    "renamed": ("ALTER TABLE victim RENAME TO other", "ALTER TABLE other RENAME TO victim", "was dropped or renamed"),
    "replaced": ("ALTER TABLE victim RENAME TO other; CREATE TABLE victim (id int PRIMARY KEY, v text, w int)",
                 "DROP TABLE victim; ALTER TABLE other RENAME TO victim", "was dropped or renamed"),
    "column added": ("ALTER TABLE victim ADD more int", "ALTER TABLE victim DROP more", "changed its definition"),
    "column dropped": ("ALTER TABLE victim DROP w", None, "changed its definition"),
    "column renamed": ("ALTER TABLE victim RENAME v TO u", "ALTER TABLE victim RENAME u TO v", "changed its definition"),
}


def in_work(job):
    poll_until(lambda: (job.status()["totals"]["rows_copied"] or 0) > 100, "the first table is in work", every=0.05)


def goes_on(pair, job):
    job.start()
    job.wait_for("running")
    pair.wait_equal()


@pytest.mark.parametrize("change", CHANGES)
def test_a_table_that_changes_while_others_are_loaded(pair, change):
    """F70: never fewer rows or columns without a word."""
    pair.source.sql(TABLES)
    does, undoes, says = CHANGES[change]
    job = pair.job(**SLOW)
    process = job.start()
    in_work(job)
    pair.source.sql(does)
    job.call("set", "throttle.load.rows_per_s", "0")
    assert process.wait(40) == 5, process.err[-2000:]
    assert "public.victim" in process.err and says in process.err, process.err[-2000:]
    assert pair.target.one("SELECT count(*) FROM first") == 3000, "the other one is loaded"
    assert pair.target.one("SELECT count(*) FROM victim") == 0
    if undoes:
        pair.source.sql(undoes)
        goes_on(pair, job)
    else:
        again = job.run(timeout=40)
        assert again.exit == 5 and "public.victim" in again.err, again.err


def test_a_right_that_is_taken_away_while_others_are_loaded(pair):
    name, dsn = account(pair, pair.source, "REPLICATION")
    pair.source.sql(f"SET ROLE {name}; {TABLES}")
    job = pair.job(source_dsn=dsn, **SLOW)
    process = job.start()
    in_work(job)
    pair.source.sql(f"REVOKE SELECT ON victim FROM {name}")
    job.call("set", "throttle.load.rows_per_s", "0")
    assert process.wait(40) == 2 and "permission denied" in process.err and "victim" in process.err, process.err
    pair.source.sql(f"GRANT SELECT ON victim TO {name}")
    goes_on(pair, job)


def test_a_full_disk_at_the_target_is_waited_for_in_the_load(make_pair, small_disk):  # noqa: F811
    """F83: `status` says it; with room again the load goes on without a human."""
    pair = make_pair()
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE u (id int PRIMARY KEY);"
                    " INSERT INTO u SELECT generate_series(1, 100);"
                    " INSERT INTO t SELECT i, repeat(md5(i::text), 30) FROM generate_series(1, 12000) i")
    pair.target.server.sql(f"CREATE TABLESPACE small LOCATION '{small_disk}'")
    pair.target.sql("CREATE TABLE t (id int PRIMARY KEY, v text) TABLESPACE small; INSERT INTO t VALUES (-1, 'own')")
    job = pair.job(existing="truncate")
    process = job.start()
    poll_until(lambda: "No space left on device" in (job.status()["reason"] or ""), "status says so", 40, every=0.1)
    assert process.alive() and job.phase() == "full"
    assert pair.target.sql("SELECT id FROM t") == [(-1,)], "nothing of the load is there, nothing is gone"
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    job.wait_for("running", timeout=60)
    pair.wait_equal()


@pytest.mark.deadline(420)
def test_ten_thousand_tables(make_pair):
    """Checked, made, loaded and built within the memory that one table takes."""
    settings = {"max_locks_per_transaction": "1000", "shared_buffers": "256MB", "fsync": "off"}
    pair = make_pair(source=dict(settings), target=dict(settings))
    pair.source.sql("DO $$ BEGIN FOR i IN 1..10000 LOOP"
                    " EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, v text)', i);"
                    " EXECUTE format('INSERT INTO t%s VALUES (1, ''x'')', i);"
                    " IF i % 200 = 0 THEN COMMIT; END IF; END LOOP; END $$")
    job = pair.job()
    done = job.run("--json", "--until", "now", timeout=360)
    assert done.exit == 0, done.err[-3000:]
    result = done.json()
    print(f"\npeak {result['peak_rss_bytes'] / MIB:.0f} MiB, {result['seconds']:.0f} s")
    assert result["rows"] == 10000
    assert result["peak_rss_bytes"] < 128 * MIB
    assert pair.target.one("SELECT count(*) FROM pg_class WHERE relkind = 'i'"
                           " AND relnamespace = 'public'::regnamespace") == 10000
