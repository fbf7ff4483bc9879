"""F74: every type, loaded and streamed, as column, as key and in whole-row matches, from every version to itself and to
the newest, row by row and in sets, in text and in binary; the server's own apply worker is the second opinion. One table
a type, or one each for the three uses."""
from collections import defaultdict

import psycopg2
import pytest

from harness.native import Native
from harness.oracle import fingerprints
from harness.place import NEWEST, VERSIONS
from harness.type_values import EXTENSIONS, SETUP, every_kind, literal

WITH_NATIVE = (12, 15, 18)
BINARY = {"smallint", "integer", "bigint", "numeric", "numeric(10,3)", "numeric(3,-2)", "numeric(2,5)", "real", "float8", "money", "boolean",
          "text", "varchar", "varchar(5)", "char(5)", "bpchar", '"char"', "name", "bytea", "bit(5)", "bit(64)", "varbit", "uuid", "json",
          "jsonb", "jsonpath", "tsvector", "date", "timestamp", "timestamptz", "timestamp(3)", "time", "time(0)", "timetz", "inet", "cidr",
          "macaddr", "macaddr8", "point", "line", "lseg", "box", "path", "polygon", "circle", "oid", "pg_lsn"}
PINNED = ("SET search_path = ''; SET xmloption = 'content'; SET standard_conforming_strings = on;"
          " SET intervalstyle = 'postgres'; SET datestyle = 'ISO, MDY'; SET timezone = 'UTC'; SET extra_float_digits = 3")
LOADED, STREAMED, MOVED = 0, 100, 1000  # first numbers of rows
KEY_TEXT_LIMIT = 2000
ARRAYS = {"integer[]", "real[]", "point[]", "types.mood[]", "types.shrunk[]", "types.shell[]"}  # also as keys and in whole rows

written = defaultdict(lambda: [0, set()])  # type → rows written, versions; for the list


@pytest.fixture(scope="module", autouse=True)
def list_of_types():
    yield
    for name, (rows, versions) in written.items():
        print(f"\n{name:40} {rows:6} rows  {' '.join(sorted(versions))}", end="")
    print(f"\n{len(written)} types, {sum(rows for rows, _ in written.values())} rows")


def accepts(cursor, statement):
    cursor.execute("SAVEPOINT probe")
    try:
        cursor.execute(statement)
        cursor.execute("RELEASE probe")
        return True
    except psycopg2.Error:
        cursor.execute("ROLLBACK TO probe")
        return False


