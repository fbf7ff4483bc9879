"""The retry windows: how long a run goes on without progress, and that `status` says why."""
import time

from harness.poll import poll_until, poll_while

TABLE = "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0)"
# Refuses every change of rows with an error that passes by itself, while connections work: 25006.
CLOSE = ("CREATE FUNCTION close() RETURNS trigger LANGUAGE plpgsql AS"
         " $$ BEGIN RAISE EXCEPTION 'closed for now' USING ERRCODE = '{0}'; END $$;"
         " CREATE TRIGGER close BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION close(); ALTER TABLE t ENABLE ALWAYS TRIGGER close")
OPEN = "DROP TRIGGER close ON t; DROP FUNCTION close()"


def retries(job):
    status = job.status()
    return status["state"] == "retrying" and "closed for now" in (status["reason"] or "")


def test_other_errors_have_the_shorter_window(pair):
    """Exit 6 with a hint that names the option, within it and not long behind it."""
    pair.source.sql(TABLE)
    job = pair.running_job(retry={"connection": "60s", "other": "3s"})
    pair.target.sql(CLOSE.format("25006"))
    pair.source.sql("UPDATE t SET v = 1")
    begun = time.monotonic()
    poll_until(lambda: retries(job), "status says that it is retrying, and why", every=0.02)
    assert job.process.wait(30) == 6
    passed = time.monotonic() - begun
    assert 2.5 <= passed < 20, passed
    assert "retry.other" in job.process.err and "closed for now" in job.process.err
    pair.target.sql(OPEN)
    job.start()
    job.wait_for("running")
    pair.wait_equal()


def test_a_window_begins_anew_after_progress(pair):
    """Trouble that is longer than the window in all, but with something applied between."""
    pair.source.sql(TABLE)
    job = pair.running_job(retry={"connection": "60s", "other": "4s"})
    begun = time.monotonic()
    for number in range(1, 4):
        pair.target.sql(CLOSE.format("25006"))
        pair.source.sql("UPDATE t SET v = %s", (number,))
        poll_until(lambda: retries(job), "it is retrying", every=0.02)
        poll_while(lambda: job.process.alive(), "it goes on", 2)
        pair.target.sql(OPEN)
        poll_until(lambda: pair.target.one("SELECT v FROM t") == number, "there is progress")
    assert time.monotonic() - begun > 4 and job.process.alive()
    assert job.status()["totals"]["retries"] >= 3
    job.wait_for("running")
    pair.check_equal()


def test_a_full_disk_and_locks_are_no_conflicts(pair):
    """F83: what passes by itself is retried under every policy, and nothing is left out for it."""
    pair.source.sql(TABLE)
    job = pair.running_job(conflicts="skip", retry={"connection": "60s", "other": "60s"})
    for number, code in enumerate(("53100", "25006", "55P03", "57014", "40001", "53300"), 1):
        pair.target.sql(CLOSE.format(code))
        pair.source.sql("UPDATE t SET v = %s", (number,))
        poll_until(lambda: retries(job), f"{code} is retried", every=0.02)
        pair.target.sql(OPEN)
        poll_until(lambda: pair.target.one("SELECT v FROM t") == number, "it goes on by itself")
    assert job.call("dead-letters", "--json").json()["count"] == 0
    assert job.status()["totals"]["conflicts"] == 0


def test_a_lost_connection_has_the_longer_window(make_pair):
    """The shorter one does not count while the server is away, and a stop is heard while it waits."""
    pair = make_pair()
    pair.source.sql(TABLE)
    job = pair.running_job(retry={"connection": "60s", "other": "1s"})
    pair.target.server.kill9()
    poll_until(lambda: job.status()["state"] == "retrying", "it is noticed")
    poll_while(lambda: job.process.alive(), "longer than retry.other", 3)
    pair.target.server.start()
    pair.source.sql("UPDATE t SET v = 1")
    poll_until(lambda: job.status()["state"] == "running", "it goes on", 40)
    pair.wait_equal()
    pair.target.server.stop("immediate")
    poll_until(lambda: job.status()["state"] == "retrying", "it is noticed")
    assert job.process.terminate() == 0
    pair.target.server.start()


def test_server_that_goes_down_while_the_run_begins_is_waited_for(pair):
    """Its check is in the midst of its questions then: as with a server that is not up yet, `--wait` says how long."""
    pair.source.sql(TABLE)
    proxy = pair.proxy(pair.source.server)
    job = pair.job(source={"dsn": pair.source.dsn(port=proxy.port)})
    proxy.tell("cut down 2000")
    process = job.start("--wait", "20s")
    poll_until(lambda: proxy.stats()["total"] >= 2, "it has tried again", 15)
    proxy.tell("clear")
    job.wait_for("running")
    assert process.terminate() == 0
    proxy.tell("cut down 2000")
    job.start("--wait", "1s")
    assert job.process.wait(20) == 6, job.process.err
    assert "check failed: source-connection" in job.process.err
