"""Works T, I and U into Kafka: a filled slot is consumed by walferry in each format, by pg_recvlogical into a file, and by
Debezium's connector, in turn, all from the same WAL. A real broker is on the same machine; topics are there before."""
import statistics
import threading
import time

from harness.broker import Broker
from harness.debezium import Debezium
from harness.poll import poll_until
from harness.registry import Registry
from harness.walferry import Job

import apply

FORMATS = ("json", "avro", "protobuf")
MOST_OF_DEBEZIUM, MOST_OF_ITS_CPU = 1 / 6, 1 / 8
DEBEZIUM_S = 300
JIT = ("-XX:TieredStopAtLevel=4",)


class Fanout:
    """Behind one of the works of apply.py: its database, its WAL, its pg_recvlogical."""

    def __init__(self, work, broker, registry):
        self.work, self.b, self.broker, self.registry = work, work.b, broker, registry
        self.number, self.topics = 0, (*work.TABLES, "marker")
        self.name = f"k{work.name.replace('_', '')}"
        self.job = Job(self.b.place.folder(f"job-{self.name}"), self.name, work.db.dsn(), None,
                       {"source": {"heartbeat": None}, "retry": None, "phases": ["incremental"],
                        "spill": {"dir": str(self.b.place.folder(f"spill-{self.name}"))}, "kafka": self.kafka("json")})
        self.b.jobs.append(self.job)
        self.b.walferry(self.job, "--until", "now")
        control = self.broker.consume(f"{self.prefix}.walferry")
        self.position = [(record.key, record.value) for record in control if record.value and b'"lsn"' not in record.key][-1]
        self.b.slot_free(self.job.slot)
        work.slot_copy(self.job.slot, "filledk")
        work.slot_drop(self.job.slot)

    @property
    def prefix(self):
        return f"{self.name}{self.number}"

    def kafka(self, form):
        out = {"brokers": self.broker.client()["bootstrap.servers"], "prefix": self.prefix, "format": form}
        return out | ({} if form == "json" else {"registry": {"url": self.registry.url}})

    def fresh(self):
        """Topics of its own."""
        self.number += 1
        self.broker.create_topic(f"{self.prefix}.walferry", config={"cleanup.policy": "compact"})
        self.broker.create_topic(f"__debezium-heartbeat.{self.prefix}")
        for table in self.topics:
            self.broker.create_topic(f"{self.prefix}.public.{table}")
        self.b.checkpoint()

    def high(self, table, isolation="read_uncommitted"):
        return self.broker.led(f"{self.prefix}.public.{table}", isolation)[0].high

    def by_walferry(self, form):
        self.fresh()
        self.broker.produce(f"{self.prefix}.walferry", self.position[1], self.position[0])
        self.job.rewrite({"kafka": self.kafka(form)})
        self.work.slot_copy("filledk", self.job.slot)
        run = self.b.walferry(self.job, "--until", self.work.end)
        self.work.slot_drop(self.job.slot)
        there = {table: self.high(table, "read_committed") for table in self.topics}
        assert all(there.values()), f"records are missing: {there}"
        self.records = sum(there.values())
        return run

    def by_debezium(self):
        """From the moment in which it has its slot to the marker; with its CPU time in between. Its own start does not count,
        but when Connect says that it runs, much has been done."""
        self.fresh()
        self.work.slot_copy("filledk", "filleddbz")
        connector = Debezium(self.b.place.path / f"debezium-{self.prefix}", self.work.db.dsn(), self.broker, self.prefix,
                             publication="native", slot="filleddbz", snapshot_mode="no_data", schemas=False,
                             heap_mib=2048, java_options=JIT)
        try:
            starting = threading.Thread(target=connector.start)
            starting.start()
            poll_until(lambda: self.work.db.one("SELECT active FROM pg_replication_slots WHERE slot_name = 'filleddbz'"),
                       "the connector has its slot", DEBEZIUM_S, every=0.01)
            begin, before = time.monotonic(), connector.java.cpu_seconds()
            poll_until(lambda: self.high("marker") > 0, "the marker", DEBEZIUM_S, every=0.05)
            return time.monotonic() - begin, connector.java.cpu_seconds() - before
        finally:
            starting.join()
            connector.stop()
            self.work.slot_drop("filleddbz")


def works(bench, broker, registry):
    for name, kind in apply.KINDS.items():
        class Work(kind):
            def before_change(self):
                self.fanout = Fanout(self, broker, registry)
        yield name.replace("apply", "kafka"), Work(bench, name.replace("-", "_"))


def measure_one(bench, name, work):
    limit, debezium, ours = [], [], {form: [] for form in FORMATS}
    for _ in range(bench.rounds):
        limit.append(work.by_recvlogical())
        for form in FORMATS:
            ours[form].append(work.fanout.by_walferry(form))
    for _ in range(1 if bench.quick else 2):
        debezium.append(work.fanout.by_debezium())
    bench.rounds_note(f"{name}: recvlogical", limit)
    bench.rounds_note("debezium", [seconds for seconds, _ in debezium])
    bench.note("debezium's CPU", "  ".join(f"{cpu:.2f} s" for _, cpu in debezium))
    slow, slow_cpu = (statistics.median(values) for values in zip(*debezium))
    for form, runs in ours.items():
        bench.rounds_note(form, [run.seconds for run in runs])
        seconds = statistics.median(run.seconds for run in runs)
        cpu = statistics.median(run.cpu_seconds for run in runs)
        bench.line(f"{name} {form} / recvlogical", seconds, statistics.median(limit))
        bench.line(f"{name} {form} / debezium", seconds, slow)
        bench.line(f"{name} {form} / debezium, CPU", cpu, slow_cpu)
        bench.limit(f"{name} {form}, peak memory", max(run.peak_mib for run in runs), "MiB", 128)
    work.close()


def measure(bench):
    broker = Broker(bench.place, "broker", heap_mib=1024, java_options=JIT).start()
    registry = Registry()
    try:
        for name, work in works(bench, broker, registry):
            measure_one(bench, name, work)
    finally:
        registry.down()
        broker.discard()
