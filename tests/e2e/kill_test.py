#!/usr/bin/python3
"""The kill test: bank and counter under kill -9 of walferry (at random moments and at every named fault point), of the
destination server and of the source server. After every kill the destination must be the source as of some commit
(I1 to I3), the watcher must never see a confirmed position that is not durable (I6), work must go on by itself (I7),
and at the end of each job both sides must be equal, rows and definitions.

    kill_test.py [--rounds N] [--seed N] [--minutes N] [--gear GEAR] [--workers N] [--immediate] [--only KIND]
The last line is "N passed, N failed": one for each round, and one for each job that ended."""
import argparse
import random
import sys
import time
from collections import Counter
from pathlib import Path

import psycopg2

sys.path.insert(0, str(Path(__file__).parent))

from harness.bank import Bank, Watcher  # noqa: E402
from harness.oracle import check_definitions, check_equal  # noqa: E402
from harness.place import NEWEST, Place, path_with_versions, walferry_binary  # noqa: E402
from harness.poll import poll_until  # noqa: E402
from harness.server import Server  # noqa: E402
from harness.streaming import AT_ONCE, EARLY  # noqa: E402
from harness.vondra import vondra  # noqa: E402
from harness.walferry import Job  # noqa: E402

# Point -> up to which occurrence it is used. Those of the load are met by a new job on an emptied destination.
LOAD_POINTS = {"snapshot.after_slot": 1, "snapshot.after_export": 1, "snapshot.mid_table": 5,
               "snapshot.before_handover": 1}
STREAM_POINTS = {"source.before_feedback": 8, "source.after_commit_parsed": 40, "assembler.spill_write": 2,
                 "apply.before_commit": 40, "apply.after_commit": 40, "apply.before_progress_read": 1,
                 "ledger.after_durable": 40, "early.part_applied": 30, "early.before_commit": 2,
                 "early.after_commit": 2}
RUN_POINTS = {"runs.sent_early": 20}  # only where runs are applied on several connections
DROP_POINT = "slot.before_drop"  # a slot that only an intent knows is dropped and made again
MOMENT, LOAD_MOMENT, TARGET, SOURCE = "random moment", "random moment in load", "destination server", "source server"
BOTH = "both servers"    # restart in a loop (F15); walferry itself lives through it
CYCLE = [MOMENT] * 3 + [LOAD_MOMENT] * 2 + [TARGET] * 2 + [SOURCE, BOTH] + [*LOAD_POINTS, *STREAM_POINTS, DROP_POINT]

GEARS = ("auto", "live", "catch-up")
LARGE = (12000, 2048)    # rows and bytes of the transaction that must spill
LARGE_EVERY_S = 5
MEMORY = "16MiB"
LOG_ROWS_MAX = 20000     # then the bank is made anew, so that the oracle stays quick
FAILURES_MAX = 5
REACH_S = 60             # to reach a fault point
PROGRESS_S = 45          # to go on after a fault
LOOP_S = 15              # one round of restarts


