#!/usr/bin/python3
"""The kill test of the fan-out to Kafka: the bank under kill -9 of walferry (at random moments and at every named fault
point), and under kill -9 and pauses of the broker. A read_committed reader follows all topics the whole time: nothing
twice, nothing out of order, and the slot never beyond what it has read (I6). At the end of each job the topics have just
what the source has done since the job's birth, by a second decoder of the same WAL (test_decoding), the control topic's
lists say so too, and the rows that the topics lead to are the source's.

    kafka_kill_test.py [--rounds N] [--broker-rounds N] [--seed N] [--delivery exactly-once|at-least-once]
                       [--beside-database] [--only KIND]
The last line is "N passed, N failed": one for each round, and one for each job that ended."""
import argparse
import random
import sys
import time
from collections import Counter
from pathlib import Path

import psycopg2

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))

from harness.bank import Bank  # noqa: E402
from harness.broker import Broker  # noqa: E402
from harness.follower import Follower, Oracle  # noqa: E402
from harness.oracle import check_equal  # noqa: E402
from harness.place import Place, walferry_binary  # noqa: E402
from harness.poll import poll_until  # noqa: E402
from harness.server import Server  # noqa: E402
from harness.streaming import EARLY  # noqa: E402
from harness.walferry import Job  # noqa: E402

# Point -> up to which occurrence it is used. Those of the birth are met by a new job.
BIRTH_POINTS = {"snapshot.after_slot": 1}
STREAM_POINTS = {"kafka.before_commit": 15, "kafka.after_commit": 15, "source.before_feedback": 8,
                 "source.after_commit_parsed": 60, "ledger.after_durable": 60, "assembler.spill_write": 2}
# Only beside a database.
LOAD_POINTS = {"snapshot.after_export": 1, "snapshot.mid_table": 5, "snapshot.before_handover": 1}
TARGET_POINTS = {"apply.before_commit": 30, "apply.after_commit": 30, "apply.before_progress_read": 1}
DROP_POINT = "slot.before_drop"  # a slot that only an intent knows is dropped and made again
MOMENT, START_MOMENT, BIRTH_MOMENT = "random moment", "random moment in start", "random moment in birth"
BROKER_KILLED, BROKER_PAUSED = "broker killed", "broker paused"

PARTITIONS = 3
LARGE = (9000, 2048)     # rows and bytes of the transaction that must spill
LARGE_EVERY_S = 5
MEMORY = "16MiB"
LOG_ROWS_MAX = 12000     # then the bank is made anew
FAILURES_MAX = 5
REACH_S = 90             # to reach a fault point
PROGRESS_S = 90          # to go on after a fault
ARRIVE_S = 120
SECOND_KILL = 0.3        # of the broker's rounds: walferry is killed while the broker is away
PAUSE_S = (5, 30)
FIRST_S = "2min"         # a start while the broker is away waits so long for it


