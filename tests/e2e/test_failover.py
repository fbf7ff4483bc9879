"""A source that is promoted, set back or replaced: either nothing is lost and nothing comes twice, or exit 3 says what
is safe."""
import subprocess

import pytest

from harness.place import postgres_bin
from harness.poll import poll_until, poll_while
from harness.server import lsn_number
from harness.standby import (basebackup, database_at, disk_keep, disk_set_back, dsn_of_both, make_standby, new_timeline,
                             promote, wait_replayed, wait_synced)

TABLE = "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'x' FROM generate_series(1, 50) i"
FILL = ("CREATE TABLE IF NOT EXISTS filler (v text);"
        " INSERT INTO filler SELECT repeat(md5(i::text), 30) FROM generate_series(1, 20000) i")
KEEPS_COMMITS = {"synchronous_standby_names": "standby"}


def pair_of(make_pair, version, **settings):
    return make_pair(source={"version": version} | settings, target={"version": version})


def job_at(pair, dsn, **config):
    tool = {"schema": {"pg_dump": str(postgres_bin(18) / "pg_dump")}} if pair.source.server.version else {}
    return pair.job(source_dsn=dsn, **tool, **config)


def running_at(pair, dsn, phase="running", **config):
    job = job_at(pair, dsn, **config)
    job.start()
    job.wait_for(phase)
    return job


def lost(result, *words):
    assert result.exit == 3, f"exit {result.exit}: {result.err}"
    for word in (*words, "is at the target", "hint:", "walferry cleanup"):
        assert word in result.err, f"{word!r} is not in the sentence: {result.err}"


def no_slot_on(server):
    assert server.slots() == set(), "a slot was made"


def more_traffic(bank, count=100):
    before = bank.transactions()
    poll_until(lambda: bank.transactions() > before + count, "traffic")


# ---- F35: a synchronized slot, 17 and newer ----

@pytest.mark.parametrize("way", ["kill", "stop"])
def test_failover_to_a_synchronized_slot_goes_on_by_itself(make_pair, way):
    """F35. Commits wait for the standby, so whatever a writer saw committed must arrive."""
    pair = pair_of(make_pair, 18 if way == "kill" else 17)
    bank = pair.bank()
    standby = make_standby(pair)
    primary = pair.source.server
    primary.configure(KEEPS_COMMITS | {"synchronized_standby_slots": "standby"})
    primary.reload()
    bank.start()
    job = job_at(pair, dsn_of_both(pair, standby))
    watcher = pair.watcher(bank, job)
    job.start()
    job.wait_for("running")
    assert primary.one("SELECT failover FROM pg_replication_slots WHERE slot_name = %s", (job.slot,))
    watcher.watch()
    wait_synced(pair, standby, job.slot)
    more_traffic(bank)
    primary.kill9() if way == "kill" else primary.stop()
    assert job.process.alive()
    promote(pair, standby)
    standby.sql("ALTER SYSTEM RESET synchronous_standby_names")
    standby.sql("ALTER SYSTEM RESET synchronized_standby_slots")
    standby.reload()
    more_traffic(bank, 200)
    bank.check_prefix(pair.target)
    bank.pause_writers()
    job.drain(pair.source)
    pair.check_equal()
    watcher.check()
    assert watcher.looks > 10
    assert job.status()["source"]["timeline"] == 2
    assert job.process.alive() and "gone from timeline 1 to 2" in job.process.err
    assert job.process.terminate() == 0
    assert job.status()["source"]["timeline"] == 2, "the record names the new timeline, too"
    job.start()
    bank.resume_writers()
    job.wait_for("running")
    bank.pause_writers()
    job.drain(pair.source)
    pair.check_equal()


def test_nothing_reaches_the_target_that_the_standby_does_not_have(make_pair):
    """F35 with an asynchronous standby: synchronized_standby_slots holds the stream back. What the standby never got
    is lost to the users, and was never at the target."""
    pair = pair_of(make_pair, 18)
    bank = pair.bank(lossy=True)
    standby = make_standby(pair)
    primary = pair.source.server
    primary.configure({"synchronized_standby_slots": "standby"})
    primary.reload()
    bank.start()
    job = running_at(pair, dsn_of_both(pair, standby))
    wait_synced(pair, standby, job.slot)
    more_traffic(bank)

    def is_held_back():  # applied is asked first: what the standby has only grows
        return job.applied() <= lsn_number(primary.one(
            "SELECT restart_lsn FROM pg_replication_slots WHERE slot_name = 'standby'"))
    poll_while(is_held_back, "the target has no more than the standby", 1)
    standby.stop()
    more_traffic(bank, 50)
    bank.pause_writers()
    poll_while(is_held_back, "the target has no more than the standby", 1)
    assert sum(bank.check_prefix(pair.target).values()) < sum(bank.counters().values())
    primary.kill9()
    standby.configure({"synchronized_standby_slots": ""})
    standby.start()
    promote(pair, standby)
    bank.resume_writers()
    more_traffic(bank)
    bank.pause_writers()
    job.drain(pair.source)
    pair.check_equal()
    bank.check_prefix(pair.target)
    assert "gone from timeline 1 to 2" in job.process.err