class KillTest:
    def __init__(self, seed, gear, workers, immediate):
        self.seed = seed
        self.gear = gear or "catch-up" if workers else gear
        self.workers = workers
        self.points = {**LOAD_POINTS, **STREAM_POINTS, **(RUN_POINTS if workers else {})}
        self.random = random.Random(seed)
        self.place = Place()
        streams, version = (AT_ONCE, NEWEST) if immediate else (EARLY, None)
        self.source_server = Server(self.place, "source", "source", {"wal_sender_timeout": "3s"} | streams, version).start()
        self.target_server = Server(self.place, "target", "target", {"fsync": "on"}, version).start()
        self.source = self.source_server.database("bank")
        self.target = self.target_server.database("bank")
        self.bank = self.job = self.watcher = None
        self.reached = False         # catching-up, in this job: from then on the prefix rule holds
        self.jobs = self.transactions = self.prefix_checks = self.looks = self.went_back = 0
        self.kills, self.failures = Counter(), []
        self.passed = 0
        self.bank_new()

    # ---- the bank and the job ----

    def bank_new(self):
        if self.bank:
            self.bank.stop()
            self.transactions += self.bank.transactions()
            self.source.drop()
            self.source = self.source_server.database("bank")
        self.bank = Bank(self.source, writers=4, seed=self.random.randrange(1 << 30), pause=0.03,
                         keyed=bool(self.workers))
        self.bank.create(ballast_tables=4, ballast_rows=15000).start()

    def job_new(self):
        """A new job on an emptied destination."""
        if self.job:
            self.job_end()
        if self.bank.transactions() > LOG_ROWS_MAX:
            self.bank_new()
        self.target.drop()
        self.target = self.target_server.database("bank")
        self.jobs += 1
        self.reached = False
        target = {"gear": self.gear or self.random.choice(GEARS)} | ({"workers": self.workers} if self.workers else {})
        self.job = Job(self.place.folder(f"j{self.jobs}"), "kill", self.source.dsn(), self.target.dsn(),
                       {"memory": MEMORY, "target": target},
                       env={"PATH": path_with_versions()} if self.source_server.version else None)
        self.watcher = Watcher(self.bank, self.source, self.target, self.job.slot)
        self.watcher.start()

    def job_end(self):
        """Everything arrives, both sides are equal, nothing is left on the source."""
        self.bank.pause_writers()
        process = self.job.start()
        poll_until(lambda: self.arrived(process), "all transactions arrive", 120, every=0.2,
                   forgiving=(psycopg2.Error,))
        self.watcher.rest()
        code = process.terminate(10)
        assert code == 0, f"SIGTERM ended with {code}: {process.err[-2000:]}"
        self.bank.check_prefix(self.target)
        check_equal(self.source, self.target)
        check_definitions(self.source, self.target)
        self.check_audit()
        self.clean()
        self.job_close()
        self.passed += 1
        self.bank.resume_writers()

    def check_audit(self):
        """Every change was applied exactly once, by the job's own sums (core/audit.h)."""
        status = self.job.status()
        assert status["audit"]["broken"] is None, status["audit"]
        uneven = {table["name"]: table["changes"] for table in status["tables"] if not table["changes"]["equal"]}
        assert not uneven, f"received and applied differ: {uneven}"

    def arrived(self, process):
        assert process.alive(), f"walferry ended with {process.popen.returncode}: {process.err[-2000:]}"
        self.note_phase()
        if not self.reached or dict(self.target.sql("SELECT writer, seq FROM counters")) != self.bank.counters():
            return False
        return self.job.status()["state"] == "running"  # and not only by what an earlier process has done

    def clean(self):
        done = self.job.call("cleanup")
        assert done.exit == 0, f"cleanup ended with {done.exit}: {done.err}"
        left = self.source.sql("SELECT slot_name FROM pg_replication_slots UNION ALL SELECT pubname FROM pg_publication"
                               " UNION ALL SELECT relname FROM pg_class WHERE relname LIKE 'dts\\_%'")
        assert left == [], f"left on the source: {left}"

    def job_close(self):
        self.watcher.stop()
        self.looks += self.watcher.looks
        broken = self.job.close()
        self.job = None
        self.watcher.check()
        assert not broken, f"broken: {broken}"

    def job_forget(self):
        """After a failure: the next round begins from nothing."""
        for server in (self.source_server, self.target_server):
            if server.process is None:
                server.start()
        job, self.job = self.job, None
        if job:
            job.close()
            self.watcher.stop()
        self.source_server.drop_slots(self.source.name)
        self.bank_new()

    # ---- one round ----

    def round(self, kind):
        killed_load = self.job and not self.reached  # a random moment may well kill the same load again
        if kind in (*LOAD_POINTS, DROP_POINT) or self.job is None or kind == LOAD_MOMENT and not killed_load:
            self.job_new()
        if kind in self.points:
            self.round_point(kind)
        elif kind == DROP_POINT:
            self.round_drop()
        elif kind in (TARGET, SOURCE):
            self.round_server(kind)
        elif kind == BOTH:
            self.round_both()
        else:
            self.round_moment(kind)

    def start(self, fault=None):
        """With several connections in small runs, so that many are on their way."""
        orders = [fault] * bool(fault) + ["runs.small:fail"] * bool(self.workers)
        return self.job.start(fault=",".join(orders) or None)

    def round_point(self, point):
        occurrence = self.random.randint(1, self.points[point])
        process = self.start(f"{point}:kill@{occurrence}")
        asked = 0

        def dead():
            nonlocal asked
            if point == "assembler.spill_write" and time.monotonic() - asked > LARGE_EVERY_S:
                asked = time.monotonic()  # again and again: one that commits during the load never comes by the stream
                self.bank.writers[1].ask_large(*LARGE)
            return self.dead(process)
        poll_until(dead, f"{point}@{occurrence} is reached", REACH_S)
        self.proved(process, point, process.popen.returncode)
        self.after_kill(point)

    def round_drop(self):
        first = self.job.start(fault="snapshot.after_slot:kill")
        self.proved(first, "snapshot.after_slot", first.wait(REACH_S))
        second = self.job.start(fault=f"{DROP_POINT}:kill")
        self.proved(second, DROP_POINT, second.wait(REACH_S))
        self.after_kill(DROP_POINT)

    def round_moment(self, kind):
        process = self.start()
        if kind == MOMENT and self.random.random() < 0.5:
            poll_until(lambda: self.note_phase(process) or self.reached, "catching-up", REACH_S, every=0.1)
        self.pass_time(process, self.random.random() * 1.5)
        assert process.alive(), f"walferry ended by itself with {process.popen.returncode}: {process.err[-2000:]}"
        process.kill9()
        self.after_kill(kind)

    def round_server(self, kind):
        server = self.target_server if kind == TARGET else self.source_server
        process = self.start()
        poll_until(lambda: self.note_phase(process) or self.reached, "catching-up", REACH_S, every=0.1)
        self.pass_time(process, self.random.random())
        before = self.source.slot(self.job.slot)[0]
        server.kill9()
        time.sleep(self.random.random() * 0.5)
        server.start()
        if kind == SOURCE:
            self.went_back += self.source.slot(self.job.slot)[0] < before
        self.check_prefix()
        self.wait_progress(process)
        if self.random.random() < 0.5:
            process.kill9()
        else:
            code = process.terminate(10)
            assert code == 0, f"SIGTERM ended with {code}: {process.err[-2000:]}"
        self.after_kill(kind)

    def round_both(self):
        process = self.start()
        poll_until(lambda: self.note_phase(process) or self.reached, "catching-up", REACH_S, every=0.1)
        vondra(self.source_server, self.target_server, self.random, LOOP_S, after=self.check_prefix)
        self.wait_progress(process)
        process.kill9()
        self.after_kill(BOTH)

    def proved(self, process, point, code):
        assert code == -9, f"{point} did not kill: exit {code}: {process.err[-2000:]}"
        assert process.reached(point), f"died without reaching {point}"

    def dead(self, process):
        self.note_phase(process)
        return not process.alive()

    def pass_time(self, process, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end and process.alive():
            time.sleep(0.01)

    def note_phase(self, process=None):
        """Once catching-up was seen the prefix rule holds for good, and the watcher begins."""
        if self.reached or process is not None and not process.alive():
            return
        if self.job.reached("catching-up"):
            self.reached = True
            self.watcher.watch()

    def after_kill(self, kind):
        self.kills[kind] += 1
        self.note_phase()
        if self.reached:
            self.check_prefix()
        self.bank.raise_failures()
        self.watcher.check()

    def check_prefix(self):
        self.prefix_checks += 1
        self.bank.check_prefix(self.target)

    def wait_progress(self, process):
        """I7: new transactions arrive without a human."""
        before = self.arrived_count()

        def more():
            assert process.alive(), f"walferry ended with {process.popen.returncode}: {process.err[-2000:]}"
            return self.arrived_count() > before + 20
        poll_until(more, "work goes on after the fault", PROGRESS_S, every=0.1, forgiving=(psycopg2.Error,))

    def arrived_count(self):
        return self.target.one("SELECT sum(seq)::bigint FROM counters")

    # ---- all rounds ----

    def plan(self, rounds, only):
        kinds = []
        while len(kinds) < rounds:
            cycle = [only] if only else CYCLE + list(RUN_POINTS if self.workers else [])
            self.random.shuffle(cycle)
            kinds += cycle
        return kinds[:rounds]

    def attempt(self, title, work):
        begin = time.monotonic()
        try:
            work()
            self.passed += 1
            print(f"{title}: ok, {time.monotonic() - begin:.1f} s", flush=True)
        except Exception as error:  # every failure is counted and shown; the next round begins anew
            self.failures.append(title)
            print(f"{title}: FAILED: {error!r}\n{error}\n{self.evidence()}", flush=True)
            self.job_forget()

    def evidence(self):
        processes = self.job.processes[-2:] if self.job else []
        return "\n".join(f"--- {process.err_path}\n{process.err[-2500:]}" for process in processes)

    def run(self, rounds, minutes, only):
        end = time.monotonic() + minutes * 60
        done = 0
        while (done < rounds or time.monotonic() < end) and len(self.failures) < FAILURES_MAX:
            for kind in self.plan(min(rounds - done, len(CYCLE)) if done < rounds else len(CYCLE), only):
                done += 1
                self.attempt(f"round {done} ({kind})", lambda k=kind: self.round(k))
                if len(self.failures) >= FAILURES_MAX or done >= rounds and time.monotonic() >= end:
                    break
        if self.job:
            self.attempt("end: both sides equal", self.last)
        self.report()

    def last(self):
        self.job_end()
        self.passed -= 1  # counted by attempt as well

    def report(self):
        self.bank.stop()
        self.transactions += self.bank.transactions()
        print(f"\nseed {self.seed}\n{'killed':<28}{'times':>6}")
        for kind, times in sorted(self.kills.items()):
            print(f"{kind:<28}{times:>6}")
        print(f"{'all':<28}{sum(self.kills.values()):>6}\n"
              f"jobs {self.jobs}, transactions {self.transactions}, prefix checks {self.prefix_checks},"
              f" looks of the watcher {self.looks}, slot went back {self.went_back} times,"
              f" violations {len(self.failures)}")

    def close(self):
        self.place.keep = self.place.keep or bool(self.failures)
        if self.job:
            self.job.close()
        self.source_server.discard(self.place.keep)
        self.target_server.discard(self.place.keep)
        self.place.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--minutes", type=float, default=0, help="go on for at least that long")
    parser.add_argument("--gear", choices=GEARS, help="of all jobs; else each has another")
    parser.add_argument("--workers", type=int, help="of all jobs: connections that apply sets, in small runs")
    parser.add_argument("--immediate", action="store_true",
                        help="servers of the newest version, whose source streams each change by itself")
    parser.add_argument("--only", choices=sorted({*CYCLE, *RUN_POINTS}), help="one kind of kill")
    options = parser.parse_args()
    if not walferry_binary().exists():
        sys.exit(f"{walferry_binary()} is missing: cmake --preset faults && cmake --build --preset faults")
    print(f"kill test: seed {options.seed}, {options.rounds} rounds", flush=True)
    test = KillTest(options.seed, options.gear, options.workers, options.immediate)
    try:
        test.run(options.rounds, options.minutes, options.only)
    finally:
        test.close()
    print(f"{test.passed} passed, {len(test.failures)} failed")
    return 1 if test.failures else 0


if __name__ == "__main__":
    sys.exit(main())
