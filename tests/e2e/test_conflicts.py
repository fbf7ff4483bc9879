"""conflicts: what becomes of a change that does not fit the destination's rows (F82)."""
import random

import pytest

from harness.streaming import EARLY, WHOLE
from test_object_trouble import account

TABLE = "CREATE TABLE t (id int PRIMARY KEY, code int UNIQUE, v text)"
ROWS = "INSERT INTO t SELECT i, i, 'source' FROM generate_series(1, 20) i"
CONTENT = "SELECT id, code, v FROM t ORDER BY id"


def totals(job):
    found = job.status()["totals"]
    return found["conflicts"], found["dead_letters"]


def letters(job):
    result = job.call("dead-letters", "--json")
    assert result.exit == 0, result.err
    return result.json()["dead_letters"]


def diverged(pair, change, **config):
    """A running job whose target was then changed by somebody else."""
    pair.source.sql(f"{TABLE}; {ROWS}")
    job = pair.running_job(**config)
    pair.target.sql(change)
    return job


# ---- one of each ----

def test_stop_ends_exactly_before_the_transaction(pair):
    job = diverged(pair, "INSERT INTO t VALUES (100, 100, 'own')")
    pair.source.sql("INSERT INTO t VALUES (30, 30, 'before')")
    pair.source.sql("BEGIN; INSERT INTO t VALUES (31, 31, 'inside'); INSERT INTO t VALUES (100, 1000, 'meets'); COMMIT")
    assert job.process.wait(30) == 5
    for word in ('insert into "public.t" (id=100)', "transaction", "ending at", "duplicate key"):
        assert word in job.process.err, job.process.err
    assert pair.target.sql("SELECT id, v FROM t WHERE id >= 30 ORDER BY 1") == [(30, "before"), (100, "own")]
    assert letters(job) == []


CASES = {
    "insert of the same key": ("INSERT INTO t VALUES (100, 100, 'own')", "INSERT INTO t VALUES (100, 7000, 'new')",
                               [(100, 7000, "new")], [(100, 100, "own")], "23505"),
    "insert of another unique key": ("INSERT INTO t VALUES (100, 100, 'own')", "INSERT INTO t VALUES (101, 100, 'new')",
                                     [(101, 100, "new")], [(100, 100, "own")], "23505"),
    "insert that meets two rows": ("INSERT INTO t VALUES (100, 100, 'own'), (101, 101, 'own')",
                                   "INSERT INTO t VALUES (100, 101, 'new')",
                                   [(100, 101, "new")], [(100, 100, "own"), (101, 101, "own")], "23505"),
    "update of no row": ("DELETE FROM t WHERE id = 5", "UPDATE t SET v = 'new' WHERE id = 5",
                         [(5, 5, "new")], [], None),
    "update of the key of no row": ("DELETE FROM t WHERE id = 5", "UPDATE t SET id = 105 WHERE id = 5",
                                    [(105, 5, "source")], [], None),
    "update that meets a row": ("INSERT INTO t VALUES (100, 100, 'own')", "UPDATE t SET code = 100 WHERE id = 5",
                                [(5, 100, "source")], [(5, 5, "source"), (100, 100, "own")], "23505"),
    "delete of no row": ("DELETE FROM t WHERE id = 5", "DELETE FROM t WHERE id = 5", [], [], None),
}
WHERE = "SELECT id, code, v FROM t WHERE {} id >= 100 OR code >= 100 ORDER BY id"


@pytest.mark.asan
@pytest.mark.parametrize("policy", ["source-wins", "skip"])
@pytest.mark.parametrize("case", CASES)
def test_each_kind_of_conflict(pair, case, policy):
    change, statement, wins, skipped, sqlstate = CASES[case]
    job = diverged(pair, change, conflicts=policy)
    pair.source.sql("INSERT INTO t VALUES (30, 30, 'before')")
    pair.source.sql(f"BEGIN; INSERT INTO t VALUES (31, 31, 'inside'); {statement}; UPDATE t SET v = 'last' WHERE id = 31; COMMIT")
    pair.source.sql("INSERT INTO t VALUES (32, 32, 'behind')")
    job.drain(pair.source)
    rows = pair.target.sql(WHERE.format("" if case.startswith("insert") else "id = 5 OR code = 5 OR"))
    assert rows == (wins if policy == "source-wins" else skipped)
    assert pair.target.sql("SELECT id, v FROM t WHERE id BETWEEN 30 AND 32 ORDER BY 1") == [(30, "before"), (31, "last"), (32, "behind")]
    assert totals(job) == (1, 0 if policy == "source-wins" else 1)
    assert 'conflict: ' in job.process.err and '"public.t"' in job.process.err and "ending at" in job.process.err
    found = letters(job)
    if policy == "source-wins":
        assert found == []
        pair.check_equal()
        return
    assert len(found) == 1
    letter = found[0]
    assert (letter["table"], letter["operation"], letter["sqlstate"], letter["seq"]) == \
        ("public.t", statement.split()[0].lower(), sqlstate, 1)


