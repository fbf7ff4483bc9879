"""The frame of the performance page's works: two servers of this machine, what is timed and measured, and one line for
each target. Each kind of work is a file of its own."""
import argparse
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import apply
import growth
import idle
import kafka
import latency
import load
import memory
import tpcb
from harness.place import Place, clean_environment, postgres_bin
from harness.poll import poll_until
from harness.server import Database, Server, children_of
from harness.walferry import Job, walferry_binary

MIB = 1 << 20
# autovacuum comes when it likes, and takes one of the few cores
SETTINGS = {"shared_buffers": "1GB", "max_wal_size": "8GB", "fsync": "on", "wal_sender_timeout": "60s",
            "checkpoint_timeout": "30min", "autovacuum": "off", "max_connections": 300,
            "max_locks_per_transaction": 256}
WAL_SEGMENT_MIB = 16
TARGETS = {  # the largest ratio of ours to the reference
    "load / parallel pipes": 1.05, "load / pgcopydb": 1 / 1.3, "one table / one pipe": 0.8,
    "apply-small / recvlogical": 1.2, "apply-small / native": 1 / 2,
    "apply-insert / recvlogical": 1.25, "apply-insert / native": 1 / 1.5,
    "apply-update / recvlogical": 1.6, "apply-update / native": 1 / 1.8,
    "latency, idle, p50": 1.5, "latency, idle, p99": 1.5, "latency, loaded, p50": 1.5, "latency, loaded, p99": 1.5,
    **{f"kafka-{work} {form} / {side}": most for work in ("small", "insert", "update") for form in kafka.FORMATS
       for side, most in (("recvlogical", 1.15), ("debezium", kafka.MOST_OF_DEBEZIUM),
                          ("debezium, CPU", kafka.MOST_OF_ITS_CPU))},
    "growth, 10 times as many": 1.1, "growth, 100 times as many": 1.1}
CHECKSUM = "SELECT count(*), sum(hashtextextended(t::text, 0)) FROM {} t"


@dataclass
class Run:
    """One process from exec to exit."""
    seconds: float
    cpu_seconds: float
    out: str

    @property
    def peak_mib(self):
        """Of walferry run --json."""
        return json.loads(self.out)["peak_rss_bytes"] / MIB


