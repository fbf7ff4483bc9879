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
    assert job.status()["throttle"] == {"load": {"queries_per_s": 0, "rows_per_s": 200, "bytes_per_s": 0}}
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
