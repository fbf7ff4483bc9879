"""Work L of the performance page: 5 M accounts and 3 M line items, loaded with their indexes by two parallel psql pipes
(binary, FREEZE: the limit of the wire), by pgcopydb where it is installed, and by walferry, in turn. And work "one": a
table of 4 M rows alone, by one such pipe and by walferry with two workers, which cut it into ranges."""
import os
import shutil
import statistics
import subprocess
import threading
import time

from harness.place import clean_environment, postgres_bin
from harness.server import Database

LINEITEM = """
CREATE TABLE lineitem (
    order_key bigint NOT NULL, line_number int NOT NULL, part_key int NOT NULL, quantity numeric(12,2) NOT NULL,
    price numeric(12,2) NOT NULL, discount numeric(4,2) NOT NULL, tax numeric(4,2) NOT NULL, return_flag char(1) NOT NULL,
    status char(1) NOT NULL, shipped date NOT NULL, committed date NOT NULL, received timestamptz NOT NULL,
    instruction text NOT NULL, mode text NOT NULL, comment text NOT NULL, supplier int NOT NULL);
INSERT INTO lineitem
    SELECT (i + 3) / 4, i % 4 + 1, (i::bigint * 7919) % 200000, (i % 50) + 1, (i % 90000) + 900.5, (i % 11) / 100.0,
           (i % 9) / 100.0, chr(65 + i % 3), chr(70 + i % 2), date '1992-01-01' + i % 2500, date '1992-02-01' + i % 2500,
           timestamptz '1992-03-01' + (i % 2500) * interval '1 day', (ARRAY['DELIVER IN PERSON', 'COLLECT COD', 'NONE'])[i % 3 + 1],
           (ARRAY['AIR', 'RAIL', 'SHIP', 'TRUCK'])[i % 4 + 1], md5(i::text), i % 10000
    FROM generate_series(1, {rows}) i;
ALTER TABLE lineitem ADD PRIMARY KEY (order_key, line_number);
VACUUM ANALYZE"""
ONE = """
CREATE TABLE one (id bigint NOT NULL, account int NOT NULL, amount numeric(12,2) NOT NULL, placed timestamptz NOT NULL,
                  note text NOT NULL);
INSERT INTO one SELECT i, i % 100000, (i % 90000) + 0.5, timestamptz '2020-01-01' + i * interval '1 second',
                       md5(i::text) || md5((i + 1)::text) FROM generate_series(1, {rows}) i;
ALTER TABLE one ADD PRIMARY KEY (id);
VACUUM ANALYZE"""


