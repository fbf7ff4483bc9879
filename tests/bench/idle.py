"""Without writes: how much of a core and of the memory a job takes, and how long it takes from exec to the stream when
there is nothing to catch up. The same with 10,000 tables, each of which has had a change."""
import os
import statistics
import time
from pathlib import Path

from memory import MIB, of_process

STREAMING = ("SELECT count(*) FROM pg_replication_slots s JOIN pg_stat_replication r ON r.pid = s.active_pid"
             " WHERE s.slot_name = %s AND r.state = 'streaming'")
TABLES = """
DO $$ BEGIN
    FOR n IN 1 .. {} LOOP
        EXECUTE format('CREATE TABLE t%s (id bigint PRIMARY KEY, note text, amount numeric)', n);
        EXECUTE format('INSERT INTO t%s VALUES (0, ''loaded'', 0.5)', n);
        IF n % 500 = 0 THEN COMMIT; END IF;
    END LOOP;
END $$"""
CHANGES = """
DO $$ BEGIN
    FOR n IN 1 .. {} LOOP
        EXECUTE format('INSERT INTO t%s VALUES (1, ''streamed'', 1.5)', n);
        IF n % 500 = 0 THEN COMMIT; END IF;
    END LOOP;
END $$"""
FEW = 10


class Idle:
    """A job whose load is done, over so many tables."""

    def __init__(self, bench, name, tables):
        self.b, self.tables = bench, tables
        self.db = bench.source.database(name)
        self.target = bench.target.database("ours")
        bench.long(self.db, TABLES.format(tables), "ANALYZE")
        self.job = bench.job(name, self.db, self.target)
        bench.walferry(self.job, "--until", "now")

    def start(self):
        """Seconds from exec until the server says that it has nothing more to send."""
        self.b.slot_free(self.job.slot)
        connection = self.db.connect()
        cursor = connection.cursor()
        before, begin = self.b.cpu_seconds(), time.monotonic()
        process = self.job.start()
        while True:
            cursor.execute(STREAMING, (self.job.slot,))
            if cursor.fetchone()[0]:
                break
            assert process.alive(), f"walferry ended:\n{process.err[-2000:]}"
            time.sleep(0.002)
        seconds = time.monotonic() - begin
        self.start_cpu_seconds = self.b.cpu_seconds() - before + cpu_ticks(self.job) / os.sysconf("SC_CLK_TCK")
        connection.close()
        self.job.wait_for("running")
        return seconds

    def stop(self):
        code = self.job.process.terminate(60)
        assert code == 0, f"exit {code}: {self.job.process.err[-2000:]}"

    def starts(self, count):
        """The process of the last one goes on."""
        seconds = [self.start()]
        for _ in range(count - 1):
            self.stop()
            seconds.append(self.start())
        return seconds

    def change_each(self):
        self.b.long(self.db, CHANGES.format(self.tables))
        self.job.drain(self.db, 600)

    def rss(self):
        return of_process(self.job.process, "VmRSS") / MIB

    def close(self):
        self.stop()
        self.b.slot_free(self.job.slot)
        self.db.drop()
        self.b.drop(self.b.target, "ours")


def core_share(job, seconds):
    """Percent, of threads that have ended, too."""
    begin, before = time.monotonic(), cpu_ticks(job)
    time.sleep(seconds)
    return (cpu_ticks(job) - before) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - begin) * 100


def cpu_ticks(job):
    user, system = Path(f"/proc/{job.process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return int(user) + int(system)


def tables_start(bench, name, tables, starts):
    """(seconds of each start, CPU seconds of the last one on all sides, MiB after a change of every table)"""
    idle = Idle(bench, name, tables)
    seconds, cpu = idle.starts(starts), idle.start_cpu_seconds
    idle.change_each()
    rss = idle.rss()
    idle.close()
    return seconds, cpu, rss


def measure(bench):
    idle = Idle(bench, "idle", FEW)
    seconds = idle.starts(bench.rounds + 2)
    shares = [core_share(idle.job, 10 if bench.quick else 30) for _ in range(bench.rounds)]
    rss = idle.rss()
    idle.close()
    bench.rounds_note("starts", seconds)
    bench.rounds_note("share of a core", shares, "%")
    bench.limit("idle, share of a core", statistics.median(shares), "%", 0.5)
    bench.limit("idle, memory", rss, "MiB", 20)
    bench.limit("idle, start to streaming", statistics.median(seconds), "s", 0.3)
