"""The commands as a person or a script meets them."""
import json
import subprocess
import time
from pathlib import Path

import pytest

from harness.place import clean_environment, walferry_binary
from harness.poll import poll_until
from harness.server import lsn_number

TABLE = "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'x' FROM generate_series(1, 100) i"
STATUS_KEYS = {
    None: {"job", "phase", "state", "reason", "since", "source", "slot", "applied_lsn", "lag", "tables", "totals",
           "gear", "rss_bytes", "error", "builds", "throttle"},
    "source": {"system_identifier", "timeline", "lsn"},
    "slot": {"name", "confirmed_lsn", "restart_lsn", "wal_status", "safe_wal_bytes", "retained_bytes"},
    "lag": {"bytes", "ms", "stages"},
    "totals": {"rows_copied", "changes", "transactions", "bytes", "conflicts", "dead_letters", "left_out", "retries",
               "early", "early_given_up"},
}


def call(*arguments):
    return subprocess.run([str(walferry_binary()), *map(str, arguments)], capture_output=True, text=True, timeout=60,
                          env=clean_environment(), stdin=subprocess.DEVNULL)


@pytest.mark.asan
def test_status_of_a_running_and_of_a_stopped_job(pair):
    pair.source.sql(TABLE)
    job = pair.running_job()
    pair.source.sql("UPDATE t SET v = 'y'")
    job.drain(pair.source)
    status = job.status()
    for part, keys in STATUS_KEYS.items():
        assert keys <= (status if part is None else status[part]).keys(), part
    assert {"received_ms", "decoded_ms", "queued_ms", "applied_ms"} <= status["lag"]["stages"].keys()
    assert status["job"] == job.name and status["phase"] == "running" and status["state"] == "running"
    assert status["slot"]["name"] == job.slot and status["slot"]["wal_status"] == "reserved"
    assert status["totals"]["rows_copied"] == 100 and status["totals"]["changes"] >= 100
    table = [table for table in status["tables"] if table["name"] == "public.t"]
    assert len(table) == len(status["tables"]) == 1, "the heartbeat table is no captured table"
    assert {"name", "target", "state", "rows", "rows_estimated", "bytes"} <= table[0].keys()
    assert 0 <= status["lag"]["ms"] < 5000
    identifier = pair.source.one("SELECT system_identifier FROM pg_control_system()")
    assert str(status["source"]["system_identifier"]) == str(identifier)
    assert job.process.terminate() == 0
    stopped = job.status()
    assert stopped["state"] == "stopped" and stopped["phase"] == "running"
    assert lsn_number(stopped["applied_lsn"]) >= lsn_number(status["applied_lsn"])
    job.start()
    job.wait_for("running")
    job.process.kill9()
    assert job.status()["state"] == "stopped", "killed is stopped, too"
    text = job.call("status")
    assert text.exit == 0 and "running" in text.out


def test_stop_settles_and_ends_with_0(pair):
    bank = pair.bank().start()
    job = pair.running_job()
    assert job.call("stop").exit == 0
    assert job.process.wait(10) == 0
    bank.check_prefix(pair.target)
    again = job.call("stop")
    assert again.exit != 0 or "not running" in again.said, again.said


def test_set_changes_the_log_level_while_it_runs(pair):
    pair.source.sql(TABLE)
    job = pair.running_job()
    assert job.call("set", "log.level", "debug").exit == 0
    quiet = len(job.process.err)
    pair.source.sql("UPDATE t SET v = 'z'")
    job.drain(pair.source)
    assert job.call("set", "log.level", "error").exit == 0
    assert len(job.process.err) >= quiet
    wrong = job.call("set", "log.level", "loud")
    assert wrong.exit == 2 and "loud" in wrong.err
    unknown = job.call("set", "log.levle", "debug")
    assert unknown.exit == 2 and "log.level" in unknown.err
    assert job.process.alive()


def test_cleanup_removes_everything_and_twice_is_fine(pair):
    pair.source.sql(TABLE)
    job = pair.running_job()
    refused = job.call("cleanup")
    assert refused.exit == 2 and str(job.process.pid) in refused.err, "a running job is not cleaned up"
    assert job.process.terminate() == 0
    listed = job.call("cleanup", "--dry-run")
    assert listed.exit == 0 and job.slot in listed.said
    assert pair.source.slot(job.slot), "dry"
    assert job.call("cleanup").exit == 0
    assert pair.source.sql("SELECT slot_name FROM pg_replication_slots WHERE database = current_database()") == []
    assert pair.source.sql("SELECT pubname FROM pg_publication") == []
    assert pair.source.sql("SELECT relname FROM pg_class WHERE relname LIKE 'dts\\_%'") == []
    assert pair.target.sql("SELECT nspname FROM pg_namespace WHERE nspname = 'walferry'") == []
    assert pair.target.one("SELECT count(*) FROM t") == 100, "the copied tables stay"
    assert job.call("cleanup").exit == 0


def test_cleanup_of_a_job_that_never_ran(pair):
    assert pair.job().call("cleanup").exit == 0


def test_cleanup_killed_before_the_slot_goes_and_done_again(pair):
    pair.source.sql(TABLE)
    job = pair.running_job()
    assert job.process.terminate() == 0
    dying = job.call("cleanup", fault="slot.before_drop:kill")
    assert dying.exit == -9 and job.processes[-1].reached("slot.before_drop")
    assert job.call("cleanup").exit == 0
    assert pair.source.slot(job.slot) is None
    assert pair.target.sql("SELECT nspname FROM pg_namespace WHERE nspname = 'walferry'") == []


