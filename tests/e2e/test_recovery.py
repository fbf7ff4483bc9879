"""Starts that go wrong: crashes in recovery, a record from the future, a full disk under the log."""
import os
import subprocess

import pytest

from harness.place import walferry_binary
from harness.poll import poll_until

TABLE = "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'x' FROM generate_series(1, 10) i"


@pytest.mark.parametrize("point", ["apply.before_progress_read", "apply.after_commit", "ledger.after_durable",
                                   "source.before_feedback"])
def test_crash_in_recovery_three_times_in_a_row(pair, point):
    """F10: a start that is killed at the same place again and again changes nothing, and the next one goes on."""
    pair.source.sql("CREATE TABLE plain (n int); ALTER TABLE plain REPLICA IDENTITY FULL")
    bank = pair.bank().start()
    job = pair.running_job()
    job.process.kill9()
    for number in range(3):
        pair.source.sql("INSERT INTO plain SELECT %s * 1000 + i FROM generate_series(1, 200) i", (number,))
        process = job.start(fault=f"{point}:kill@1")
        assert process.wait(60) == -9 and process.reached(point)
        bank.check_prefix(pair.target)
    job.start()
    job.wait_for("running")
    bank.pause_writers()
    pair.wait_equal()
    assert pair.target.one("SELECT count(*) FROM plain") == 600


def test_record_of_a_newer_format_is_refused_with_a_sentence(pair):
    """F11: by check and by run, before anything is touched; the version that wrote it goes on."""
    pair.source.sql(TABLE)
    job = pair.running_job()
    assert job.process.terminate() == 0
    before = pair.source.slot(job.slot)[0]
    written = pair.target.one("SELECT format FROM walferry.job")
    pair.target.sql("UPDATE walferry.job SET format = format + 1")
    pair.source.sql("UPDATE t SET v = 'y'")
    done = job.run()
    assert done.exit == 2
    assert "written by a newer walferry" in done.err and "hint: run it with the newer version" in done.err
    assert job.call("check").exit == 1
    assert pair.source.slot(job.slot)[0] == before
    assert pair.target.sql("SELECT DISTINCT v FROM t") == [("x",)]
    pair.target.sql("UPDATE walferry.job SET format = %s", (written,))
    job.start()
    pair.wait_equal()


def end_sessions(pair):
    pair.target.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s",
                    (f"walferry_{pair.name}",))


def test_log_disk_full_does_not_stop_the_job(pair, place):
    """F09: lines are lost; the stream goes on, and writes lines again when there is room."""
    folder = place.folder(f"log{os.urandom(3).hex()}")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder], check=True)
    try:
        bank = pair.bank().start()
        job = pair.job(log={"level": "debug"})
        with open(folder / "log", "wb") as log:
            process = subprocess.Popen([walferry_binary(), "run", job.file], env=job._environment(None, None, None),
                                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)
        try:
            poll_until(lambda: job.phase() == "running", "it runs", 60, every=0.2)
            with open(folder / "filler", "wb", buffering=0) as filler:
                with pytest.raises(OSError):
                    while True:
                        filler.write(b"x" * 4096)
            seen = (folder / "log").stat().st_size
            end_sessions(pair)
            poll_until(lambda: job.status()["totals"]["retries"] > 0, "it has something to say")
            poll_until(lambda: job.status()["state"] == "running", "it goes on", 30)
            bank.pause_writers()
            pair.wait_equal()
            assert process.poll() is None
            assert (folder / "log").stat().st_size - seen < 4096, "the disk was full"
            (folder / "filler").unlink()
            end_sessions(pair)
            poll_until(lambda: (folder / "log").stat().st_size > seen + 4096 or b"trying again" in
                       (folder / "log").read_bytes()[seen:], "lines are written again", 30)
        finally:
            process.kill()
            process.wait()
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
