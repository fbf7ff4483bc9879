"""One instance of a job at a time, whatever the others believe."""
import os
import signal

import pytest

from harness.poll import poll_until, poll_while


def test_second_instance_ends_and_names_the_first(pair):
    """F05."""
    bank = pair.bank().start()
    job = pair.running_job()
    second = job.call("run")
    assert second.exit == 2, second.err
    job.process = job.processes[0]
    assert str(job.process.pid) in second.err, f"host, pid and start are missing: {second.err}"
    bank.pause_writers()
    pair.wait_equal()
    assert job.process.alive()


@pytest.mark.deadline(180)
def test_second_instance_on_another_machine_ends_and_names_the_first(make_pair):
    """F05 without the help of the control socket: slot and lock alone keep it out."""
    pair = make_pair(source={"wal_sender_timeout": "2s"})
    bank = pair.bank().start()
    job = pair.running_job()
    elsewhere = pair.job(folder="elsewhere")
    second = elsewhere.run(timeout=60)
    assert second.exit == 2, second.err
    assert str(job.process.pid) in second.err or str(pair.source.slot(job.slot)[2]) in second.err, second.err
    bank.pause_writers()
    pair.wait_equal()
    assert job.process.alive()


@pytest.mark.deadline(180)
def test_trap_A6_zombie_writes_nothing_more(make_pair):
    """F04: stopped for longer than wal_sender_timeout; a second instance takes over; the first wakes up."""
    pair = make_pair(source={"wal_sender_timeout": "2s"})
    pair.source.sql("CREATE TABLE plain (n bigint, v text); ALTER TABLE plain REPLICA IDENTITY FULL")
    bank = pair.bank().start()
    job = pair.running_job()
    pair.source.sql("INSERT INTO plain SELECT i, 'in flight' FROM generate_series(1, 20000) i")
    os.kill(job.process.pid, signal.SIGSTOP)
    second = pair.job(folder="second")
    second.start()
    second.wait_for("running", timeout=60)
    pair.source.sql("INSERT INTO plain SELECT i, 'second' FROM generate_series(1, 1000) i")
    os.kill(job.process.pid, signal.SIGCONT)
    job.process.wait(30)
    assert job.process.popen.returncode != 0, "it did not end because it was done"
    bank.pause_writers()
    pair.wait_equal()
    bank.check_prefix(pair.target)
    assert pair.target.one("SELECT count(*) FROM plain") == 21000, "no row twice in a table without a key"
    assert second.process.alive()


def test_instance_that_was_killed_is_replaced_at_once(pair):
    """Left-over socket, left-over backends, left-over spill: none of them keeps the next one out (F12)."""
    bank = pair.bank().start()
    job = pair.running_job()
    for _ in range(4):
        job.process.kill9()
        job.start()
        job.wait_for("catching-up", timeout=20)
        bank.check_prefix(pair.target)
    bank.pause_writers()
    pair.wait_equal()


def test_two_jobs_of_one_source_do_not_know_each_other(pair, other_server):
    bank = pair.bank().start()
    first = pair.running_job()
    target = other_server.database(pair.name)
    second = pair.job(name=f"{pair.name}b", target_dsn=target.dsn())
    second.start()
    second.wait_for("running")
    poll_while(lambda: first.process.alive() and second.process.alive(), "both run", 1)
    bank.pause_writers()
    pair.wait_equal()
    from harness.oracle import wait_equal
    wait_equal(pair.source, target)
    assert second.process.terminate() == 0
    assert second.call("cleanup").exit == 0
    pair.source.sql("UPDATE counters SET seq = seq + 0")
    pair.wait_equal()
    poll_until(lambda: pair.source.sql("SELECT 1 FROM dts_postgres_heartbeat WHERE job = %s", (pair.name,)),
               "the other job's heartbeat stays (B10)")