def test_init_writes_a_job_file_that_works(pair):
    pair.source.sql(TABLE)
    path = pair.directory / "made.yaml"
    made = call("init", "--source", pair.source.dsn(), "--target", pair.target.dsn(), "-o", path)
    assert made.returncode == 0, made.stderr
    text = path.read_text()
    assert "#" in text and "dsn" in text
    checked = call("check", path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    again = call("init", "--source", pair.source.dsn(), "--target", pair.target.dsn(), "-o", path)
    assert again.returncode == 2 and path.read_text() == text, "an existing file is not overwritten"


def test_until_now_ends_when_everything_is_there(pair):
    bank = pair.bank().start()
    job = pair.job()
    poll_until(lambda: bank.transactions() > 100, "traffic")
    for _ in range(2):
        due = bank.counters()
        done = job.run("--until", "now")
        assert done.exit == 0, done.err
        there = bank.check_prefix(pair.target)
        assert all(there[writer] >= seq for writer, seq in due.items()), "all from before the command is there"
        assert pair.source.slot(job.slot), "the slot stays"
    bank.pause_writers()
    assert job.run("--until", "now").exit == 0
    pair.check_equal()


def test_until_a_position_applies_nothing_beyond(pair):
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY)")
    job = pair.job()
    assert job.run("--until", "now").exit == 0
    pair.source.sql("INSERT INTO t VALUES (1)")
    upto = pair.source.one("SELECT pg_current_wal_lsn()")
    pair.source.sql("INSERT INTO t VALUES (2)")
    done = job.run("--until", upto)
    assert done.exit == 0, done.err
    assert pair.target.sql("SELECT id FROM t ORDER BY 1") == [(1,)]
    assert job.run("--until", "now").exit == 0
    assert pair.target.sql("SELECT id FROM t ORDER BY 1") == [(1,), (2,)]


def test_until_needs_the_stream(pair):
    pair.source.sql(TABLE)
    done = pair.job(phases=["schema", "full"]).run("--until", "now")
    assert done.exit == 2 and "until" in done.err


def test_run_json_is_one_document(pair):
    pair.source.sql(TABLE)
    done = pair.job().run("--until", "now", "--json")
    assert done.exit == 0, done.err
    report = done.json()
    assert {"phase", "rows", "changes", "transactions", "bytes", "seconds", "lag_ms", "peak_rss_bytes", "applied_lsn",
            "exit"} <= report.keys()
    assert report["rows"] == 100 and report["exit"] == 0
    broken = pair.job(name="other", folder="broken", source_dsn=pair.source.dsn(database="nowhere")).run("--json")
    assert broken.exit == 2 and json.loads(broken.out)["exit"] == 2


def test_flags_alone_are_enough(pair):
    pair.source.sql(TABLE)
    environment = clean_environment(XDG_RUNTIME_DIR=str(pair.directory), XDG_STATE_HOME=str(pair.directory))
    done = subprocess.run([walferry_binary(), "run", "--source", pair.source.dsn(), "--target", pair.target.dsn(),
                           "--set", f"name={pair.name}", "--until", "now"], capture_output=True, text=True, timeout=60,
                          env=environment, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    pair.check_equal()


def test_help_version_and_mistakes():
    alone = call()
    assert alone.returncode == 0 and "walferry run" in alone.stdout and len(alone.stdout.splitlines()) <= 20
    assert call("--version").stdout.split()[0] == "walferry"
    for command in ("run", "check", "status", "stop", "set", "cleanup", "init"):
        told = call(command, "--help")
        assert told.returncode == 0 and "usage" in told.stdout.lower(), command
    unknown = call("rnu")
    assert unknown.returncode == 2 and "run" in unknown.stderr
    assert call("run", "--no-such-flag").returncode == 2
    later = call("cutover", "x.yaml")
    assert later.returncode == 2 and "not available yet" in later.stderr


def test_secrets_are_seen_nowhere(pair):
    """Not in the process list, not in logs, not in the status."""
    secret = "s3cr3t-W0rd"
    pair.source.sql(TABLE)
    server = pair.source.server
    server.sql("DO $$ BEGIN CREATE ROLE locked LOGIN SUPERUSER; EXCEPTION WHEN duplicate_object THEN END $$")
    server.sql(f"ALTER ROLE locked PASSWORD '{secret}'")
    try:
        job = pair.job(source_dsn=pair.source.dsn(user="locked", password=secret), log={"level": "debug"})
        job.start(fault="snapshot.after_export:sleep:300")
        seen = set()
        while not job.process.reached("snapshot.after_export") or len(seen) < 1:
            seen |= command_lines()
            assert job.process.alive(), job.process.err
        job.wait_for("running")
        seen |= command_lines()
        assert not [line for line in seen if secret in line]
        assert secret not in job.process.err + job.process.out + json.dumps(job.status()) + job.call("status").out
    finally:
        server.sql("ALTER ROLE locked PASSWORD 'right'")


def command_lines():
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            pass
    return found


def test_log_lines_as_json(pair):
    pair.source.sql(TABLE)
    done = pair.job(log={"format": "json"}).run("--until", "now")
    assert done.exit == 0
    lines = [line for line in done.err.splitlines() if line.startswith("{")]
    assert lines and all(isinstance(json.loads(line), dict) for line in lines)


def test_log_reader_that_stops_reading_does_not_stop_the_job(pair):
    """F09: lines are dropped, the stream goes on."""
    bank = pair.bank().start()
    job = pair.job(log={"level": "debug"})
    process = subprocess.Popen([walferry_binary(), "run", job.file], env=job._environment(None, None, None),
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        poll_until(lambda: job.phase() == "running", "it runs", 60, every=0.2)
        time.sleep(2)
        bank.pause_writers()
        pair.wait_equal()
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