def test_trap_A9_killed_around_the_record_of_a_new_timeline(make_pair):
    """Before it the next start decides the same again; after it the new timeline is the known one."""
    pair = make_pair()
    pair.source.sql(TABLE)
    job = pair.running_job()
    assert job.process.terminate() == 0
    new_timeline(pair.source.server)
    pair.source.sql("INSERT INTO t VALUES (1000, 'on timeline 2')")
    for point, recorded in (("timeline.before_record", 1), ("timeline.after_record", 2)):
        process = job.start(fault=f"{point}:kill")
        assert process.wait(30) == -9 and process.reached(point)
        assert job.status()["source"]["timeline"] == recorded
        assert pair.target.sql("SELECT 1 FROM t WHERE id = 1000") == []
    job.start()
    job.wait_for("running")
    assert "gone from timeline" not in job.process.err
    pair.wait_equal()


def test_trap_A9_the_file_sink_follows_by_its_own_record(make_pair):
    """Two sinks: killed when one record has moved and the other has not."""
    pair = make_pair()
    pair.source.sql(TABLE)
    path = pair.directory / "changes.jsonl"
    job = pair.running_job(file={"path": str(path)})
    assert job.process.terminate() == 0
    new_timeline(pair.source.server)
    process = job.start(fault="timeline.before_record:kill@2")
    assert process.wait(30) == -9 and process.reached("timeline.before_record")
    assert '"timeline": 1' in (position := path.with_name("changes.jsonl.position")).read_text()
    assert job.status()["source"]["timeline"] == 2
    job.start()
    job.wait_for("running")
    pair.source.sql("INSERT INTO t VALUES (1000, 'on timeline 2')")
    job.drain(pair.source)
    pair.check_equal()
    assert '"timeline": 2' in position.read_text()
    assert path.read_text().count("on timeline 2") == 1


def test_trap_A9_several_timelines_at_once(make_pair):
    pair = make_pair()
    pair.source.sql(TABLE)
    job = pair.running_job()
    assert job.process.terminate() == 0
    for number in range(2, 5):
        new_timeline(pair.source.server)
        pair.source.sql("INSERT INTO t VALUES (%s, 'on a new timeline')", (1000 + number,))
    job.start()
    job.wait_for("running")
    assert job.status()["source"]["timeline"] == 4
    new_timeline(pair.source.server)  # under its eyes
    pair.source.sql("INSERT INTO t VALUES (2000, 'on the last timeline')")
    poll_until(lambda: "gone from timeline 4 to 5" in job.process.err, "it follows while running")
    pair.wait_equal()
    assert job.status()["source"]["timeline"] == 5