def test_rows_that_are_refused_for_what_is_in_them(pair):
    """skip leaves them out one by one; the others of their transaction are applied."""
    job = diverged(pair, "ALTER TABLE t ADD CHECK (v <> 'bad'); ALTER TABLE t ALTER v TYPE varchar(10);"
                   " ALTER TABLE t ALTER code SET NOT NULL", conflicts="skip")
    pair.source.sql("BEGIN; INSERT INTO t VALUES (30, 30, 'good'), (31, 31, 'bad'), (32, 32, 'much too long for it'), (33, NULL, 'x');"
                    " UPDATE t SET v = 'bad' WHERE id = 30; UPDATE t SET v = 'fine' WHERE id = 1; COMMIT")
    job.drain(pair.source)
    assert pair.target.sql("SELECT id, code, v FROM t WHERE id >= 30 OR id = 1 ORDER BY 1") == [(1, 1, "fine"), (30, 30, "good")]
    found = letters(job)
    assert [(letter["sqlstate"], letter["seq"], letter["operation"]) for letter in found] == \
        [("23514", 1, "insert"), ("22001", 2, "insert"), ("23502", 3, "insert"), ("23514", 4, "update")]
    assert found[1]["key"] == {"id": "32"} and found[1]["values"] == {"id": "32", "code": "32", "v": "much too long for it"}
    assert found[2]["values"]["code"] is None
    assert totals(job) == (4, 4)


def test_source_wins_stops_at_a_row_that_cannot_be_there(pair):
    """Nobody's row is in its way: to leave it out would not be what was asked for."""
    job = diverged(pair, "ALTER TABLE t ADD CHECK (v <> 'bad')", conflicts="source-wins")
    pair.source.sql("INSERT INTO t VALUES (31, 31, 'bad')")
    assert job.process.wait(30) == 5
    assert job.process.err.count("insert into") == 1, job.process.err
    assert letters(job) == []


def test_a_row_that_cannot_be_made_is_a_dead_letter(pair):
    """source-wins: what an UPDATE left as it was is not sent; without the row nobody has it."""
    table = "CREATE TABLE big (id int PRIMARY KEY, large text, v int); ALTER TABLE big ALTER large SET STORAGE EXTERNAL"
    pair.source.sql(f"{table}; INSERT INTO big SELECT i, repeat('x', 9000), 0 FROM generate_series(1, 3) i")
    job = pair.running_job(conflicts="source-wins")
    pair.target.sql("DELETE FROM big WHERE id = 1; INSERT INTO big VALUES (10, 'own', 0)")
    pair.source.sql("UPDATE big SET v = 1; UPDATE big SET id = 10 WHERE id = 2")
    job.drain(pair.source)
    assert pair.target.sql("SELECT id, length(large), v FROM big ORDER BY 1") == [(3, 9000, 1), (10, 9000, 1)]
    assert [(letter["key"], letter["values"]) for letter in letters(job)] == [({"id": "1"}, {"id": "1", "v": "1"})]
    assert totals(job) == (2, 1)


