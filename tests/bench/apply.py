"""Works T, I and U of the performance page: a filled slot is consumed by walferry, by pg_recvlogical into a file, and by
a native subscription, in turn.

The workload is written once. Before it the job has loaded the database and ended, and its slot was copied: every
consumer and round gets a copy of that slot and, at the target, a copy of the database as the load left it. So all of
them read the same WAL into the same rows."""
import statistics
import time
from contextlib import contextmanager

from harness.place import postgres_bin

import load

EVENTS = "CREATE TABLE events (id bigserial PRIMARY KEY, ts timestamptz, kind text, payload jsonb, amount numeric)"
INSERT = """
INSERT INTO events (ts, kind, payload, amount)
    SELECT timestamptz '2024-01-01' + i * interval '1 second', (ARRAY['click', 'view', 'order'])[i % 3 + 1],
           jsonb_build_object('user', i % 5000, 'path', '/item/' || i % 777, 'agent', md5((i % 40)::text)),
           (i % 100000) / 100.0
    FROM generate_series(1, {rows}) i"""
UPDATE = "UPDATE lineitem SET quantity = quantity + 1, status = 'X' WHERE order_key <= {rows} / 4"
SUBSCRIPTION = ("CREATE SUBSCRIPTION native CONNECTION '{}' PUBLICATION native"
                " WITH (slot_name = 'native', create_slot = false, enabled = false, copy_data = false)")


class Apply:
    TABLES = ()  # that the workload changes
    OPTIONS = ("-o", "proto_version=1")  # what pg_recvlogical asks for

    def __init__(self, bench, name):
        self.b, self.name = bench, name
        self.cpu = {"ours": [], "recvlogical": [], "native": []}
        self.db = bench.source.database(name)
        self.fill()
        self.db.sql("CREATE TABLE marker (id int PRIMARY KEY)")
        self.db.sql(f"CREATE PUBLICATION native FOR TABLE {', '.join(self.TABLES)}, marker")
        self.job = bench.job(name, self.db, bench.target.database("ours"))
        bench.walferry(self.job, "--until", "now")
        bench.fresh(bench.target, "loaded", "ours")
        bench.slot_free(self.job.slot)
        self.slot_copy(self.job.slot, "filled")
        self.slot_drop(self.job.slot)
        self.before_change()
        self.change()
        self.db.sql("INSERT INTO marker VALUES (1)")
        self.end = self.db.one("SELECT pg_current_wal_lsn()")
        self.expected = bench.checksums(self.db, (*self.TABLES, "marker"))

    def before_change(self):
        """For who reads the same WAL in another way (kafka.py)."""

    def close(self):
        self.db.drop()
        self.b.drop(self.b.target, "ours", "native", "loaded")

    def slot_copy(self, slot, name):
        self.db.sql("SELECT pg_copy_logical_replication_slot(%s, %s)", (slot, name))

    def slot_drop(self, name):
        self.b.slot_free(name)
        self.db.sql("SELECT pg_drop_replication_slot(%s)", (name,))

    @contextmanager
    def counted(self, name):
        """CPU seconds of everybody who has a part in it."""
        before = self.b.cpu_seconds()
        yield
        self.cpu[name].append(self.b.cpu_seconds() - before)

    def by_recvlogical(self):
        out = self.b.place.path / "recvlogical.out"
        self.slot_copy("filled", "recvlogical")
        self.b.checkpoint()
        command = [postgres_bin() / "pg_recvlogical", "-d", self.db.dsn(), "-S", "recvlogical", "--start", *self.OPTIONS,
                   "-o", "publication_names=native", "--endpos", self.end, "-f", out]
        with self.counted("recvlogical"):
            run = self.b.timed(command)
        self.written_mib = out.stat().st_size / (1 << 20)
        out.unlink()
        self.slot_drop("recvlogical")
        return run.seconds

    def by_walferry(self, under=(), watch=list):
        """under: a command that runs it. watch(): begins whatever looks on meanwhile, each with a stop()."""
        target = self.b.fresh(self.b.target, "ours", "loaded")
        self.slot_copy("filled", self.job.slot)
        self.b.checkpoint()
        watchers = watch()
        with self.counted("ours"):
            run = self.b.walferry(self.job, "--until", self.end, under=under)
        for watcher in watchers:
            watcher.stop()
        self.b.prove_equal(self.name, self.expected, target)
        self.slot_drop(self.job.slot)
        return run

    def by_native(self):
        """From its start to the row that was written last; it has no end of its own."""
        target = self.b.fresh(self.b.target, "native", "loaded")
        self.slot_copy("filled", "native")
        target.sql(SUBSCRIPTION.format(self.db.dsn()))
        self.b.checkpoint()
        connection = target.connect()
        cursor = connection.cursor()
        with self.counted("native"):
            begin = time.monotonic()
            cursor.execute("ALTER SUBSCRIPTION native ENABLE")
            self.wait_for_marker(cursor)
            seconds = time.monotonic() - begin
        cursor.execute("ALTER SUBSCRIPTION native DISABLE")
        cursor.execute("ALTER SUBSCRIPTION native SET (slot_name = NONE)")
        cursor.execute("DROP SUBSCRIPTION native")
        connection.close()
        self.b.prove_equal("native", self.expected, target)
        self.slot_drop("native")
        return seconds

    @staticmethod
    def wait_for_marker(cursor):
        while True:
            cursor.execute("SELECT 1 FROM marker")
            if cursor.rowcount:
                return
            time.sleep(0.005)


