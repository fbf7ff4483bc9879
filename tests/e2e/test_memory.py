"""`memory` bounds what a run holds, whatever the work: what comes beside it (core/budget.h) does not grow with it."""
import json
from pathlib import Path

import pytest

from test_large import MIB, STREAMED, job_of, peak_rss

BESIDE = 12 * MIB  # program, libraries, connections, threads


def backlog(job, fill):
    """What comes while nobody reads waits in the slot: the next run gets it as fast as it takes it."""
    job.process.terminate(30)
    fill()
    job.start()


def small(source):
    source.sql("CREATE PROCEDURE small(n int) LANGUAGE plpgsql AS $$ BEGIN FOR i IN 1..n LOOP"
               " INSERT INTO t VALUES (i, md5(i::text)); UPDATE t SET v = v || 'x' WHERE id = i - i % 7;"
               " COMMIT; END LOOP; END $$")
    source.sql("CALL small(20000)")


def keys(source):
    """Net rows at their most expensive: each is found under two keys."""
    source.sql("INSERT INTO t SELECT i, md5(i::text) FROM generate_series(1, 100000) i")
    source.sql("UPDATE t SET id = -id")
    source.sql("DELETE FROM t WHERE id % 2 = 0")


def wide(source):
    source.sql("INSERT INTO t SELECT i, (SELECT string_agg(md5((i * 100000 + j)::text), '')"
               " FROM generate_series(1, 3000) j) FROM generate_series(1, 500) i")


@pytest.mark.deadline(200)
@pytest.mark.parametrize("fill, settings, workers", [(small, {}, 1), (small, {}, 4), (keys, {}, 1), (keys, STREAMED, 1),
                                                     (wide, STREAMED, 1)],
                         ids=["small", "small-4-connections", "keys", "keys-streamed", "wide-streamed"])
def test_memory_is_kept_to(make_pair, fill, settings, workers):
    """Point 5: at the least that can be set, with much more on its way than that."""
    pair = make_pair(source=settings)
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, v text)")
    job, _ = job_of(pair, memory="16MiB", target={"workers": workers})
    backlog(job, lambda: fill(pair.source))
    job.drain(pair.source)
    peak = peak_rss(job.process)
    pair.check_equal()
    print(f"peak: {peak / MIB:.1f} MiB")
    assert peak < 16 * MIB + BESIDE, f"{peak / MIB:.1f} MiB"


def test_table_that_changes_all_the_time_leaves_nothing_behind(make_pair):
    """Versions of a relation that nobody uses go, with what both sides keep for them; each of these is a new one."""
    pair = make_pair(target={"log_statement": "all"})
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, v text)")
    job, _ = job_of(pair)
    for number in range(150):
        identity = "FULL" if number % 2 == 0 else "DEFAULT"
        pair.source.sql(f"ALTER TABLE t REPLICA IDENTITY {identity}; INSERT INTO t VALUES ({number}, 'a');"
                        f" UPDATE t SET v = 'b' WHERE id = {number}")
    job.drain(pair.source)
    pair.check_equal()
    assert pair.target.server.log().count("DEALLOCATE w") > 200


@pytest.mark.parametrize("gear", ["live", "catch-up"])
def test_form_that_changes_all_the_time_leaves_nothing_behind(make_pair, gear):
    """The same where the destination's table has to follow (trap A11), its rows collected or not."""
    pair = make_pair(target={"log_statement": "all"})
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY, v text)")
    job, _ = job_of(pair, ddl="apply", target={"gear": gear})
    for number in range(75):
        pair.source.sql(f"ALTER TABLE t ADD c{number} int; INSERT INTO t VALUES ({number}, 'a', 1);"
                        f" UPDATE t SET c{number} = 2 WHERE id = {number}")
        pair.source.sql(f"ALTER TABLE t DROP c{number}; UPDATE t SET v = 'b' WHERE id = {number}")
    pair.wait_equal(timeout=60)
    assert job.process.alive(), job.process.err
    assert pair.target.server.log().count("DEALLOCATE w") > 100


def anonymous(process):
    """Bytes that are the process's own."""
    return int(Path(f"/proc/{process.pid}/smaps_rollup").read_text().split("Anonymous:")[1].split()[0]) * 1024


@pytest.mark.deadline(200)
def test_tables_that_have_changed_leave_little_behind(pair, broker, topic_prefix):
    """What encodes their records is made again when they change again; wide tables, because many take long. In one topic: what
    the Kafka client keeps of each is not ours."""
    tables, columns = 300, 300

    def each(first, last, statement):
        pair.source.sql(f"DO $$ BEGIN FOR n IN {first} .. {last} LOOP EXECUTE format('{statement}', n); COMMIT; END LOOP; END $$")
    each(1, tables, f"CREATE TABLE t%s (id int PRIMARY KEY, {', '.join(f'c{column} int' for column in range(columns))})")
    job = pair.job(file_only=True, phases=["incremental"], kafka={
        "brokers": broker.client()["bootstrap.servers"], "prefix": topic_prefix,
        "topics": {"route": [{"match": r"(.*)\.public\.t[0-9]+", "to": "$1.all", "key_field": "table"}]}})
    job.start()
    job.wait_for("running")

    def change(first, last, row):
        each(first, last, f"INSERT INTO t%s VALUES ({row})")
        job.drain(pair.source)
    change(1, 10, 1)
    few = anonymous(job.process)
    change(11, tables, 1)
    change(1, tables, 2)
    grown = anonymous(job.process) - few
    keys = [json.loads(record.key) for record in broker.consume(f"{topic_prefix}.all")]
    assert job.process.terminate() == 0
    assert grown < 28 * MIB, f"{grown / MIB:.1f} MiB"
    assert sorted((key["table"], key["id"]) for key in keys) == sorted(
        (f"{topic_prefix}.public.t{n}", id) for n in range(1, tables + 1) for id in (1, 2))