def test_identity_full_and_identity_always(pair):
    """Whole rows are found by their image; an ALWAYS identity cannot be set by an UPDATE."""
    pair.source.sql("CREATE TABLE f (a int, b text); ALTER TABLE f REPLICA IDENTITY FULL; INSERT INTO f VALUES (1, 'x'), (2, 'y'), (3, 'z');"
                    " CREATE TABLE g (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text); INSERT INTO g (v) VALUES ('a'), ('b')")
    job = pair.running_job(conflicts="source-wins")
    pair.target.sql("DELETE FROM f WHERE a IN (1, 2); ALTER TABLE f ADD UNIQUE (a); INSERT INTO f VALUES (7, 'own');"
                    " DELETE FROM g WHERE id = 2; INSERT INTO g (id, v) OVERRIDING SYSTEM VALUE VALUES (3, 'own')")
    pair.source.sql("UPDATE f SET b = 'new' WHERE a = 1; DELETE FROM f WHERE a = 2; INSERT INTO f VALUES (7, 'new');"
                    " UPDATE f SET a = 7 WHERE a = 3; UPDATE g SET v = 'new' WHERE id = 2; INSERT INTO g (v) VALUES ('new')")
    job.drain(pair.source)
    assert pair.target.sql("SELECT id, v FROM g ORDER BY 1") == [(1, "a"), (2, "new"), (3, "new")]
    assert pair.target.sql("SELECT a, b FROM f ORDER BY 1") == [(1, "new"), (7, "z")], "the unique key there takes one of the two"
    assert totals(job) == (6, 0)