class Load:
    TABLES = ("pgbench_accounts", "lineitem")
    NAME = "load"
    OPTIONS = {}

    def __init__(self, bench):
        self.b = bench
        self.db = bench.source.database(self.NAME)
        self.fill()
        self.bytes = self.db.one("SELECT sum(pg_table_size(c.oid)) FROM pg_class c WHERE relkind = 'r'"
                                 " AND relnamespace = 'public'::regnamespace")
        self.job = bench.job(self.NAME, self.db, Database(bench.target, "ours"), phases=["schema", "full"], **self.OPTIONS)
        self.definitions = {part: subprocess.run(
            [postgres_bin() / "pg_dump", "--section", part, "-d", self.db.dsn()], check=True, capture_output=True,
            env=clean_environment(), text=True).stdout for part in ("pre-data", "post-data")}

    def fill(self):
        self.b.pgbench(self.db, "-i", "-q", "-s", "5" if self.b.quick else "50")
        make(self.db, LINEITEM, 300000 if self.b.quick else 3000000)

    def close(self):
        self.db.drop()
        self.b.drop(self.b.target, "pipes", "copydb", "ours")

    def fresh(self, name):
        target = self.b.fresh(self.b.target, name)
        self.b.checkpoint()
        return target

    def psql(self, database, statement):
        return ["psql", "-qX", "-v", "ON_ERROR_STOP=1", "-d", database.dsn(), "-c", statement]

    def pipe(self, target, table, then):
        """One transaction: truncate and COPY FREEZE; then its primary key."""
        environment = clean_environment()
        out = subprocess.Popen(self.psql(self.db, f"COPY {table} TO STDOUT (FORMAT binary)"), stdout=subprocess.PIPE,
                               env=environment)
        put = ["psql", "-qX", "-v", "ON_ERROR_STOP=1", "-d", target.dsn(), "-1", "-c", f"TRUNCATE {table}", "-c",
               f"COPY {table} FROM STDIN (FORMAT binary, FREEZE)"]
        subprocess.run(put, stdin=out.stdout, check=True, env=environment, stdout=subprocess.DEVNULL)
        assert out.wait() == 0
        for statement in then:
            subprocess.run(self.psql(target, statement), check=True, env=environment, stdout=subprocess.DEVNULL)

    def by_pipes(self):
        """The two large tables at the same time, each in one pipe with its key behind it: what the wire can do."""
        target = self.fresh("pipes")
        begin = time.monotonic()
        self.script(target, self.definitions["pre-data"])
        keys = {"pgbench_accounts": "ALTER TABLE pgbench_accounts ADD PRIMARY KEY (aid)",
                "lineitem": "ALTER TABLE lineitem ADD PRIMARY KEY (order_key, line_number)"}
        threads = [threading.Thread(target=self.pipe, args=(target, table, [keys[table], f"ANALYZE {table}"]))
                   for table in self.TABLES]
        for thread in threads:
            thread.start()
        for table, key in (("pgbench_branches", "bid"), ("pgbench_tellers", "tid")):
            self.pipe(target, table, [f"ALTER TABLE {table} ADD PRIMARY KEY ({key})", f"ANALYZE {table}"])
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - begin
        self.check(target)
        return seconds

    def script(self, target, text):
        lines = [line for line in text.splitlines() if not line.startswith("\\")]
        subprocess.run(["psql", "-qX", "-v", "ON_ERROR_STOP=1", "-d", target.dsn()], input="\n".join(lines), text=True,
                       check=True, stdout=subprocess.DEVNULL, env=clean_environment())

    def by_pgcopydb(self):
        target = self.fresh("copydb")
        folder = self.b.place.path / "copydb"
        shutil.rmtree(folder, ignore_errors=True)
        run = self.b.timed(["pgcopydb", "clone", "--source", self.db.dsn(), "--target", target.dsn(), "--dir", folder,
                            "--table-jobs", "2", "--index-jobs", "2", "--no-owner"])
        self.check(target)
        return run.seconds

    def by_walferry(self):
        target = self.fresh("ours")
        busy, begin = busy_seconds(), time.monotonic()
        run = self.b.walferry(self.job)
        self.cores.append((busy_seconds() - busy) / (time.monotonic() - begin))
        self.check(target)
        return run

    def check(self, target):
        for table in self.TABLES:
            ours, theirs = (database.one(f"SELECT count(*) FROM {table}") for database in (target, self.db))
            assert ours == theirs, f"{table}: {ours} of {theirs} rows"
            assert target.one("SELECT count(*) FROM pg_index WHERE indrelid = %s::regclass AND indisprimary", (table,))

    def run(self):
        self.cores = []
        seen = {"ours": [], "pipes": [], "pgcopydb": []}
        for _ in range(self.b.rounds):
            seen["pipes"].append(self.by_pipes())
            if self.NAME == "load" and shutil.which("pgcopydb"):
                seen["pgcopydb"].append(self.by_pgcopydb())
            seen["ours"].append(self.by_walferry())
        self.close()
        self.peak_mib = max(run.peak_mib for run in seen["ours"])
        seen["ours"] = [run.seconds for run in seen["ours"]]
        seen = {name: seconds for name, seconds in seen.items() if seconds}
        for name, seconds in seen.items():
            self.b.rounds_note(f"{self.NAME}: {name}", seconds)
        return {name: statistics.median(seconds) for name, seconds in seen.items()}


class One(Load):
    TABLES = ("one",)
    NAME = "one"
    OPTIONS = {"load": {"workers": 2}}

    def fill(self):
        if self.b.quick:
            self.OPTIONS = {"load": {"workers": 2, "split_above": "16MiB"}}
        make(self.db, ONE, 400000 if self.b.quick else 4000000)

    def by_pipes(self):
        target = self.fresh("pipes")
        begin = time.monotonic()
        self.script(target, self.definitions["pre-data"])
        self.pipe(target, "one", ["ALTER TABLE one ADD PRIMARY KEY (id)", "ANALYZE one"])
        seconds = time.monotonic() - begin
        self.check(target)
        return seconds


def busy_seconds():
    """Of all cores together, whoever uses them."""
    with open("/proc/stat") as stat:
        user, nice, system, _idle, _wait, irq, softirq = map(int, stat.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def make(database, script, rows):
    for statement in script.format(rows=rows).split(";\n"):
        database.sql(statement)


def measure_one(bench):
    one = One(bench)
    seconds = one.run()
    bench.line("one table / one pipe", seconds["ours"], seconds["pipes"])
    bench.note("cores busy", f"{statistics.median(one.cores):.2f} of {os.cpu_count()}")
    bench.limit("one table, peak memory", one.peak_mib, "MiB", 128)


def measure(bench):
    load = Load(bench)
    seconds = load.run()
    bench.note("tables", f"{load.bytes / 2**20:.0f} MiB")
    bench.line("load / parallel pipes", seconds["ours"], seconds["pipes"])
    if "pgcopydb" in seconds:
        bench.line("load / pgcopydb", seconds["ours"], seconds["pgcopydb"])
    bench.limit("load, peak memory", load.peak_mib, "MiB", 128)
