"""Tables that several workers copy at the same time, range by range, and what is built behind the rows."""
import re

import pytest

from harness.poll import poll_until

SPLIT = {"workers": 3, "split_above": "1MiB"}


def wide(pair, rows=20000, name="wide"):
    """About 6 MiB; returns the statement's table name."""
    pair.source.sql(f"CREATE TABLE {name} (id int PRIMARY KEY, n int NOT NULL DEFAULT 0, v text);"
                    f" INSERT INTO {name} SELECT i, i % 7, repeat(md5(i::text), 8) FROM generate_series(1, {rows}) i")
    pair.source.sql(f"ANALYZE {name}")
    return name


def ranges_of(job, table="wide"):
    found = re.findall(rf'table "public\.{table}" is copied in (\d+) ranges', job.process.err)
    return [int(number) for number in found]


def all_visible(database, table):
    return database.one("SELECT relpages > 0 AND relallvisible = relpages FROM pg_class WHERE oid = %s::regclass", (table,))


def test_split_table_is_whole_under_updates_that_move_its_rows(pair):
    wide(pair)
    bank = pair.bank(ballast_tables=2, ballast_rows=3000).start()
    job = pair.job(load=SPLIT)
    process = job.start(fault="snapshot.mid_table:sleep:150")
    process.wait_reached("snapshot.mid_table")
    for turn in range(8):
        pair.source.sql(f"UPDATE wide SET n = n + 1, v = v || 'x' WHERE id % 8 = {turn};"
                        f" INSERT INTO wide SELECT 100000 * ({turn} + 1) + i, 0, 'new' FROM generate_series(1, 500) i;"
                        f" DELETE FROM wide WHERE id % 100 = {turn}")
    job.wait_for("running")
    bank.pause_writers()
    pair.wait_equal()
    assert ranges_of(job)[0] > 3