@pytest.mark.parametrize("forks", ["behind", "before"])
def test_trap_A9_idle_positions_and_a_new_timeline(make_pair, forks):
    """With heartbeat: 0 the slot rightly stands beyond what is applied. Up to the fork that stays so; a promise beyond
    the fork is no promise of the new timeline. (Older servers forget such a position when they stop.)"""
    pair = pair_of(make_pair, 17)
    server = pair.source.server
    pair.source.sql(TABLE)
    busy = server.database("busy")
    job = running_at(pair, pair.source.dsn(), "catching-up", source={"heartbeat": 0})
    behind = None
    if forks == "before":
        assert job.process.terminate() == 0
        server.stop()
        behind = disk_keep(server)
        server.start()
        job.start()
        job.wait_for("catching-up")
    busy.sql(FILL)
    busy.sql(FILL)
    end = pair.source.lsn()
    poll_until(lambda: pair.source.slot(job.slot)[0] >= end - (17 << 20), "idle WAL is confirmed", 45, every=0.2)
    confirmed = pair.source.slot(job.slot)[0]
    assert job.process.terminate() == 0
    assert lsn_number(job.status()["applied_lsn"]) < confirmed

    def set_back():
        if behind:
            disk_set_back(server, behind)
    new_timeline(server, set_back)
    if behind:
        busy.sql(FILL)  # the new timeline's own positions, still below the old promise
        pair.source.sql("INSERT INTO t VALUES (1000, 'passes')")
        pair.source.sql("SELECT pg_drop_replication_slot(%s)", (job.slot,))
        pair.source.sql("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (job.slot,))
        assert pair.source.slot(job.slot)[0] < confirmed
        lost(job.run(), job.slot, "beyond")
        return
    pair.source.sql("INSERT INTO t VALUES (1000, 'passes')")
    assert pair.source.slot(job.slot)[0] > lsn_number(job.status()["applied_lsn"])
    job.start()
    pair.wait_equal()


def test_trap_A2_a_table_loaded_beyond_the_fork(make_pair):
    """Applied lies before the fork, a later snapshot does not: the table has what the new timeline never had."""
    pair = make_pair()
    server = pair.source.server
    pair.source.sql(TABLE + "; CREATE TABLE big AS SELECT i AS id, repeat('y', 500) AS v FROM generate_series(1, 20000) i;"
                    " ALTER TABLE big ADD PRIMARY KEY (id)")
    job = pair.job(load={"workers": 1})
    process = job.start(fault="snapshot.mid_table:kill")
    assert process.wait(60) == -9
    server.stop()
    behind = disk_keep(server)
    server.start()
    pair.source.sql("INSERT INTO t VALUES (1000, 'only here'); INSERT INTO big VALUES (0, 'only here')")
    process = job.start(fault="apply.before_progress_read:kill")  # loaded, and nothing is streamed yet
    assert process.wait(60) == -9 and process.reached("apply.before_progress_read")
    assert pair.target.one("SELECT count(*) FROM t WHERE id = 1000") == 1

    new_timeline(server, lambda: disk_set_back(server, behind))
    lost(job.run(), "the destination is ahead of this server by")


# ---- F36, F37, F38: what cannot go on ----

@pytest.mark.parametrize("version", [None, 18])
def test_promoted_standby_without_the_slot(make_pair, version):
    """F36: the slot is named, and none is made at the position of now."""
    pair = pair_of(make_pair, version)
    bank = pair.bank()
    standby = make_standby(pair, synced=False)
    bank.start()
    job = running_at(pair, dsn_of_both(pair, standby))
    more_traffic(bank, 30)
    bank.pause_writers()
    job.drain(pair.source)  # a server that stops is not held up for the rest
    pair.source.server.stop()
    promote(pair, standby)
    assert job.process.wait(60) == 3
    applied = job.status()["applied_lsn"]
    result = job.run()
    lost(result, f'slot "{job.slot}" does not exist', "had not synchronized it", f"everything up to {applied} ")
    no_slot_on(standby)
    pair.check_equal()


def test_promoted_standby_that_is_behind_the_target(make_pair):
    """F37: the stream was faster than the standby, and no synchronized_standby_slots held it back."""
    pair = pair_of(make_pair, 18)
    pair.source.sql(TABLE)
    standby = make_standby(pair)
    job = running_at(pair, dsn_of_both(pair, standby))
    wait_synced(pair, standby, job.slot)
    standby.stop()
    pair.source.sql("INSERT INTO t VALUES (1000, 'only at the target')")
    job.drain(pair.source)
    pair.source.server.kill9()
    standby.start()
    promote(pair, standby)
    pair.source.sql("INSERT INTO t VALUES (1001, 'must not arrive')")
    assert job.process.wait(60) == 3
    assert "the destination is ahead of this server by" in job.process.err
    result = job.run()
    lost(result, "the destination is ahead of this server by", "bytes", "timeline 2",
         f"everything up to {job.status()['applied_lsn']} ")
    assert pair.target.sql("SELECT id FROM t WHERE id >= 1000") == [(1000,)]
    pair.source.sql("SELECT pg_drop_replication_slot(%s)", (job.slot,))
    pair.source.sql("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", (job.slot,))
    lost(job.run(), "the destination is ahead of this server by")  # a slot put there does not help


def test_the_old_primary_comes_back(make_pair):
    """The job has followed the standby; behind the first host there is the old timeline again."""
    pair = pair_of(make_pair, 18)
    pair.source.sql(TABLE)
    standby = make_standby(pair)
    old = pair.source.server
    dsn = dsn_of_both(pair, standby)
    job = running_at(pair, dsn)
    wait_synced(pair, standby, job.slot)
    old.stop()
    promote(pair, standby)
    pair.source.sql("INSERT INTO t VALUES (1000, 'on timeline 2')")
    job.drain(pair.source)
    assert job.process.terminate() == 0
    old.start()
    database_at(old, pair).sql("INSERT INTO t VALUES (1001, 'split brain')")
    lost(job.run(), "is on timeline 1, whose history knows nothing of timeline 2")
    job.rewrite({"source": {"dsn": pair.source.dsn()}})  # the way out that the hint names
    job.start()
    job.wait_for("running")
    pair.wait_equal()


def test_restored_to_an_earlier_point(make_pair):
    """F38: base backup and archive, recovery_target_lsn before what is applied."""
    pair = pair_of(make_pair, 18, archive_mode="on", archive_command="cp %p ../archive/%f")
    server = pair.source.server
    archive = server.directory / "archive"
    subprocess.run(["install", "-d", "-o", "postgres", archive], check=True)
    pair.source.sql(TABLE)
    backup = basebackup(pair, f"{server.name}-backup")
    job = running_at(pair, pair.source.dsn())
    pair.source.sql("INSERT INTO t VALUES (1000, 'kept')")
    job.drain(pair.source)
    point = pair.source.one("SELECT pg_current_wal_lsn()")
    pair.source.sql("INSERT INTO t VALUES (1001, 'unwanted')")
    job.drain(pair.source)
    assert job.process.terminate() == 0
    server.stop()  # archives the last segment
    backup.configure({"restore_command": f"cp {archive}/%f %p", "archive_mode": "off", "recovery_target_lsn": point,
                      "recovery_target_action": "promote"})
    (backup.data / "recovery.signal").touch()
    backup.start()
    promoted = database_at(backup, pair)
    poll_until(lambda: not promoted.one("SELECT pg_is_in_recovery()"), "it is restored")
    assert promoted.sql("SELECT id FROM t WHERE id >= 1000") == [(1000,)]
    job.rewrite({"source": {"dsn": promoted.dsn()}})
    lost(job.run(), "the destination is ahead of this server by", "timeline 2")
    no_slot_on(backup)


def test_disk_of_earlier_on_the_same_timeline(make_pair):
    """F38: a snapshot of the machine was put back: same identifier, same timeline, less log."""
    pair = make_pair()
    server = pair.source.server
    pair.source.sql(TABLE)
    job = pair.running_job()
    assert job.process.terminate() == 0
    server.stop()
    earlier = disk_keep(server)
    server.start()
    job.start()
    job.wait_for("running")
    pair.source.sql("INSERT INTO t SELECT i, 'unwanted' FROM generate_series(1000, 3000) i")
    job.drain(pair.source)
    assert job.process.terminate() == 0
    server.stop()
    disk_set_back(server, earlier)
    server.start()
    lost(job.run(), "the destination is ahead of this server by")


# ---- F26, and a standby that is not promoted yet ----

def test_hot_standby_as_source_is_refused(make_pair):
    """F26, C8."""
    pair = pair_of(make_pair, 18)
    pair.source.sql(TABLE)
    standby = make_standby(pair, synced=False)
    wait_replayed(standby, pair.source.lsn())
    job = job_at(pair, database_at(standby, pair).dsn())
    done = job.run()
    assert done.exit == 2, done.err
    assert "hot standby" in done.err
    items = {item["name"]: item for item in job.call("check", "--json").json()["items"]}
    assert items["source-is-primary"]["state"] == "failed"
    assert "target_session_attrs=read-write" in items["source-is-primary"]["fix"]
    no_slot_on(standby)
    no_slot_on(pair.source.server)
    assert pair.target.sql("SELECT 1 FROM pg_namespace WHERE nspname = 'walferry'") == []


def test_standby_that_is_not_promoted_yet_is_waited_for(make_pair):
    """A list of hosts without target_session_attrs leads to the standby as soon as the primary is gone."""
    pair = pair_of(make_pair, 18)
    pair.source.sql(TABLE)
    standby = make_standby(pair)
    job = running_at(pair, dsn_of_both(pair, standby, attributes=None))
    wait_synced(pair, standby, job.slot)
    pair.source.server.stop()
    poll_until(lambda: "is a standby and not promoted" in job.process.err, "it waits for the promotion")
    assert job.process.alive()
    promote(pair, standby)
    pair.source.sql("INSERT INTO t VALUES (1000, 'on timeline 2')")
    pair.wait_equal()
    assert job.process.alive()


def test_trap_A17_a_walk_stays_at_the_host_that_it_found(make_pair):
    """The list's first host answers again while the job loads from the second one: another server by now."""
    pair = pair_of(make_pair, 18)
    pair.source.sql(TABLE)
    other = make_standby(pair, synced=False)
    wait_replayed(other, pair.source.lsn())
    other.sql("SELECT pg_promote()")
    poll_until(lambda: not other.one("SELECT pg_is_in_recovery()"), "it is promoted")
    other.stop()
    other.configure({"log_connections": "on"})
    ports = f"127.0.0.1:{other.port},127.0.0.1:{pair.source.server.port}"
    job = job_at(pair, f"postgresql://postgres@{ports}/{pair.name}?target_session_attrs=read-write")
    process = job.start(fault="snapshot.after_export:sleep:1500")
    process.wait_reached("snapshot.after_export")
    seen = other.log_position()
    other.start()
    job.wait_for("running")
    pair.source.sql("INSERT INTO t VALUES (1000, 'x')")
    pair.wait_equal()
    assert "walferry_" not in other.log(seen)
    assert job.status()["totals"]["retries"] == 0
