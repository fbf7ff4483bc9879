"""dml: the kinds of change that a job applies; the publication sends them all, walferry leaves the others out."""
import json

import pytest

from harness.streaming import EARLY

KINDS = ["insert", "update", "delete", "truncate"]
TABLE = "CREATE TABLE {0} (id int PRIMARY KEY, v text); INSERT INTO {0} SELECT i, 'load' FROM generate_series(1, 4) i;"
WORK = "INSERT INTO {0} VALUES (5, 'new'); UPDATE {0} SET v = 'new' WHERE id = 1; DELETE FROM {0} WHERE id = 2;"
LOADED = [(1, "load"), (2, "load"), (3, "load"), (4, "load")]


def expected(kinds):
    rows = dict(LOADED)
    if "insert" in kinds:
        rows[5] = "new"
    if "update" in kinds:
        rows[1] = "new"
    if "delete" in kinds:
        del rows[2]
    return sorted(rows.items())


def item(job):
    return next((each for each in job.call("check", "--json").json()["items"] if each["name"] == "dml"), None)


@pytest.mark.parametrize("kinds", [["insert"], ["update", "delete"], ["insert", "update", "truncate"], ["truncate"]],
                         ids=lambda kinds: "-".join(kinds))
def test_a_job_applies_only_its_kinds(pair, kinds):
    pair.source.sql(TABLE.format("t"))
    job = pair.running_job(objects={"dml": kinds})
    pair.source.sql(WORK.format("t"))
    job.drain(pair.source)
    assert pair.target.sql("SELECT * FROM t ORDER BY 1") == expected(kinds)
    left = 3 - len(set(kinds) - {"truncate"})
    assert job.status()["totals"]["left_out"] == left
    assert job.status()["totals"]["changes"] >= 3
    pair.source.sql("TRUNCATE t")
    job.drain(pair.source)
    emptied = "truncate" in kinds
    assert pair.target.sql("SELECT * FROM t ORDER BY 1") == ([] if emptied else expected(kinds))
    assert job.status()["totals"]["left_out"] == left + (0 if emptied else 1)
    assert pair.source.one(f"SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate FROM pg_publication WHERE pubname = '{job.slot}'"), \
        "never by the publication"


@pytest.mark.asan
@pytest.mark.parametrize("gear", ["live", "catch-up"])
def test_tables_and_patterns_have_their_own(pair, gear):
    """A name wins over a pattern, a longer pattern over a shorter; a partition follows its root's name."""
    names = ["s.orders", "s.tmp_1", "s.other", "public.t", "s.p"]
    pair.source.sql("CREATE SCHEMA s;" + "".join(TABLE.format(name) for name in names[:4]) +
                    "CREATE TABLE s.p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);"
                    " CREATE TABLE s.p_1 PARTITION OF s.p FOR VALUES FROM (0) TO (100);"
                    " INSERT INTO s.p SELECT i, 'load' FROM generate_series(1, 4) i")
    objects = {"dml": ["insert", "update"],
               "tables": {"s.*": {"dml": ["insert"]}, "s.tmp_*": {"dml": ["delete"]}, "s.orders": {"dml": KINDS},
                          "s.p": {"dml": ["update"]}}}
    job = pair.running_job(objects=objects, conflicts="skip", target={"gear": gear})
    pair.source.sql("".join(WORK.format(name) for name in names))
    job.drain(pair.source)
    kinds = {"s.orders": KINDS, "s.tmp_1": ["delete"], "s.other": ["insert"], "public.t": ["insert", "update"], "s.p": ["update"]}
    for name in names:
        assert pair.target.sql(f"SELECT * FROM {name} ORDER BY 1") == expected(kinds[name]), name
    assert job.status()["totals"]["left_out"] == 0 + 2 + 2 + 1 + 2
    pair.source.sql("TRUNCATE s.orders, s.tmp_1, s.other, t, s.p")
    job.drain(pair.source)
    counts = {name: pair.target.one(f"SELECT count(*) FROM {name}") for name in names}
    assert counts == {"s.orders": 0, "s.tmp_1": 3, "s.other": 5, "public.t": 5, "s.p": 4}, "cut down to those that take it"


@pytest.mark.parametrize("version, gear", [(15, "live"), (18, "catch-up")])
def test_a_streamed_transaction_is_left_out_alike(make_pair, version, gear):
    pair = make_pair(source={"version": version} | EARLY)
    pair.source.sql(TABLE.format("t"))
    job = pair.running_job(objects={"tables": {"public.t": {"dml": ["insert"]}}}, target={"gear": gear})
    pair.source.sql("BEGIN; INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(10, 10009) i;"
                    " UPDATE t SET v = 'new'; DELETE FROM t WHERE id > 5000; COMMIT")
    job.drain(pair.source)
    assert pair.target.one("SELECT count(*) FROM t WHERE v = repeat('x', 100)") == 10000
    assert pair.target.one("SELECT count(*) FROM t") == 10004
    assert job.status()["totals"]["left_out"] == 10004 + 5009


