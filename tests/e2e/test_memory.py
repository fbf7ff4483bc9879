"""`memory` bounds what a run holds: what comes beside it (core/budget.h) does not grow with the work."""
import time

import pytest

from harness.poll import poll_until
from test_large import MIB, STREAMED, job_of, peak_rss

BESIDE = 24 * MIB  # program, libraries, connections, threads: what a run has without any change
MANY = 10000


def backlog(pair, job, fill):
    """What comes while nobody reads waits in the slot: the next run gets it as fast as it takes it."""
    job.process.terminate()
    job.process.wait(30)
    fill()
    job.start()


def small(source):
    source.sql("CREATE PROCEDURE small(n int) LANGUAGE plpgsql AS $$ BEGIN FOR i IN 1..n LOOP"
               " INSERT INTO t VALUES (i, md5(i::text)); UPDATE t SET v = v || 'x' WHERE id = i - i % 7;"
               " COMMIT; END LOOP; END $$")
    source.sql("CALL small(60000)")


def large(source):
    source.sql("INSERT INTO t SELECT i, md5(i::text) FROM generate_series(1, 1000000) i")


def updates(source):
    source.sql("INSERT INTO t SELECT i, md5(i::text) FROM generate_series(1, 200000) i")
    source.sql("UPDATE t SET v = v || 'y'")
    source.sql("UPDATE t SET id = -id")
    source.sql("DELETE FROM t WHERE id % 2 = 0")


def wide(source):
    source.sql("INSERT INTO t SELECT i, (SELECT string_agg(md5((i * 100000 + j)::text), '')"
               " FROM generate_series(1, 3000) j) FROM generate_series(1, 1500) i")


@pytest.mark.deadline(300)
@pytest.mark.parametrize("memory", [16, 128])
@pytest.mark.parametrize("settings", [{}, STREAMED], ids=["whole", "streamed"])
@pytest.mark.parametrize("fill", [small, large, updates, wide])
def test_memory_is_kept_to(make_pair, fill, settings, memory):
    pair = make_pair(source=settings)
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, v text)")
    job, _ = job_of(pair, memory=f"{memory}MiB")
    backlog(pair, job, lambda: fill(pair.source))
    job.drain(pair.source)
    peak = peak_rss(job.process)
    pair.check_equal()
    print(f"PEAK {fill.__name__} {settings} {memory}: {peak / MIB:.1f} MiB")
    assert peak < memory * MIB + BESIDE
