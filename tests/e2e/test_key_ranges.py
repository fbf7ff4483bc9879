"""Tables that are cut into ranges by their key, because the source cannot read them by place."""
import re

import pytest

from test_ranges import SPLIT, all_visible, ranges_of

KEYED = {
    "integer": ("bigint", "i"), "date": ("date", "date '2000-01-01' + i"), "text": ("text", "'it''s \\ ' || lpad(i::text, 9, '0')"),
    "first of two": ("int, u int DEFAULT 1", "i"), "timestamp": ("timestamptz", "timestamptz 'epoch' + i * interval '3 h'"),
    "bit": ("bit(20)", "i::bit(20)"), "numeric": ("numeric(12,4)", "i / 7.0"), "char": ("char(12)", "lpad(i::text, 12, '0')"),
}


def keyed(source, kind="bigint", value="i", options="", rows=20000):
    """Rows in the order of a key, some of it with many updates, which no statistics know."""
    key = "k, u" if "u int" in kind else "k"
    source.sql(f"CREATE TABLE wide (k {kind}, v text, PRIMARY KEY ({key})) {options};"
               f" INSERT INTO wide (k, v) SELECT {value}, repeat(md5(i::text), 8) FROM generate_series(1, {rows}) i")
    source.sql("ANALYZE wide")
    source.sql("DELETE FROM wide WHERE ctid IN (SELECT ctid FROM wide ORDER BY md5(v) LIMIT 500)")


OTHER = "CREATE ACCESS METHOD not_heap TYPE TABLE HANDLER heap_tableam_handler"


@pytest.mark.parametrize("kind", KEYED)
def test_table_that_is_no_heap_is_cut_by_its_key(pair, kind):
    pair.source.sql(OTHER)
    keyed(pair.source, *KEYED[kind], "USING not_heap")
    process = pair.job(load=SPLIT, phases=["schema", "full"])
    done = process.run()
    assert done.exit == 0, done.err
    assert ranges_of(process)[0] > 3, done.err
    pair.check_equal()
    assert all_visible(pair.target, "wide")


UNFIT = {
    "no statistics": "DELETE FROM pg_statistic WHERE starelid = 'wide'::regclass",
    "rows in another order": "CREATE TABLE t AS TABLE wide; TRUNCATE wide;"
                             " INSERT INTO wide SELECT * FROM t ORDER BY md5(k::text); DROP TABLE t; ANALYZE wide",
    "no primary key": "ALTER TABLE wide DROP CONSTRAINT wide_pkey",
    "a type of somebody's own": "CREATE DOMAIN own AS bigint; ALTER TABLE wide ALTER k TYPE own; ANALYZE wide",
}


@pytest.mark.parametrize("why", UNFIT)
def test_table_without_a_key_to_cut_by_is_copied_whole_and_says_so(pair, why):
    pair.source.sql(OTHER)
    keyed(pair.source, options="USING not_heap")
    for statement in UNFIT[why].split("; "):
        pair.source.sql(statement)
    job = pair.job(load=SPLIT, phases=["schema", "full"], identity="full")
    done = job.run()
    assert done.exit == 0, done.err
    assert not ranges_of(job) and "is copied whole, not in ranges: the source cannot read it by place" in done.err
    pair.check_equal()


@pytest.mark.parametrize("versions", [(12, 12), (13, 18)], ids=lambda pair: f"{pair[0]}-{pair[1]}")
def test_older_sources_are_cut_by_key_under_the_bank(version_pair, versions):
    """They read a whole table for each range of blocks."""
    pair = version_pair(*versions)
    keyed(pair.source)
    pair.source.sql(f'ALTER DATABASE "{pair.name}" SET log_statement = \'all\'')
    bank = pair.bank().start()
    job = pair.job(load=SPLIT)
    process = job.start(fault="snapshot.mid_table:sleep:150")
    process.wait_reached("snapshot.mid_table")
    for turn in range(8):
        pair.source.sql(f"UPDATE wide SET k = k + 1000000, v = v || 'x' WHERE k % 8 = {turn} AND k < 1000000;"
                        f" INSERT INTO wide SELECT -1000 * {turn + 1} - i, 'new' FROM generate_series(1, 500) i;"
                        f" DELETE FROM wide WHERE k % 100 = {turn}")
    job.wait_for("running")
    bank.pause_writers()
    pair.wait_equal()
    assert ranges_of(job)[0] > 3
    log = pair.source.server.log(pair.log_offsets[pair.source.server])
    assert "ctid >=" not in log and "WHERE k >= '" in log


def test_lost_connection_in_a_range_of_a_key_copies_that_range_again(pair):
    pair.source.sql(OTHER)
    keyed(pair.source, options="USING not_heap")
    job = pair.job(load=SPLIT)
    process = job.start(fault="snapshot.mid_table:sleep:800@4")
    process.wait_reached("snapshot.mid_table")
    copying = "query LIKE 'COPY %%' AND datname = current_database() AND application_name = %s"
    ended = pair.target.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {copying}", (f"walferry_{job.name}",))
    assert ended
    job.wait_for("running")
    pair.wait_equal()
    assert 1 <= process.err.count("is copied again") <= len(ended) and len(ranges_of(job)) == 1, process.err
    assert re.search(r'a range of table "public.wide" \(k (<|>=) \'\d+\'::bigint', process.err), process.err