def test_places_in_a_transaction_are_those_of_the_source(pair):
    """Trap C2: what is left out keeps its number, in the file sink as in a dead letter."""
    pair.source.sql(TABLE.format("t"))
    job = pair.running_job(objects={"dml": ["insert", "truncate"]}, conflicts="skip", file={"path": str(pair.directory / "changes.jsonl")})
    pair.target.sql("INSERT INTO t VALUES (7, 'own')")
    pair.source.sql("BEGIN; UPDATE t SET v = 'a'; INSERT INTO t VALUES (7, 'x'); DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (8, 'y'); COMMIT")
    job.drain(pair.source)
    assert job.process.terminate() == 0
    lines = [json.loads(line) for line in (pair.directory / "changes.jsonl").read_text().splitlines()]
    assert [(line["op"], line.get("seq")) for line in lines] == [("c", 4), ("c", 6), ("commit", None)]
    assert [letter["seq"] for letter in job.call("dead-letters", "--json").json()["dead_letters"]] == [4]
    assert pair.target.sql("SELECT id, v FROM t WHERE id > 4 ORDER BY 1") == [(7, "own"), (8, "y")]


@pytest.mark.parametrize("dml, policy, words", [
    (KINDS, "stop", None),
    (["insert", "update", "delete"], "stop", ["meets the old row"]),
    (["update", "delete"], "stop", ["may find no row"]),
    (["insert", "delete"], "stop", ["may find no row", "meets the old row"]),
    (["update"], "skip", []),
    (["update"], "source-wins", ["makes the row"]),
    (["truncate"], "stop", []),
])
def test_check_says_what_a_partial_choice_means(pair, dml, policy, words):
    pair.source.sql(TABLE.format("t"))
    found = item(pair.job(objects={"dml": dml}, conflicts=policy))
    if words is None:
        assert found is None
        return
    assert found["state"] == ("alert" if words else "passed") and "public.t" in found["seen"], found
    for word in ("may find no row", "meets the old row", "makes the row"):
        assert (word in found["seen"]) == (word in words), found


def test_a_left_out_insert_stops_at_its_update(pair):
    """What check has said: under stop nothing is guessed."""
    pair.source.sql(TABLE.format("t"))
    job = pair.running_job(objects={"dml": ["update"]})
    pair.source.sql("INSERT INTO t VALUES (9, 'x')")
    job.drain(pair.source)
    pair.source.sql("UPDATE t SET v = 'y' WHERE id = 9")
    assert job.process.wait(30) == 5 and "no such row" in job.process.err


def test_a_name_that_the_source_has_not_is_told(pair):
    pair.source.sql(TABLE.format("orders"))
    job = pair.job(objects={"tables": {"public.order": {"dml": ["insert"]}, "nobody.*": {"dml": ["insert"]}}})
    found = next(each for each in job.call("check", "--json").json()["items"] if each["name"] == "objects")
    assert found["state"] == "failed" and '"public.order"' in found["seen"] and "nobody" not in found["seen"], found


def test_the_choice_may_change_between_runs(pair):
    pair.source.sql(TABLE.format("t"))
    job = pair.running_job(objects={"dml": ["insert"]})
    pair.source.sql("DELETE FROM t WHERE id = 4")
    job.drain(pair.source)
    assert job.process.terminate() == 0
    job.rewrite({"objects": {"dml": KINDS}})
    job.start()
    job.wait_for("running")
    pair.source.sql("DELETE FROM t WHERE id = 3")
    job.drain(pair.source)
    assert pair.target.sql("SELECT id FROM t ORDER BY 1") == [(1,), (2,), (4,)]


@pytest.mark.parametrize("gear", ["live", "catch-up"])
def test_counts_are_exact_when_runs_are_refused(pair, gear):
    """While one run is under way the next is collected: what a refused one has counted is not counted twice."""
    pair.source.sql("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY, v int); INSERT INTO u VALUES (1, 0)")
    job = pair.running_job(objects={"tables": {"public.u": {"dml": ["insert"]}}}, conflicts="skip", target={"gear": gear})
    pair.target.sql("INSERT INTO t SELECT i FROM generate_series(1500, 6000, 1500) i")
    assert job.process.terminate() == 0
    pair.source.sql("CREATE PROCEDURE work() LANGUAGE plpgsql AS $$ BEGIN FOR i IN 1..6000 LOOP"
                    " INSERT INTO t VALUES (i); UPDATE u SET v = i; COMMIT; END LOOP; END $$")
    pair.source.sql("CALL work()")
    job.start()
    job.wait_for("running")
    job.drain(pair.source)
    assert pair.target.one("SELECT count(*) FROM t") == 6000
    found = job.status()["totals"]
    assert (found["left_out"], found["conflicts"], found["dead_letters"]) == (6000, 4, 4)
    assert found["transactions"] == 6000 and found["changes"] == 12000