class Zoo:
    """The tables of one source, and the statements that fill and change them. `only`: names of types."""

    def __init__(self, source, only=None):
        self.source, self.version = source, source.server.version
        self.connection = source.connect(autocommit=False)
        self.cursor = self.connection.cursor()
        self.cursor.execute(PINNED)
        self.cursor.execute("CREATE SCHEMA contrib")
        self.extensions = {name for name in [*EXTENSIONS, "postgis"]
                           if accepts(self.cursor, f"CREATE EXTENSION {name} SCHEMA contrib")}
        if accepts(self.cursor, "SELECT '<a/>'::xml"):
            self.extensions.add("xml")
        self.cursor.execute(SETUP)
        self.kinds = [each for each in every_kind() if each.since <= self.version and
                      (not each.needs or each.needs in self.extensions) and (only is None or each.name in only)]
        self.keys, self.comparable = set(), set()
        self.whole_rows = {number for number, each in enumerate(self.kinds) if not each.of_array or each.name in ARRAYS}
        for number, each in enumerate(self.kinds):
            self._make(number, each)
        self.connection.commit()

    def values(self, each):
        return [literal(value, each.name) for value in each.values_for(self.version)]

    def table(self, use, number):
        return f"{'contrib' if self.kinds[number].needs else 'types'}.{use}_{number}"

    def _make(self, number, each):
        values = self.values(each)
        k = self.table("k", number)
        candidates = ", ".join(f"({value})" for value in values if len(value) < KEY_TEXT_LIMIT)
        self.cursor.execute(self._plain(number))
        if number in self.whole_rows and accepts(
                self.cursor, f"CREATE TABLE {k} (v {each.name} PRIMARY KEY, n int); INSERT INTO {k} (v) VALUES {candidates}"
                                f" ON CONFLICT DO NOTHING; TRUNCATE {k}"):
            self.keys.add(number)
        if number in self.whole_rows and accepts(self.cursor, f"SELECT {values[0]} UNION SELECT {values[-1]}"):
            self.comparable.add(number)

    def _plain(self, number):
        name = self.kinds[number].name
        whole = (f"; CREATE TABLE {self.table('f', number)} (n int, v {name});"
                 f"ALTER TABLE {self.table('f', number)} REPLICA IDENTITY FULL")
        return (f"CREATE TABLE {self.table('t', number)} (id int PRIMARY KEY, v {name}, n {name})"
                + (whole if number in self.whole_rows else ""))

    def tables(self, uses="tfk", schemas=("types", "contrib")):
        return {self.table(use, number) for number in range(len(self.kinds)) for use in uses
                if (use != "k" or number in self.keys) and (use != "f" or number in self.whole_rows)
                and self.table(use, number).split(".")[0] in schemas}

    def run(self, number, statement):
        self.cursor.execute(statement)
        kind = self.kinds[number]
        written[kind.name][0] += max(self.cursor.rowcount, 0)
        return self.cursor.rowcount

    def insert(self, first):
        """Each value, and NULL; of the values that can be keys every second one."""
        for number, each in enumerate(self.kinds):
            for at, value in enumerate(["NULL", *self.values(each)]):
                self.run(number, f"INSERT INTO {self.table('t', number)} VALUES ({first + at}, {value}, NULL)")
                if number in self.whole_rows:
                    self.run(number, f"INSERT INTO {self.table('f', number)} VALUES ({first + at}, {value})")
                if number in self.keys and 0 < at and at % 2 == (first == LOADED) and len(value) < KEY_TEXT_LIMIT:
                    self.run(number, f"INSERT INTO {self.table('k', number)} VALUES ({value}, {at}) ON CONFLICT DO NOTHING")
            self.connection.commit()

    def change(self):
        for number, each in enumerate(self.kinds):
            self._change_columns(number, len(self.values(each)))
            if number in self.whole_rows:
                self._change_rows(number, len(self.values(each)))
            if number in self.keys:
                self._change_keys(number)
            self.connection.commit()

    def _change_columns(self, number, last):
        """Every row gets the value of the one behind it, the last one that of the first."""
        t = self.table("t", number)
        self.run(number, f"UPDATE {t} SET n = v WHERE id >= {STREAMED}")
        self.run(number, f"UPDATE {t} a SET v = b.v FROM {t} b WHERE b.id = CASE WHEN a.id % 100 = {last}"
                         f" THEN a.id - {last} ELSE a.id + 1 END")
        self.run(number, f"UPDATE {t} SET n = NULL WHERE id % 2 = 0")
        self.run(number, f"UPDATE {t} SET id = id + {MOVED} WHERE id IN ({LOADED}, {STREAMED + 1})")
        self.run(number, f"DELETE FROM {t} WHERE id IN ({LOADED + 1}, {STREAMED + last})")

    def _change_rows(self, number, last):
        f = self.table("f", number)
        self.run(number, f"UPDATE {f} SET n = n + {MOVED}")
        self.run(number, f"UPDATE {f} a SET v = b.v FROM {f} b WHERE b.n = CASE WHEN a.n % 100 = {last}"
                         f" THEN a.n - {last} ELSE a.n + 1 END")
        self.run(number, f"DELETE FROM {f} WHERE n IN ({MOVED + LOADED}, {MOVED + STREAMED + last})")

    def _change_keys(self, number):
        """Found by the key, then every row gets the key of the one before it."""
        k, values = self.table("k", number), self.values(self.kinds[number])
        self.run(number, f"UPDATE {k} SET n = n + {MOVED}")
        self.cursor.execute(f"SELECT n FROM {k} ORDER BY n")
        rows = [row[0] for row in self.cursor.fetchall()]
        self.run(number, f"DELETE FROM {k} WHERE n = {rows[0]}")
        for before, row in zip(rows, rows[1:]):
            self.run(number, f"UPDATE {k} SET v = {values[before - MOVED - 1]} WHERE n = {row}")

    def definitions_at(self, database):
        """The same tables there, for a subscription."""
        connection = database.connect()
        cursor = connection.cursor()
        cursor.execute(PINNED + "; CREATE SCHEMA contrib")
        for name in sorted(self.extensions - {"xml"}):
            cursor.execute(f"CREATE EXTENSION {name} SCHEMA contrib")
        cursor.execute(SETUP)
        for number, each in enumerate(self.kinds):
            cursor.execute(self._plain(number))
            if number in self.keys:
                cursor.execute(f"CREATE TABLE {self.table('k', number)} (v {each.name} PRIMARY KEY, n int)")
        connection.close()

    def note_versions(self, tables, pair_of_versions):
        for number, each in enumerate(self.kinds):
            if self.table("t", number) in tables:
                written[each.name][1].add(pair_of_versions)

    def kind_of(self, table):
        return self.kinds[int(table.rpartition("_")[2])].name


