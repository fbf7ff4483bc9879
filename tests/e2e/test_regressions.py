"""Every bug that was found by thinking or by accident stays here as a test that failed before."""
import pytest

from harness.poll import poll_until

TABLE = "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'x');"


def waits_for_open_transaction(job):
    return poll_until(lambda: "waiting for PID" in job.process.err, "the slot waits for the open transaction")


@pytest.mark.deadline(180)
def test_second_instance_that_waited_for_the_lock_leaves_the_slot_of_a_loaded_job_alone(pair):
    """It had read "intent" before the first instance finished its birth, and dropped the slot with that knowledge."""
    pair.source.sql(TABLE)
    holder = pair.source.connect(autocommit=False)
    holder.cursor().execute("INSERT INTO t VALUES (77, 'open')")
    first = pair.job()
    first.start()
    waits_for_open_transaction(first)
    second = pair.job(folder="second")
    second.start()
    poll_until(lambda: "intent" in str(pair.target.sql("SELECT birth FROM walferry.job")), "the second has read")
    holder.commit()
    holder.close()
    first.wait_for("running")
    slot = pair.source.slot(first.slot)
    assert second.process.wait(90) == 2, second.process.err
    assert pair.source.slot(first.slot)[2] == slot[2], "the slot is another one now"
    assert pair.target.sql("SELECT birth FROM walferry.job") == [("done",)]
    pair.source.sql("INSERT INTO t VALUES (2, 'y')")
    pair.wait_equal()
    assert first.process.alive()


@pytest.mark.deadline(120)
def test_killed_while_the_slot_waits_for_an_open_transaction(pair):
    """The walsender of the killed run went on waiting and held the slot: every further start ended with 2."""
    pair.source.sql(TABLE)
    holder = pair.source.connect(autocommit=False)
    holder.cursor().execute("INSERT INTO t VALUES (77, 'open')")
    job = pair.job()
    job.start()
    waits_for_open_transaction(job)
    job.process.kill9()
    job.start()
    waits_for_open_transaction(job)
    holder.commit()
    holder.close()
    job.wait_for("running")
    pair.wait_equal()
    assert pair.target.one("SELECT count(*) FROM t") == 2


@pytest.mark.deadline(120)
def test_failed_session_with_a_stuck_sink_does_not_keep_the_source_from_stopping(make_pair):
    """The keeper had found the publication changed and was gone; the source's thread went on answering for ever."""
    pair = make_pair()
    pair.source.sql(TABLE + "CREATE TABLE u (id int PRIMARY KEY)")
    job = pair.running_job()
    holder = pair.target.connect(autocommit=False)
    holder.cursor().execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
    pair.source.sql("UPDATE t SET v = v || 'x'")
    poll_until(lambda: pair.target.sql("SELECT 1 FROM pg_locks WHERE NOT granted"), "the sink is stuck")
    pair.source.sql(f'ALTER PUBLICATION "{job.slot}" DROP TABLE u')
    poll_until(lambda: pair.source.slot(job.slot)[2] is None, "the slot is given up", 20)
    assert pair.source.server.stop("fast", timeout=10) < 10
    holder.rollback()
    holder.close()
    assert job.process.wait(30) == 3, job.process.err


@pytest.mark.deadline(120)
def test_table_dropped_before_its_turn_is_named(pair):
    """Ten rounds with ten temporary slots found nothing to load, and blamed rewrites."""
    pair.source.sql("CREATE TABLE a (id int PRIMARY KEY, v text); CREATE TABLE z (id int PRIMARY KEY);"
                    " INSERT INTO a SELECT i, repeat('x', 100) FROM generate_series(1, 20000) i")
    job = pair.job(load={"workers": 1})
    done = job.run(fault="snapshot.mid_table:kill@1")
    assert done.exit == -9
    pair.source.sql("DROP TABLE z")
    again = job.run()
    assert again.exit == 5 and "public.z" in again.err and "hint:" in again.err, again.err


@pytest.mark.deadline(180)
def test_locked_table_is_loaded_later_and_the_others_now(pair):
    """Its lock timeout threw away every copy that was under way."""
    pair.source.sql("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY);"
                    " INSERT INTO a SELECT generate_series(1, 1000); INSERT INTO b SELECT generate_series(1, 1000)")
    job = pair.job()
    job.start(fault="snapshot.after_export:sleep:1000")
    job.process.wait_reached("snapshot.after_export")
    holder = pair.source.connect(autocommit=False)
    poll_until(lambda: pair.target.sql("SELECT 1 FROM pg_class WHERE relname = 'b'"), "the schema is there", every=0.005)
    holder.cursor().execute("LOCK TABLE b IN ACCESS EXCLUSIVE MODE")
    poll_until(lambda: "locked by somebody else" in job.process.err, "the lock is noticed", 60)
    assert pair.target.one("SELECT loaded FROM walferry.table_state WHERE table_name = 'a'")
    holder.commit()
    holder.close()
    job.wait_for("running")
    pair.wait_equal()