class Bench:
    def __init__(self, place, quick, seconds=None, out=None):
        self.place, self.quick, self.seconds, self.out = place, quick, seconds, out
        self.source = self.server("source")
        self.target = self.server("target")
        self.rounds = 1 if quick else 3
        self.jobs = []
        self.held = self.short = 0

    def server(self, name):
        return Server(self.place, name, name, SETTINGS, segment_mib=WAL_SEGMENT_MIB).start()

    def close(self):
        for job in self.jobs:
            job.close()
        for server in (self.source, self.target):
            server.stop("immediate")

    # ---- what is timed ----

    def environment(self):
        return clean_environment(XDG_RUNTIME_DIR=str(self.place.path), XDG_STATE_HOME=str(self.place.path))

    def timed(self, command):
        out, err = (self.place.path / f"timed.{kind}" for kind in ("out", "err"))
        begin = time.monotonic()
        with open(out, "wb") as to, open(err, "wb") as complaint:
            process = subprocess.Popen(command, env=self.environment(), cwd=self.place.path, stdout=to, stderr=complaint)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
        if status != 0:
            sys.exit(f"{command[0]} failed: {err.read_text(errors='replace')[-2000:]}")
        return Run(time.monotonic() - begin, usage.ru_utime + usage.ru_stime, out.read_text(errors="replace"))

    def walferry(self, job, *arguments, under=()):
        return self.timed([*under, walferry_binary(), "run", job.file, "--json", *arguments])

    def job(self, name, source, target, **config):
        """As a user would have it: what the tests hurry is at its default."""
        spill = str(self.place.folder(f"spill-{name}"))
        job = Job(self.place.folder(f"job-{name}"), name, source.dsn(), target.dsn(),
                  {"source": {"heartbeat": None}, "retry": None, "spill": {"dir": spill}, **config})
        self.jobs.append(job)
        return job

    def cpu_seconds(self):
        """Of both servers' processes and of ours that have ended: what others do on the machine weighs less on it."""
        ours = resource.getrusage(resource.RUSAGE_CHILDREN)
        servers = [self.source.process.pid, self.target.process.pid]
        ended = sum(ticks(pid, 13) for pid in servers)
        return ours.ru_utime + ours.ru_stime + ended + sum(ticks(pid, 11) for top in servers for pid in children_of(top))

    # ---- databases ----

    def fresh(self, server, name, template="template1"):
        """Made anew; a copy of files is quicker than one through the WAL, and leaves the same rows."""
        self.drop(server, name)
        server.sql(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        return Database(server, name)

    def drop(self, server, *names):
        for name in names:
            server.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def checkpoint(self):
        for server in (self.source, self.target):
            server.sql("CHECKPOINT")

    def long(self, database, *statements):
        """Each in a transaction of its own, or in as many as it commits itself, however long it takes."""
        connection = database.connect()
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET statement_timeout = 0")
                for statement in statements:
                    cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def checksums(self, database, tables):
        return {table: self.long(database, CHECKSUM.format(table))[0] for table in tables}

    def prove_equal(self, name, expected, target):
        seen = self.checksums(target, expected)
        if seen != expected:
            sys.exit(f"{name}: both sides DIFFER: source {expected}, target {seen}")

    def slot_free(self, name):
        poll_until(lambda: not self.source.one("SELECT active FROM pg_replication_slots WHERE slot_name = %s", (name,)),
                   f"nobody reads slot {name}", 60, every=0.01)

    def pgbench_command(self, database, *arguments):
        return [postgres_bin() / "pgbench", "-h", self.source.directory, "-p", str(self.source.port), "-U", "postgres",
                *arguments, database.name]

    def pgbench(self, database, *arguments):
        return self.timed(self.pgbench_command(database, *arguments))

    # ---- lines ----

    def verdict(self, target, holds):
        self.held, self.short = self.held + holds, self.short + (not holds)
        return f"target {target:5.4g}  " + ("holds" if holds else "falls short")

    def line(self, name, ours, reference, unit="s"):
        """name, ours, reference, ratio, target, holds or falls short."""
        ratio, target = ours / reference, TARGETS[name]
        print(f"{name:30} {ours:9.2f} {unit:4} {reference:9.2f} {unit:4} ratio {ratio:6.2f}  "
              f"{self.verdict(target, ratio <= target)}", flush=True)

    def limit(self, name, ours, unit, most):
        """The same for a target that has no reference."""
        print(f"{name:30} {ours:9.2f} {unit:4} {'':27} {self.verdict(most, ours <= most)}", flush=True)

    def note(self, name, text):
        print(f"  {name:28} {text}", flush=True)

    def rounds_note(self, name, values, unit="s"):
        self.note(name, "  ".join(f"{value:.2f} {unit}" for value in values))


def ticks(pid, at):
    """Seconds by /proc: at 11 the process itself, at 13 its children that it has waited for; 0 when it is gone."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return (int(after_name[at]) + int(after_name[at + 1])) / os.sysconf("SC_CLK_TCK")


WORK = {"load": load.measure, "one": load.measure_one, "apply-small": apply.small, "apply-insert": apply.insert,
        "apply-update": apply.update, "latency": latency.measure, "memory": memory.measure, "idle": idle.measure,
        "growth": growth.measure, "kafka": kafka.measure, "tpcb": tpcb.measure}
ONLY_BY_NAME = {"tpcb"}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=sorted(WORK))
    parser.add_argument("--quick", action="store_true", help="one round of a tenth of the work")
    parser.add_argument("--seconds", type=int, default=600, help="how long tpcb writes")
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="where tpcb leaves its table and its plot")
    arguments = parser.parse_args()
    place = Place()
    bench = Bench(place, arguments.quick, min(arguments.seconds, 20) if arguments.quick else arguments.seconds,
                  arguments.out)
    try:
        for name, measure in WORK.items():
            if arguments.only == name or arguments.only is None and name not in ONLY_BY_NAME:
                measure(bench)
    finally:
        bench.close()
        place.close()
    print(f"{bench.held} passed, {bench.short} failed")
    sys.exit(1 if bench.short else 0)


if __name__ == "__main__":
    main()