def rows_of(database, table):
    connection = database.connect()
    cursor = connection.cursor()
    cursor.execute(PINNED)
    cursor.execute(f"SELECT t::text FROM {table} t")
    found = [row[0] for row in cursor.fetchall()]
    connection.close()
    return found


def same(zoo, left, right, tables):
    """Row by row, in the types' own text."""
    here, there = fingerprints(left, tables), fingerprints(right, tables)
    assert here.keys() == there.keys() == tables
    found = []
    for table in sorted(name for name in tables if here[name] != there[name]):
        ours, theirs = rows_of(left, table), rows_of(right, table)
        found.append(f"{table} ({zoo.kind_of(table)}):\n    only {left.name} has {[row[:300] for row in ours if row not in theirs][:3]}"
                     f"\n    only {right.name} has {[row[:300] for row in theirs if row not in ours][:3]}")
    assert not found, "\n  ".join(["rows differ:", *found])


def native_of(pair, zoo, server):
    """Whole rows of a type without "=" are none that a subscription could find."""
    database = server.database(f"{pair.name}_native")
    zoo.definitions_at(database)
    tables = zoo.tables("tk") | {zoo.table("f", number) for number in zoo.comparable}
    native = Native(pair.source, database, ", ".join(sorted(tables)))
    pair.closing.append(native.close)
    return native, tables


GEARS = ["live", "catch-up"]


def jobs_of(pair, zoo, newest_server):
    """[(job, target, tables)]: one to the same version, and in the other gear one to the newest, with what both know."""
    newest = newest_server.database(f"{pair.name}_newest")
    pair.closing.append(newest.drop)
    gears = GEARS if zoo.version % 2 else GEARS[::-1]
    alike = zoo.version == NEWEST or zoo.extensions == {"vector"}
    some = {} if alike else {"objects": {"include": ["types.*"]}}
    return [(pair.job(target={"gear": gears[0]}), pair.target, zoo.tables()),
            (pair.job(name=f"{pair.name}_newest", target_dsn=newest.dsn(), target={"gear": gears[1]}, **some), newest,
             zoo.tables() if alike else zoo.tables(schemas=["types"]))]


def carry(pair, zoo, jobs, form):
    """Loads what is there, then streams new rows and changes of all."""
    zoo.insert(LOADED)
    for job, _, _ in jobs:
        job.start()
    for job, target, tables in jobs:
        job.wait_for("running")
        same(zoo, pair.source, target, tables)
        assert f"values in {form}" in job.process.err
    zoo.insert(STREAMED)
    zoo.change()
    for job, target, tables in jobs:
        job.drain(pair.source)
        same(zoo, pair.source, target, tables)
        assert job.status()["totals"]["retries"] == 0, job.process.err
        zoo.note_versions(tables, f"{zoo.version}-{target.server.version}")


