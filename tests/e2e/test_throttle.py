"""The limits of the load: kept to by all workers together, and changed while it runs."""
import time

import pytest

from harness.poll import poll_until

MANY = "".join(f"CREATE TABLE t{n} (id int PRIMARY KEY, v text);"
               f" INSERT INTO t{n} SELECT i, repeat('x', 100) FROM generate_series(1, 3000) i;" for n in range(4))


def copied(job):
    return job.status()["totals"]["rows_copied"] or 0


@pytest.mark.parametrize("limit, value, least_s", [("rows_per_s", 4000, 2.5), ("bytes_per_s", "500KiB", 2.0),
                                                   ("queries_per_s", 10, 2.5)])
def test_a_limit_holds_for_all_workers_together(pair, limit, value, least_s):
    """12,000 rows, 1.3 MB and 32 queries: a limit of each worker's own would be done in a quarter of the time."""
    pair.source.sql(MANY)
    job = pair.job(load={"workers": 4}, phases=["schema", "full"], throttle={"load": {limit: value}})
    process = job.start()
    poll_until(lambda: "] full" in process.err or " full\n" in process.err, "the load begins", every=0.02)
    begun = time.monotonic()
    poll_until(lambda: copied(job) >= 12000 or not process.alive(), "all rows are copied", every=0.05)
    assert time.monotonic() - begun >= least_s
    assert process.wait() == 0
    pair.check_equal()


@pytest.mark.asan
def test_set_changes_the_limit_while_the_load_runs(pair):
    pair.source.sql(MANY)
    job = pair.job(load={"workers": 2}, throttle={"load": {"rows_per_s": 200}})
    job.start()
    poll_until(lambda: copied(job) > 0, "the load is under way", every=0.05)
    assert job.status()["throttle"] == {"load": {"queries_per_s": 0, "rows_per_s": 200, "bytes_per_s": 0},
                                        "apply": {"rows_per_s": 0, "bytes_per_s": 0}}
    shown = job.call("status")
    assert "limits" in shown.out and "200 rows/s" in shown.out, shown.out
    before = copied(job)
    for key, value, words in (("throttle.load.rows_per_s", "many", "a number of 0 to"), ("load.workers", "2", "only"),
                              ("throttle.load.rows_per_sec", "1", "no option"),
                              ("throttle.load.bytes_per_s", "10", "a size of")):
        wrong = job.call("set", key, value)
        assert wrong.exit == 2 and key in wrong.err and words in wrong.err, wrong.err
    assert copied(job) < 6000, "at 200 rows a second the rest takes most of a minute"
    assert job.call("set", "throttle.load.rows_per_s", "0").exit == 0
    job.wait_for("running", timeout=20)
    assert job.status()["throttle"]["load"]["rows_per_s"] == 0
    assert before < 6000
    pair.check_equal()


def test_a_limited_load_stops_at_once(pair):
    pair.source.sql(MANY)
    job = pair.job(throttle={"load": {"rows_per_s": 1, "queries_per_s": 1}})
    process = job.start()
    poll_until(lambda: job.phase() == "full", "the load is under way", every=0.05)
    begun = time.monotonic()
    assert process.terminate() == 0
    assert time.monotonic() - begun < 3


# ---- apply ----

SMALL = "CREATE TABLE t (id int PRIMARY KEY, v text)"


def many(pair, transactions, rows):
    connection = pair.source.connect()
    cursor = connection.cursor()
    for number in range(transactions):
        cursor.execute("INSERT INTO t SELECT %s + i, repeat('x', 100) FROM generate_series(1, %s) i", (number * rows, rows))
    connection.close()


def arrived(pair):
    return pair.target.one("SELECT count(*) FROM t")


@pytest.mark.parametrize("limit, value, least_s", [("rows_per_s", 500, 2.5), ("bytes_per_s", "50KiB", 2.5)])
def test_a_limit_of_the_changes_holds(pair, limit, value, least_s):
    """1,500 rows, 155 kB, in small transactions; there is never more than the limit has allowed."""
    pair.source.sql(SMALL)
    job = pair.running_job(throttle={"apply": {limit: value}})
    many(pair, 150, 10)
    begun = time.monotonic()
    seen = []
    poll_until(lambda: seen.append((time.monotonic() - begun, arrived(pair))) or seen[-1][1] == 1500, "all is applied", every=0.1)
    assert seen[-1][0] >= least_s, seen
    assert all(count <= 600 * passed + 350 for passed, count in seen), seen
    assert len({count for _, count in seen}) > 5, "little by little"
    pair.check_equal()


def test_set_changes_the_limit_of_the_changes_and_the_source_is_told_meanwhile(make_pair):
    pair = make_pair(source={"wal_sender_timeout": "2s"})
    pair.source.sql(SMALL)
    job = pair.running_job(throttle={"apply": {"rows_per_s": 20}})
    many(pair, 300, 10)
    poll_until(lambda: arrived(pair) > 0, "it is under way")
    time.sleep(5)  # more than twice the source's patience
    assert job.status()["totals"]["retries"] == 0 and pair.source.slot(job.slot)[2]
    assert arrived(pair) < 400
    shown = job.call("status")
    assert "limits" in shown.out and "20 rows/s" in shown.out, shown.out
    assert job.status()["throttle"]["apply"] == {"rows_per_s": 20, "bytes_per_s": 0}
    assert job.call("set", "throttle.apply.rows_per_s", "0").exit == 0
    job.drain(pair.source, timeout=15)
    pair.check_equal()
    assert job.status()["totals"]["retries"] == 0


@pytest.mark.parametrize("rows", [1, 20000], ids=["small", "large"])
def test_a_limited_apply_stops_at_once_and_goes_on_exactly(make_pair, rows):
    """Also in the middle of a transaction that comes in pieces, of which nothing is left then."""
    pair = make_pair(source={"logical_decoding_work_mem": "64kB"})
    pair.source.sql(SMALL)
    job = pair.running_job(throttle={"apply": {"rows_per_s": 5}})
    many(pair, 200 if rows == 1 else 3, rows)
    poll_until(lambda: job.status()["phase"] != "running" or arrived(pair) > 0 or rows > 1, "it is under way")
    time.sleep(1)
    begun = time.monotonic()
    assert job.process.terminate() == 0
    assert time.monotonic() - begun < 5
    assert arrived(pair) < (150 if rows == 1 else rows + 1)
    assert arrived(pair) % rows == 0
    job.rewrite({"throttle": {"apply": {"rows_per_s": 0}}})
    job.start()
    job.wait_for("running")
    job.drain(pair.source)
    pair.check_equal()
