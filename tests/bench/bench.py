"""The works of the performance page. Work L is in load.py. Work T: 100,000 small transactions, 400,000 changes, consumed from a filled slot by
pg_recvlogical, by walferry and by a native subscription, in turn."""
import argparse
import os
import statistics
import subprocess
import sys
import time

import load
from harness.place import Place, clean_environment, postgres_bin
from harness.poll import poll_until
from harness.server import Server
from harness.walferry import walferry_binary

SETTINGS = {"shared_buffers": "1GB", "max_wal_size": "8GB", "fsync": "on", "wal_sender_timeout": "60s",
            "checkpoint_timeout": "30min"}
TARGETS = {"load / parallel pipes": 1.05, "load / pgcopydb": 1 / 1.3, "one table / one pipe": 0.8}  # name: largest ratio


class Bench:
    def __init__(self, place, quick):
        self.place = place
        self.source = Server(place, "source", "source", SETTINGS).start()
        self.target = Server(place, "target", "target", SETTINGS).start()
        self.rounds = 1 if quick else 3
        self.transactions = 1250 if quick else 12500

    def close(self):
        for server in (self.source, self.target):
            server.stop("immediate")

    def pgbench(self, *arguments):
        self.pgbench_on("bench", *arguments)

    def pgbench_on(self, database, *arguments):
        subprocess.run([postgres_bin() / "pgbench", "-h", self.source.directory, "-p", str(self.source.port), "-U",
                        "postgres", *arguments, database], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, env=clean_environment())

    def timed(self, command):
        """Seconds and peak memory in KiB of a whole process."""
        begin = time.monotonic()
        process = subprocess.Popen(command, env=clean_environment(), cwd=self.place.path, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE)
        complaint = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            sys.exit(f"{command[0]} failed: {complaint.decode()[-2000:]}")
        return time.monotonic() - begin, usage.ru_maxrss


class Small:
    """apply-small: the three consumers of one workload."""

    def __init__(self, bench):
        self.b = bench
        self.db = bench.source.database("bench")
        self.ours = bench.target.database("ours")
        self.native = bench.target.database("native")
        bench.pgbench("-i", "-q", "-s", "10")
        self.db.sql("ALTER TABLE pgbench_history ADD id bigserial PRIMARY KEY")
        self.db.sql("CREATE TABLE marker (id int PRIMARY KEY)")
        self.job = bench.place.path / "bench.yaml"
        self.job.write_text(f"name: bench\nsource: {{dsn: \"{self.db.dsn()}\"}}\ntarget: {{dsn: \"{self.ours.dsn()}\"}}\n"
                            f"spill: {{dir: {bench.place.path}/spill}}\n")
        bench.timed([walferry_binary(), "run", self.job, "--until", "now"])
        self.make_native()
        self.db.sql("SELECT pg_create_logical_replication_slot('recvlogical', 'pgoutput')")

    def make_native(self):
        dump = subprocess.run([postgres_bin() / "pg_dump", "-s", "--no-publications", "-d", self.db.dsn()],
                              check=True, capture_output=True, env=clean_environment())
        subprocess.run(["psql", "-qX", "-d", self.native.dsn()], input=dump.stdout, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=clean_environment())
        self.db.sql("CREATE PUBLICATION native FOR TABLE pgbench_accounts, pgbench_branches, pgbench_tellers,"
                    " pgbench_history, marker")
        self.native.sql(f"CREATE SUBSCRIPTION native CONNECTION '{self.db.dsn()}' PUBLICATION native")
        poll_until(lambda: self.native.one("SELECT count(*) = 0 FROM pg_subscription_rel WHERE srsubstate <> 'r'"),
                   "the subscription has copied its tables", 120)
        self.pause_native()

    def pause_native(self):
        self.native.sql("ALTER SUBSCRIPTION native DISABLE")
        poll_until(lambda: self.db.one("SELECT NOT active FROM pg_replication_slots WHERE slot_name = 'native'"),
                   "the subscription is paused")

    def consume_native(self, marker):
        connection = self.native.connect()
        cursor = connection.cursor()
        begin = time.monotonic()
        cursor.execute("ALTER SUBSCRIPTION native ENABLE")
        while True:
            cursor.execute("SELECT count(*) FROM marker WHERE id = %s", (marker,))
            if cursor.fetchone()[0]:
                break
            time.sleep(0.005)
        seconds = time.monotonic() - begin
        connection.close()
        self.pause_native()
        return seconds

    def consume_recvlogical(self, lsn):
        return self.b.timed([postgres_bin() / "pg_recvlogical", "-d", self.db.dsn(), "-S", "recvlogical", "--start",
                             "-o", "proto_version=1", "-o", "publication_names=native", "--endpos", lsn, "-f",
                             self.b.place.path / "recvlogical.out"])

    def run(self):
        seen = {"ours": [], "recvlogical": [], "native": [], "rss": []}
        for number in range(1, self.b.rounds + 1):
            self.b.pgbench("-n", "-c", "8", "-j", "2", "-M", "prepared", "-t", str(self.b.transactions))
            self.db.sql("INSERT INTO marker VALUES (%s)", (number,))
            lsn = self.db.one("SELECT pg_current_wal_insert_lsn()")
            for server in (self.b.source, self.b.target):
                server.sql("CHECKPOINT")
            seen["recvlogical"].append(self.consume_recvlogical(lsn)[0])
            seconds, rss = self.b.timed([walferry_binary(), "run", self.job, "--until", lsn])
            seen["ours"].append(seconds)
            seen["rss"].append(rss / 1024)
            seen["native"].append(self.consume_native(number))
            if self.ours.one("SELECT count(*) FROM marker") != number:
                sys.exit("walferry ended before the marker was there")
        self.native.sql("DROP SUBSCRIPTION native")
        return seen


def line(name, ours, reference, unit="s"):
    """name, ours, reference, ratio, target, holds or falls short."""
    ratio = ours / reference
    target = TARGETS.get(name)
    verdict = "" if target is None else f"target {target}  " + ("holds" if ratio <= target else "falls short")
    print(f"{name:28} {ours:8.2f} {unit} {reference:8.2f} {unit}  ratio {ratio:5.2f}  {verdict or 'no target yet'}")


def apply_small(bench):
    seen = Small(bench).run()
    median = {key: statistics.median(values) for key, values in seen.items()}
    for key in ("ours", "recvlogical", "native"):
        print(f"  {key:12} " + "  ".join(f"{value:.2f} s" for value in seen[key]))
    line("apply-small / recvlogical", median["ours"], median["recvlogical"])
    line("apply-small / native", median["ours"], median["native"])
    print(f"apply-small peak memory      {max(seen['rss']):8.1f} MiB")


WORK = {"apply-small": apply_small, "load": lambda bench: load.measure(bench, bench.rounds == 1, line),
        "one": lambda bench: load.measure_one(bench, bench.rounds == 1, line)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=sorted(WORK))
    parser.add_argument("--quick", action="store_true", help="one round of a tenth of the work")
    arguments = parser.parse_args()
    place = Place()
    bench = Bench(place, arguments.quick)
    try:
        for name, measure in WORK.items():
            if arguments.only in (None, name):
                measure(bench)
    finally:
        bench.close()
        place.close()


if __name__ == "__main__":
    main()