@pytest.mark.deadline(300)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_type(version_pair, version_servers, version):
    pair = version_pair(version, version)
    zoo = Zoo(pair.source)
    pair.closing.append(zoo.connection.close)
    if version == 15:  # Debian's
        assert zoo.extensions == {*EXTENSIONS, "postgis", "xml"} - {"vector"}, "tests/run installs them"
    native, followed = native_of(pair, zoo, pair.target.server) if version in WITH_NATIVE else (None, None)
    carry(pair, zoo, jobs_of(pair, zoo, version_servers("target", NEWEST)), "text")
    if native:
        native.wait()
        same(zoo, native.database, pair.target, followed)


@pytest.mark.parametrize("version", [14, 16, 18])
def test_types_that_travel_in_binary(version_pair, version_servers, version):
    """Those alone: one other column would turn the whole stream to text (trap B3)."""
    pair = version_pair(version, version)
    zoo = Zoo(pair.source, BINARY)
    pair.closing.append(zoo.connection.close)
    jobs = jobs_of(pair, zoo, version_servers("target", NEWEST))
    for job, _, _ in jobs:
        job.rewrite({"objects": {"include": ["types.t_*", "types.k_*", "types.f_*"]}})
    carry(pair, zoo, jobs, "binary")


MOODS = ("CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE TYPE pair AS (m mood, n int); CREATE DOMAIN moods AS mood[];"
         "CREATE TYPE moods_range AS RANGE (subtype = mood);"
         "CREATE TABLE m (id int PRIMARY KEY, m mood, p pair, ms moods, r moods_range); CREATE TABLE k (m mood PRIMARY KEY, n int);"
         "CREATE TABLE f (m mood, p pair); ALTER TABLE f REPLICA IDENTITY FULL")
NEW_LABEL = "ALTER TYPE mood ADD VALUE 'so so' BEFORE 'glad'"
WITH_NEW_LABEL = ["INSERT INTO m SELECT i, 'so so', '(so so,1)', '{so so,NULL}', '[sad,so so]' FROM generate_series(10, 20) i",
                  "UPDATE m SET m = 'so so', p = '(so so,)', ms = ms || 'so so'::mood WHERE id < 3", "UPDATE m SET m = 'glad' WHERE id = 11",
                  "INSERT INTO k VALUES ('so so', 1)", "UPDATE k SET n = 2 WHERE m = 'so so'",
                  "DELETE FROM k WHERE m = 'glad'", "UPDATE k SET m = 'glad' WHERE m = 'so so'", "UPDATE f SET m = 'so so', p = '(so so,1)'",
                  "UPDATE f SET p = NULL", "DELETE FROM m WHERE m = 'so so' AND id > 15"]


@pytest.mark.parametrize("choice", GEARS)
@pytest.mark.parametrize("first", ["target", "source"])
def test_labels_added_to_an_enum_while_running(pair, first, choice):
    """Where the destination does not have one yet the run ends, names the row and the label, and goes on behind it."""
    pair.source.sql(MOODS)
    pair.source.sql("INSERT INTO m SELECT i, 'sad', '(glad,1)', '{sad}', '[sad,glad]' FROM generate_series(1, 5) i;"
                    " INSERT INTO k VALUES ('sad', 1), ('glad', 1); INSERT INTO f VALUES ('sad', '(glad,1)')")
    job = pair.running_job(target={"gear": choice})
    if first == "target":
        pair.target.sql(NEW_LABEL)
    pair.source.sql(NEW_LABEL)
    for statement in WITH_NEW_LABEL:
        pair.source.sql(statement)
    if first == "source":
        assert job.process.wait(30) == 5
        assert 'insert into "public.m"' in job.process.err and '"so so"' in job.process.err, job.process.err
        assert pair.target.one("SELECT count(*) FROM m") == 5
        pair.target.sql(NEW_LABEL)
        job.start()
        job.wait_for("running")
    job.drain(pair.source)
    pair.check_equal()
    order = "SELECT id, m::text FROM m WHERE r @> 'so so'::mood ORDER BY m, id"
    assert pair.target.sql(order) == pair.source.sql(order) != []


