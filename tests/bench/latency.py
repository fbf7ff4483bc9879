"""Work P of the performance page: 50 single-row inserts a second; from the answer to the COMMIT until a reader that asks
the target again and again sees the row; alone, and beside pgbench with 1,000 transactions a second. walferry and a
native subscription in turn: the other one is not running meanwhile."""
import multiprocessing
import re
import signal
import statistics
import subprocess
import time

from harness.place import clean_environment, postgres_bin
from harness.poll import poll_until

INSERTS_PER_S = 50
WARMUP_S = 2
LOAD_PER_S = 1000
LATE_S = 60  # a row that is not visible by then never will be


def insert(database, first, count, commits):
    """In a process of its own, so that the reader does not wait for the writer's turn: sends {id: when committed}."""
    cursor = database.connect().cursor()
    cursor.execute("PREPARE one AS INSERT INTO pulse VALUES ($1, 'a row of the pulse')")
    begin, seen = time.monotonic(), {}
    for number in range(count):
        time.sleep(max(0, begin + number / INSERTS_PER_S - time.monotonic()))
        cursor.execute("EXECUTE one (%s)", (first + number,))
        seen[first + number] = time.monotonic()
    commits.send(seen)


class Latency:
    def __init__(self, bench):
        self.b = bench
        self.db = bench.source.database("latency")
        bench.pgbench(self.db, "-i", "-q", "-s", "2" if bench.quick else "10")
        self.db.sql("ALTER TABLE pgbench_history ADD id bigserial PRIMARY KEY")
        self.db.sql("CREATE TABLE pulse (id bigint PRIMARY KEY, note text)")
        self.ours = bench.target.database("ours")
        self.native = bench.target.database("native")
        self.job = bench.job("latency", self.db, self.ours)
        bench.walferry(self.job, "--until", "now")
        self.subscribe()
        self.newest = 0

    def subscribe(self):
        dump = subprocess.run([postgres_bin() / "pg_dump", "-s", "--no-publications", "--exclude-table=dts_*", "-d",
                               self.db.dsn()], check=True, capture_output=True, env=clean_environment())
        subprocess.run(["psql", "-qX", "-d", self.native.dsn()], input=dump.stdout, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=clean_environment())
        self.db.sql("CREATE PUBLICATION native FOR TABLE pgbench_accounts, pgbench_branches, pgbench_tellers,"
                    " pgbench_history, pulse")
        self.native.sql(f"CREATE SUBSCRIPTION native CONNECTION '{self.db.dsn()}' PUBLICATION native")
        poll_until(lambda: self.native.one("SELECT count(*) = 0 FROM pg_subscription_rel WHERE srsubstate <> 'r'"),
                   "the subscription has copied its tables", 300)
        self.native_stop()

    def native_start(self):
        self.native.sql("ALTER SUBSCRIPTION native ENABLE")

    def native_stop(self):
        self.native.sql("ALTER SUBSCRIPTION native DISABLE")
        self.b.slot_free("native")

    def ours_stop(self):
        self.job.process.terminate(30)
        self.b.slot_free(self.job.slot)

    def close(self):
        self.native.sql("DROP SUBSCRIPTION native")
        self.db.drop()
        self.b.drop(self.b.target, "ours", "native")

    def pulse(self, target, count):
        """Milliseconds of each row."""
        first, self.newest = self.newest + 1, self.newest + count
        receiver, sender = multiprocessing.Pipe(False)
        writer = multiprocessing.Process(target=insert, args=(self.db, first, count, sender), daemon=True)
        connection = target.connect()
        cursor = connection.cursor()
        cursor.execute("PREPARE newest AS SELECT max(id) FROM pulse")
        writer.start()
        seen, visible, end = first - 1, {}, time.monotonic() + count / INSERTS_PER_S + LATE_S
        while seen < self.newest:
            cursor.execute("EXECUTE newest")
            now, newest = time.monotonic(), cursor.fetchone()[0] or 0
            for number in range(seen + 1, newest + 1):
                visible[number] = now
            seen = max(seen, newest)
            assert now < end, f"row {seen + 1} of the pulse is not visible after {LATE_S} s"
        committed = receiver.recv()
        writer.join()
        connection.close()
        return [(visible[number] - committed[number]) * 1000 for number in committed]

    def measured(self, target, loaded):
        """One turn of whichever consumer was started: caught up first, then warm."""
        self.pulse(target, 1)
        beside = self.load_start() if loaded else None
        self.pulse(target, WARMUP_S * INSERTS_PER_S)
        seen = self.pulse(target, (5 if self.b.quick else 20) * INSERTS_PER_S)
        if beside:
            self.load_stop(beside)
        return seen

    def load_start(self):
        return subprocess.Popen(
            self.b.pgbench_command(self.db, "-n", "-c", "4", "-j", "1", "-M", "prepared", "-R", str(LOAD_PER_S), "-T", "3600",
                                   "-P", "1"),
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=clean_environment())

    def load_stop(self, pgbench):
        pgbench.send_signal(signal.SIGINT)
        progress = [float(rate) for rate in re.findall(r"([\d.]+) tps", pgbench.stderr.read())]
        pgbench.wait()
        self.reached_per_s.append(statistics.mean(progress))

    def turns(self, loaded):
        """{side: a list of milliseconds for each round}"""
        self.reached_per_s = []
        seen = {"ours": [], "native": []}
        for _ in range(self.b.rounds):
            self.job.start()
            seen["ours"].append(self.measured(self.ours, loaded))
            self.ours_stop()
            self.native_start()
            seen["native"].append(self.measured(self.native, loaded))
            self.native_stop()
        return seen


def quantile(values, share):
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def measure(bench):
    latency = Latency(bench)
    for loaded, name in ((False, "idle"), (True, "loaded")):
        seen = latency.turns(loaded)
        if loaded:
            bench.rounds_note("transactions beside it", latency.reached_per_s, "/s")
        for label, share in (("p50", 0.5), ("p99", 0.99)):
            each = {side: [quantile(turn, share) for turn in turns] for side, turns in seen.items()}
            for side, values in each.items():
                bench.rounds_note(f"latency, {name}, {label}: {side}", values, "ms")
            bench.line(f"latency, {name}, {label}", statistics.median(each["ours"]), statistics.median(each["native"]), "ms")
    latency.close()