REFUSALS = {  # what is done to the target, what the source does, what is said, and the SQLSTATE of its dead letter
    "unique": ("INSERT INTO t VALUES (100, 100, 'own')", "INSERT INTO t VALUES (100, 1, 'x')", "duplicate key", "23505"),
    "no row to update": ("DELETE FROM t WHERE id = 7", "UPDATE t SET v = 'x' WHERE id = 7", "no such row", None),
    "no row to delete": ("DELETE FROM t WHERE id = 7", "DELETE FROM t WHERE id = 7", "no such row", None),
    "two rows": ("ALTER TABLE t DROP CONSTRAINT t_pkey; DROP INDEX t_code_key; INSERT INTO t VALUES (7, 70, 'twice')", "UPDATE t SET v = 'x' WHERE id = 7", "2 rows", None),
    "foreign key": ("ALTER TABLE t ADD FOREIGN KEY (code) REFERENCES parent", "INSERT INTO t VALUES (200, 999, 'x')", "foreign key", "23503"),
    "check": ("ALTER TABLE t ADD CHECK (id < 100)", "INSERT INTO t VALUES (200, 200, 'x')", "check constraint", "23514"),
    "not null": ("ALTER TABLE t ALTER v SET NOT NULL", "INSERT INTO t VALUES (200, 200, NULL)", "not-null", "23502"),
    "too small": ("ALTER TABLE t ALTER v TYPE varchar(6)", "INSERT INTO t VALUES (200, 200, 'seven letters')", "too long", "22001"),
    "out of range": ("ALTER TABLE t ALTER code TYPE smallint", "INSERT INTO t VALUES (200, 100000, 'x')", "out of range", "22003"),
    "exclusion": ("ALTER TABLE t ADD EXCLUDE USING btree (code WITH =)", "INSERT INTO t VALUES (200, 8, 'x')", "exclusion", "23P01"),
    "trigger": ("CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not that one'; END $$; CREATE TRIGGER no BEFORE INSERT ON t"
                " FOR EACH ROW EXECUTE FUNCTION no(); ALTER TABLE t ENABLE ALWAYS TRIGGER no", "INSERT INTO t VALUES (200, 200, 'x')", "not that one", "P0001"),
    "swallowed": ("CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$; CREATE TRIGGER no BEFORE INSERT ON t"
                  " FOR EACH ROW EXECUTE FUNCTION no(); ALTER TABLE t ENABLE ALWAYS TRIGGER no", "INSERT INTO t VALUES (200, 200, 'x')", "did not take the row", None),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_f82_stop_names_the_row_and_skip_keeps_it(pair, case):
    """First it stops, exactly before; with `skip` the same job goes on, and the row is a dead letter."""
    change, statement, words, sqlstate = REFUSALS[case]
    pair.source.sql("CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent SELECT generate_series(1, 20);"
                    f"{TABLE}; {ROWS}; ALTER TABLE t DROP CONSTRAINT t_code_key; CREATE UNIQUE INDEX t_code_key ON t (code, id)")
    name, dsn = account(pair, pair.target)
    pair.target.sql(f"REVOKE SET ON PARAMETER session_replication_role FROM {name}")  # foreign keys are in force then
    job = pair.running_job(target_dsn=dsn)
    pair.target.sql(change)
    pair.source.sql("UPDATE t SET v = 'before' WHERE id = 1")
    pair.source.sql(f"BEGIN; UPDATE t SET v = 'within' WHERE id = 2; {statement}; COMMIT")
    assert job.process.wait(30) == 5, job.process.err
    for word in (words, '"public.t"', "ending at", "hint:"):
        assert word in job.process.err, job.process.err
    assert pair.target.sql("SELECT v FROM t WHERE id IN (1, 2) ORDER BY id") == [("before",), ("source",)]
    job.rewrite({"conflicts": "skip"})
    job.start()
    job.wait_for("running")
    job.drain(pair.source)
    found = letters(job)
    assert len(found) == 1 and found[0]["sqlstate"] == sqlstate and words in found[0]["reason"], found
    assert pair.target.sql("SELECT v FROM t WHERE id IN (1, 2) ORDER BY id") == [("before",), ("within",)]


def test_source_wins_stops_where_it_cannot_find_what_is_in_the_way(pair):
    job = diverged(pair, "CREATE UNIQUE INDEX ON t (lower(v)) WHERE id >= 100; INSERT INTO t VALUES (100, 100, 'OWN')",
                   conflicts="source-wins")
    pair.source.sql("INSERT INTO t VALUES (101, 101, 'own')")
    assert job.process.wait(30) == 5 and "duplicate key" in job.process.err
    assert job.process.err.count('insert into "public.t"') == 1, job.process.err


# ---- by table ----

def test_each_table_has_its_own_policy(pair):
    pair.source.sql("CREATE SCHEMA s; CREATE TABLE s.a (id int PRIMARY KEY); CREATE TABLE s.b (id int PRIMARY KEY);"
                    " CREATE TABLE s.p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);"
                    " CREATE TABLE s.p1 PARTITION OF s.p FOR VALUES FROM (0) TO (1000)")
    job = pair.running_job(objects={"tables": {"s.*": {"conflicts": "skip"}, "s.b": {"conflicts": "stop"},
                                               "s.p": {"conflicts": "source-wins"}}})
    pair.target.sql("INSERT INTO s.a VALUES (1); INSERT INTO s.b VALUES (1); INSERT INTO s.p VALUES (1, 'own')")
    pair.source.sql("INSERT INTO s.a VALUES (1); INSERT INTO s.p VALUES (1, 'source')")
    job.drain(pair.source)
    assert pair.target.one("SELECT v FROM s.p1") == "source", "a partition follows its root"
    assert [letter["table"] for letter in letters(job)] == ["s.a"] and totals(job) == (2, 1)
    pair.source.sql("BEGIN; INSERT INTO s.a VALUES (2); INSERT INTO s.a VALUES (3); INSERT INTO s.b VALUES (1); COMMIT")
    assert job.process.wait(30) == 5
    assert pair.target.one("SELECT count(*) FROM s.a") == 1


# ---- what no policy takes ----

@pytest.mark.parametrize("trouble, mend, code", [
    ("ALTER TABLE t RENAME TO away", None, 5),
    ("ALTER TABLE t RENAME v TO w", None, 5),
    ("CREATE TABLE stranger (id int REFERENCES t); INSERT INTO stranger VALUES (1)", None, 5),
])
def test_what_is_nothing_of_the_rows_never_becomes_a_dead_letter(pair, trouble, mend, code):
    job = diverged(pair, trouble, conflicts="skip")
    assert job.process.terminate() == 0
    pair.source.sql("TRUNCATE t" if "stranger" in trouble else "UPDATE t SET v = 'new' WHERE id = 1")
    job.start()
    assert job.process.wait(30) == code, job.process.err
    assert letters(job) == []


def test_a_missing_right_and_a_read_only_target_are_no_conflicts(make_pair):
    pair = make_pair()
    pair.source.sql(f"{TABLE}; {ROWS}")
    pair.target.server.sql("CREATE ROLE loader LOGIN REPLICATION")
    pair.target.sql("GRANT ALL ON DATABASE {0} TO loader; GRANT ALL ON SCHEMA public TO loader; ALTER ROLE loader BYPASSRLS".format(pair.target.name))
    job = pair.running_job(target_dsn=pair.target.dsn(user="loader"), conflicts="skip")
    pair.target.sql("ALTER TABLE t OWNER TO postgres; REVOKE ALL ON t FROM loader; GRANT SELECT ON t TO loader")
    pair.source.sql("UPDATE t SET v = 'new' WHERE id = 1")
    assert job.process.wait(30) == 2, job.process.err
    assert "42501" in job.process.err or "permission denied" in job.process.err
    pair.target.sql("GRANT ALL ON t TO loader")
    server = pair.target.server
    server.stop()
    (server.data / "standby.signal").touch()
    server.start()
    job.start("--wait", "30s")
    server.sql("SELECT pg_promote()")
    job.wait_for("running")
    pair.wait_equal()
    assert letters(job) == []


# ---- expected rows, whatever comes ----

def expected_skip(rows, op, conflicts):
    kind, old, new = op
    others = {key: row for key, row in rows.items() if key != old}
    meets = new and (new[0] in others or new[1] in {row[1] for row in others.values()})
    if (kind != "insert" and old not in rows) or meets:
        conflicts.append(kind)
        return
    if kind != "insert":
        del rows[old]
    if new:
        rows[new[0]] = new


def expected_source_wins(rows, op, conflicts):
    kind, old, new = op
    others = {key: row for key, row in rows.items() if key != old}
    meets = [key for key, row in others.items() if new and (key == new[0] or row[1] == new[1])]
    if (kind != "insert" and old not in rows) or meets:
        conflicts.append(kind)
    for key in meets + ([old] if old in rows else []):
        del rows[key]
    if new:
        rows[new[0]] = new


def random_operation(rng, here):
    """One that the source takes; (kind, old key, new row)."""
    codes = {row[1] for row in here.values()}
    free = [number for number in range(1, 61) if number not in here]
    code = rng.choice([number for number in range(1, 61) if number not in codes])
    kind = rng.choice(["insert", "update", "update", "delete"]) if 5 < len(here) < 50 else "insert" if len(here) <= 5 else "delete"
    if kind == "insert":
        return kind, None, (rng.choice(free), code, f"i{rng.random()}")
    old = rng.choice(sorted(here))
    if kind == "delete":
        return kind, old, None
    return kind, old, (rng.choice(free) if rng.random() < 0.2 else old,
                       code if rng.random() < 0.3 else here[old][1], f"u{rng.random()}")


def statement(op):
    kind, old, new = op
    if kind == "insert":
        return f"INSERT INTO t VALUES ({new[0]}, {new[1]}, '{new[2]}')"
    if kind == "delete":
        return f"DELETE FROM t WHERE id = {old}"
    return f"UPDATE t SET id = {new[0]}, code = {new[1]}, v = '{new[2]}' WHERE id = {old}"


def random_work(rng, here, there, expect, conflicts, transactions, longest):
    script = []
    for _ in range(transactions):
        script.append("BEGIN")
        for _ in range(rng.randint(1, longest)):
            op = random_operation(rng, here)
            kind, old, new = op
            if kind != "insert":
                del here[old]
            if new:
                here[new[0]] = new
            expect(there, op, conflicts)
            script.append(statement(op))
        script.append("COMMIT")
    return "; ".join(script)


def diverge(rng, pair, rows):
    there = dict(rows)
    for key in rng.sample(sorted(there), 8):
        del there[key]
    for key in range(61, 66):
        there[key] = (key, key - 61 + 31, "own")  # codes that the source will use
    for key in rng.sample([number for number in range(21, 61)], 8):
        there[key] = (key, 100 + key, "own")      # keys that the source will use
    pair.target.sql("DELETE FROM t; INSERT INTO t VALUES " + ", ".join(f"({a}, {b}, '{c}')" for a, b, c in there.values()))
    return there


@pytest.mark.asan
@pytest.mark.parametrize("policy, expect", [("source-wins", expected_source_wins), ("skip", expected_skip)])
@pytest.mark.parametrize("way, longest", [(WHOLE, 6), (EARLY, 1500)], ids=["small", "pieces"])
@pytest.mark.parametrize("gear", ["live", "catch-up"])
def test_expected_rows_under_random_work(make_pair, policy, expect, way, longest, gear):
    """Many transactions over a target that differs: every row and every count as a model of the policy says, also when the
    transactions are so large that they come in pieces, and across kills."""
    pair = make_pair(source=way)
    rng = random.Random(pair.number * 7 + len(policy))
    pair.source.sql(f"{TABLE}; {ROWS}")
    job = pair.running_job(conflicts=policy, target={"gear": gear})
    here = {number: (number, number, "source") for number in range(1, 21)}
    there = diverge(rng, pair, here)
    conflicts = []
    assert job.process.terminate() == 0
    pair.source.sql(random_work(rng, here, there, expect, conflicts, 60 if longest < 100 else 4, longest))
    points = ["apply.before_commit", "apply.after_commit"] + (["apply.after_dead_letter"] if policy == "skip" else [])
    for point in reversed(points):
        process = job.start(fault=f"{point}:kill@2")
        assert process.wait(60) == -9 and process.reached(point)
    job.start()
    job.wait_for("running")
    job.drain(pair.source)
    assert pair.target.sql(CONTENT) == sorted(there.values())
    assert conflicts, "the seed makes none"
    if policy == "skip":
        found = letters(job)
        assert [letter["operation"] for letter in found] == conflicts
        assert totals(job)[1] == len(conflicts)
    pair.source.sql(random_work(rng, here, there, expect, conflicts, 20, 6))
    job.drain(pair.source)
    assert pair.target.sql(CONTENT) == sorted(there.values())


@pytest.mark.parametrize("policy, expect", [("source-wins", expected_source_wins), ("skip", expected_skip)])
@pytest.mark.parametrize("gear", ["live", "catch-up"])
def test_each_conflict_is_counted_once(pair, policy, expect, gear):
    rng = random.Random(pair.number)
    pair.source.sql(f"{TABLE}; {ROWS}")
    job = pair.running_job(conflicts=policy, target={"gear": gear})
    here = {number: (number, number, "source") for number in range(1, 21)}
    there, conflicts = diverge(rng, pair, here), []
    pair.source.sql(random_work(rng, here, there, expect, conflicts, 40, 10))
    job.drain(pair.source)
    assert pair.target.sql(CONTENT) == sorted(there.values())
    assert totals(job) == (len(conflicts), len(conflicts) if policy == "skip" else 0)
    assert job.process.err.count("conflict: ") <= 10 * 10, "a few a second are logged"


@pytest.mark.parametrize("policy", ["source-wins", "skip"])
def test_kept_tables_follow_it_where_the_source_cannot_win(pair, policy):
    """existing: keep: what the source did not send and nobody has."""
    table = "CREATE TABLE big (id int PRIMARY KEY, large text, v int); ALTER TABLE big ALTER large SET STORAGE EXTERNAL"
    pair.source.sql(f"{table}; INSERT INTO big SELECT i, repeat('x', 9000), 0 FROM generate_series(1, 3) i")
    pair.target.sql(f"{table}; INSERT INTO big VALUES (2, 'own', 7)")
    job = pair.running_job(existing="keep", conflicts=policy)
    pair.target.sql("DELETE FROM big WHERE id = 1")
    pair.source.sql("UPDATE big SET v = 1; INSERT INTO big VALUES (4, 'new', 1); DELETE FROM big WHERE id = 3")
    job.drain(pair.source)
    assert pair.target.sql("SELECT id, v FROM big ORDER BY 1") == [(2, 1), (4, 1)]
    assert [letter["key"] for letter in letters(job)] == [{"id": "1"}]


def test_many_conflicts_are_told_a_few_a_second(pair):
    job = diverged(pair, "INSERT INTO t SELECT i, i, 'own' FROM generate_series(101, 1100) i", conflicts="skip")
    pair.source.sql("INSERT INTO t SELECT i, i, 'new' FROM generate_series(101, 1100) i")
    job.drain(pair.source)
    assert totals(job) == (1000, 1000)
    pair.source.sql("INSERT INTO t VALUES (1101, 1101, 'fine')")
    pair.source.sql("DELETE FROM t WHERE id = 101")
    job.drain(pair.source)
    assert 0 < job.process.err.count("conflict: ") < 200