NARROWER = {"bigint": ("integer", "1099511627776"), "numeric": ("numeric(4,2)", "123.5"), "text": ("varchar(3)", "'abcd'"),
            "int": ("smallint", "70000"), "float8": ("real", "'1e300'"), "varbit": ("bit(3)", "'1010'"), "text[]": ("int[]", "'{a}'")}


@pytest.mark.parametrize("type_name", NARROWER)
def test_a_value_that_the_destinations_type_cannot_hold_ends_the_run(pair, type_name):
    """Never another value than the source's."""
    pair.source.sql(f"CREATE TABLE t (id int PRIMARY KEY, v {type_name})")
    job = pair.running_job()
    narrower, value = NARROWER[type_name]
    pair.target.sql(f"ALTER TABLE t ALTER v TYPE {narrower} USING NULL")
    pair.source.sql(f"INSERT INTO t VALUES (1, {value})")
    assert job.process.wait(30) == 5, job.process.err
    assert 'insert into "public.t" (id=1)' in job.process.err, job.process.err
    pair.target.sql(f"ALTER TABLE t ALTER v TYPE {type_name} USING NULL")
    job.start()
    job.wait_for("running")
    pair.wait_equal()


KEPT_SETUP = ("CREATE EXTENSION citext; CREATE TYPE mood AS ENUM ('a', 'b', 'c'); CREATE DOMAIN some_mood AS mood; CREATE DOMAIN word AS citext;"
              "CREATE TYPE pair AS (n int, t text); CREATE DOMAIN some_pair AS pair; CREATE DOMAIN numbers AS int[];")
KEPT = {"regclass": ["pg_class", "pg_type", "-"], "some_mood": ["a", "b", "c"], "word": ["A", "B", "C"], "citext": ["A", "B", "C"],
        "pair": ["(1,a)", "(2,b)", "(3,)"], "some_pair": ["(1,a)", "(2,b)", "(3,)"], "numbers": ["{}", "{1,NULL}", "{2}"],
        "numrange": ["empty", "[1,2)", "(,)"], "regtype[]": ["{integer}", "{}", "{text,-}"], '"char"': ["a", "b", ""]}


def test_rows_that_are_kept_are_met_by_keys_of_odd_types(pair):
    """`existing: keep`: the source's row takes the place of the one with its key, whatever the key's type."""
    tables = KEPT_SETUP + "".join(f"CREATE TABLE k{n} (id {name} PRIMARY KEY, v int);" for n, name in enumerate(KEPT))
    pair.source.sql(tables)
    pair.target.sql(tables)
    for number, (first, second, third) in enumerate(KEPT.values()):
        pair.source.sql(f"INSERT INTO k{number} VALUES ('{first}', 1)")
        pair.target.sql(f"INSERT INTO k{number} VALUES ('{second}', 0), ('{third}', 0)")
    job = pair.running_job(existing="keep")
    for number, (first, second, third) in enumerate(KEPT.values()):
        pair.source.sql(f"INSERT INTO k{number} VALUES ('{second}', 2)")
        pair.source.sql(f"UPDATE k{number} SET id = '{third}', v = 3 WHERE v = 1")
        pair.source.sql(f"UPDATE k{number} SET v = v + 10; DELETE FROM k{number} WHERE v = 12; INSERT INTO k{number} VALUES ('{first}', 4)")
    job.drain(pair.source)
    pair.check_equal(only={f"public.k{number}" for number in range(len(KEPT))})
    assert job.status()["totals"]["retries"] == 0, job.process.err