class KafkaKillTest:
    def __init__(self, seed, delivery, beside):
        self.seed = seed
        self.exactly_once = delivery == "exactly-once"
        self.delivery = delivery
        self.beside = beside
        self.births = {**BIRTH_POINTS, **(LOAD_POINTS if beside else {})}
        self.points = {**self.births, **STREAM_POINTS, **(TARGET_POINTS if beside else {})}
        self.cycle = [MOMENT] * 4 + [START_MOMENT] * 2 + [BIRTH_MOMENT, DROP_POINT, *self.points] + \
            ["kafka.before_commit", "kafka.after_commit"]
        self.random = random.Random(seed)
        self.place = Place()
        self.source_server = Server(self.place, "source", "source", EARLY).start()
        self.source = self.source_server.database("bank")
        self.target_server = self.target = None
        if beside:
            self.target_server = Server(self.place, "target", "target", {"fsync": "on"}).start()
            self.target = self.target_server.database("bank")
        self.broker = Broker(self.place).start()
        self.bank = self.job = self.follower = self.oracle = None
        self.jobs = self.transactions = self.records = self.repeats = self.looks = self.compared = self.groups = 0
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
        self.bank = Bank(self.source, writers=4, seed=self.random.randrange(1 << 30), pause=0.08)
        self.bank.create().start()

    def job_new(self):
        """A new job with topics of its own."""
        if self.job:
            self.job_end()
        if self.bank.transactions() > LOG_ROWS_MAX:
            self.bank_new()
        self.jobs += 1
        config = {"memory": MEMORY, "kafka": {
            "brokers": self.broker.client()["bootstrap.servers"], "prefix": self.prefix, "delivery": self.delivery,
            "topics": {"partitions": PARTITIONS}}}
        if self.beside:
            self.target.drop()
            self.target = self.target_server.database("bank")
        else:
            config["phases"] = ["incremental"]
        self.job = Job(self.place.folder(f"j{self.jobs}"), "kill", self.source.dsn(),
                       self.target.dsn() if self.beside else None, config)
        self.oracle = Oracle(self.source)
        self.follower = Follower(self.broker, self.prefix, self.bank, self.source, self.job, self.exactly_once)
        self.follower.start()

    @property
    def prefix(self):
        return f"k{self.jobs}"

    def job_end(self):
        """Everything arrives; the topics are what the source has done."""
        self.bank.pause_writers()
        upto = self.source.lsn()
        process = self.start()
        poll_until(lambda: self.arrived(process, upto), "all transactions arrive", ARRIVE_S, every=0.2)
        if self.beside:
            poll_until(lambda: self.job.reached("running"), "running", ARRIVE_S, every=0.2)
            self.job.drain(self.source)
        code = process.terminate(10)
        assert code == 0, f"SIGTERM ended with {code}: {process.err[-2000:]}"
        self.follower.finish()
        self.compared += self.follower.compare(self.oracle)
        self.follower.check_groups()
        self.follower.check_rows()
        if self.beside:
            self.bank.check_prefix(self.target)
            check_equal(self.source, self.target)
        self.clean()
        self.job_close()
        self.passed += 1
        self.bank.resume_writers()

    def arrived(self, process, upto):
        assert process.alive(), f"walferry ended with {process.popen.returncode}: {process.err[-2000:]}"
        self.follower.check()
        return self.follower.applied >= upto

    def clean(self):
        self.oracle.close()
        done = self.job.call("cleanup")
        assert done.exit == 0, f"cleanup ended with {done.exit}: {done.err}"
        left = self.source.sql("SELECT slot_name FROM pg_replication_slots UNION ALL SELECT pubname FROM pg_publication"
                               " UNION ALL SELECT relname FROM pg_class WHERE relname LIKE 'dts\\_%'")
        assert left == [], f"left on the source: {left}"

    def follower_count(self):
        self.follower.stop()
        self.looks += self.follower.looks
        self.records += self.follower.taken
        self.repeats += self.follower.repeats
        self.groups += self.follower.transactions_listed

    def job_close(self):
        self.follower_count()
        broken = self.job.close()
        self.job = None
        self.broker.delete_topics(self.prefix)
        assert not broken, f"broken: {broken}"

    def job_forget(self):
        """After a failure: the next round begins from nothing."""
        job, self.job = self.job, None
        if job:
            job.close()
            self.follower_count()
        if not self.broker.alive():
            self.broker.kill()
            self.broker.start()
        self.broker.resume()
        self.bank.ended.set()
        self.source_server.drop_slots(self.source.name)
        try:
            self.bank_new()
        except AssertionError as error:  # the bank's own failure was told
            print(f"bank: {error!r}", flush=True)
            self.bank = None
            self.source.drop()
            self.source = self.source_server.database("bank")
            self.bank_new()

    # ---- one round ----

    def round(self, kind):
        if kind in (*self.births, DROP_POINT, BIRTH_MOMENT) or self.job is None:
            self.job_new()
        if kind in self.points:
            self.round_point(kind)
        elif kind == DROP_POINT:
            self.round_drop()
        elif kind in (BROKER_KILLED, BROKER_PAUSED):
            self.round_broker(kind)
        else:
            self.round_moment(kind)

    def start(self, fault=None):
        self.follower.mark()
        return self.job.start(fault=fault)

    def round_point(self, point):
        occurrence = self.random.randint(1, self.points[point])
        process = self.start(f"{point}:kill@{occurrence}")
        asked = 0

        def dead():
            nonlocal asked
            if point == "assembler.spill_write" and time.monotonic() - asked > LARGE_EVERY_S:
                asked = time.monotonic()
                self.bank.writers[1].ask_large(*LARGE)
            self.follower.check()
            return not process.alive()
        poll_until(dead, f"{point}@{occurrence} is reached", REACH_S)
        self.proved(process, point, process.popen.returncode)
        self.after_kill(point)

    def round_drop(self):
        first = self.start("snapshot.after_slot:kill")
        self.proved(first, "snapshot.after_slot", first.wait(REACH_S))
        second = self.start(f"{DROP_POINT}:kill")
        self.proved(second, DROP_POINT, second.wait(REACH_S))
        self.after_kill(DROP_POINT)

    def round_moment(self, kind):
        process = self.start()
        if kind == MOMENT:
            self.wait_progress(process)
        self.pass_time(process, self.random.random() * (1.5 if kind == MOMENT else 1))
        assert process.alive(), f"walferry ended by itself with {process.popen.returncode}: {process.err[-2000:]}"
        process.kill9()
        self.after_kill(kind)

    def round_broker(self, kind):
        process = self.start()
        self.wait_progress(process)
        self.pass_time(process, self.random.random())
        self.follower.mark()  # its producer may have to be made anew
        away = self.random.uniform(*PAUSE_S) if kind == BROKER_PAUSED else self.random.uniform(0, 5)
        self.broker.pause() if kind == BROKER_PAUSED else self.broker.kill()
        if self.random.random() < SECOND_KILL:
            first = self.random.uniform(0, away)
            time.sleep(first)
            process.kill9()
            process = self.job.start("--wait", FIRST_S)  # else it ends with 6 when nobody answers for 10 s
            time.sleep(away - first)
        else:
            time.sleep(away)
        self.broker.resume() if kind == BROKER_PAUSED else self.broker.start()
        self.wait_progress(process)
        if self.random.random() < 0.5:
            process.kill9()
        else:
            code = process.terminate(15)
            assert code == 0, f"SIGTERM ended with {code}: {process.err[-2000:]}"
        self.after_kill(kind)

    def proved(self, process, point, code):
        assert code == -9, f"{point} did not kill: exit {code}: {process.err[-2000:]}"
        assert process.reached(point), f"died without reaching {point}"

    def pass_time(self, process, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end and process.alive():
            time.sleep(0.01)

    def after_kill(self, kind):
        self.kills[kind] += 1
        self.bank.raise_failures()
        self.follower.check()

    def wait_progress(self, process):
        """I7: new transactions are there for readers, without a human."""
        upto = self.source.lsn()

        def more():
            assert process.alive(), f"walferry ended with {process.popen.returncode}: {process.err[-2000:]}"
            self.follower.check()
            return self.follower.applied >= upto
        poll_until(more, "work goes on", PROGRESS_S, every=0.05, forgiving=(psycopg2.Error,))

    # ---- all rounds ----

    def plan(self, rounds, broker_rounds, only):
        kinds = []
        while len(kinds) < rounds:
            cycle = [only] if only else list(self.cycle)
            self.random.shuffle(cycle)
            kinds += cycle
        kinds = kinds[:rounds]
        for number in range(broker_rounds):  # in between, evenly
            kinds.insert((number + 1) * len(kinds) // (broker_rounds + 1),
                         BROKER_PAUSED if number % 2 else BROKER_KILLED)
        return kinds

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
        return "\n".join([f"job {self.jobs} in {self.place.path}"] +
                         [f"--- {process.err_path}\n{process.err[-2500:]}" for process in processes])

    def run(self, rounds, broker_rounds, only):
        for number, kind in enumerate(self.plan(rounds, broker_rounds, only), 1):
            self.attempt(f"round {number} ({kind})", lambda k=kind: self.round(k))
            if len(self.failures) >= FAILURES_MAX:
                break
        if self.job:
            self.attempt("end: topics and source equal", self.last)
        self.report()

    def last(self):
        self.job_end()
        self.passed -= 1  # counted by attempt as well

    def report(self):
        self.bank.stop()
        self.transactions += self.bank.transactions()
        print(f"\nseed {self.seed}, {self.delivery}{', beside a database' if self.beside else ''}\n"
              f"{'killed':<28}{'times':>6}")
        for kind, times in sorted(self.kills.items()):
            print(f"{kind:<28}{times:>6}")
        print(f"{'all':<28}{sum(self.kills.values()):>6}\n"
              f"jobs {self.jobs}, transactions {self.transactions}, of them compared with test_decoding {self.compared},"
              f" in group lists {self.groups}, records {self.records}, repeats {self.repeats},"
              f" looks of the follower {self.looks}, violations {len(self.failures)}")

    def close(self):
        self.place.keep = self.place.keep or bool(self.failures)
        if self.job:
            self.job.close()
            self.follower.stop()
        self.broker.discard(self.place.keep)
        for server in filter(None, (self.source_server, self.target_server)):
            server.discard(self.place.keep)
        self.place.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--broker-rounds", type=int, default=0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--delivery", choices=("exactly-once", "at-least-once"), default="exactly-once")
    parser.add_argument("--beside-database", action="store_true", help="the job has a target, too")
    parser.add_argument("--only", help="one kind of kill")
    options = parser.parse_args()
    if not walferry_binary().exists():
        sys.exit(f"{walferry_binary()} is missing: cmake --preset faults && cmake --build --preset faults")
    print(f"kafka kill test: seed {options.seed}, {options.rounds} rounds, {options.broker_rounds} broker rounds",
          flush=True)
    test = KafkaKillTest(options.seed, options.delivery, options.beside_database)
    kinds = {*test.cycle, BROKER_KILLED, BROKER_PAUSED}
    try:
        if options.only and options.only not in kinds:
            sys.exit(f"no kind \"{options.only}\"; there are: {', '.join(sorted(kinds))}")
        test.run(options.rounds, options.broker_rounds, options.only)
    finally:
        test.close()
    print(f"{test.passed} passed, {len(test.failures)} failed")
    return 1 if test.failures else 0


if __name__ == "__main__":
    sys.exit(main())