class Small(Apply):
    TABLES = ("pgbench_accounts", "pgbench_branches", "pgbench_tellers", "pgbench_history")

    def fill(self):
        self.b.pgbench(self.db, "-i", "-q", "-s", "10")
        self.db.sql("ALTER TABLE pgbench_history ADD id bigserial PRIMARY KEY")

    def change(self):
        self.b.pgbench(self.db, "-n", "-c", "8", "-j", "2", "-M", "prepared", "-t", "1250" if self.b.quick else "12500")


class Insert(Apply):
    TABLES = ("events",)
    OPTIONS = ("-o", "proto_version=2", "-o", "streaming=on")

    def fill(self):
        self.db.sql(EVENTS)

    def change(self):
        self.b.long(self.db, INSERT.format(rows=100000 if self.b.quick else 1000000))


class Update(Apply):
    TABLES = ("lineitem",)
    OPTIONS = Insert.OPTIONS

    def fill(self):
        load.make(self.db, load.LINEITEM, 300000 if self.b.quick else 3000000)

    def change(self):
        self.b.long(self.db, UPDATE.format(rows=40000 if self.b.quick else 400000))


KINDS = {"apply-small": Small, "apply-insert": Insert, "apply-update": Update}


def make(bench, name):
    return KINDS[name](bench, name.replace("-", "_"))


def measure(bench, name):
    work = make(bench, name)
    limit, native, ours = [], [], []
    for _ in range(bench.rounds):
        limit.append(work.by_recvlogical())
        ours.append(work.by_walferry())
        native.append(work.by_native())
    work.close()
    bench.rounds_note(f"{name}: ours", [run.seconds for run in ours])
    bench.rounds_note("recvlogical", limit)
    bench.rounds_note("native", native)
    bench.note("stream", f"{work.written_mib:.1f} MiB")
    seconds = statistics.median(run.seconds for run in ours)
    bench.line(f"{name} / recvlogical", seconds, statistics.median(limit))
    bench.line(f"{name} / native", seconds, statistics.median(native))
    bench.limit(f"{name}, peak memory", max(run.peak_mib for run in ours), "MiB", 128)
    bench.note("CPU of walferry alone", f"{statistics.median(run.cpu_seconds for run in ours):.2f} s")
    bench.note("CPU with both servers", ", ".join(f"{side} {statistics.median(seconds):.2f} s"
                                                  for side, seconds in work.cpu.items()))


def small(bench):
    measure(bench, "apply-small")


def insert(bench):
    measure(bench, "apply-insert")


def update(bench):
    measure(bench, "apply-update")
