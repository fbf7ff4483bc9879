"""Debezium's own connector, run by Kafka Connect as one process: what it writes is what ours is compared with."""
import json
import shutil
import signal
import urllib.error
import urllib.request

import psycopg2
from psycopg2.extensions import parse_dsn

from .java import Java
from .place import free_port, kafka_part
from .poll import NotInTime

CONVERTER = "org.apache.kafka.connect.json.JsonConverter"
NAME = "debezium"


class Debezium:
    """source: a DSN; broker: of harness.broker; prefix: topic.prefix. publication None: one for all tables, which the
    connector makes as its default is. config: further properties of the connector, worker: of Connect; they win.
    With snapshot_mode="no_data" only what is committed after start() comes.
    distributed: a worker of a cluster of Connect's, which keeps offsets in offsets_topic instead of offsets_path."""

    def __init__(self, directory, source, broker, prefix, schemas=True, snapshot_mode="initial", publication=None,
                 slot=None, skipped="none", tombstones=True, config=None, worker=None, heap_mib=384, java_options=(), distributed=False):
        directory.mkdir()
        self.directory = directory
        self.source = source
        self.prefix = prefix
        self.slot = slot or f"dbz_{prefix}".replace(".", "_").lower()
        self.rest_port = free_port()
        self.offsets_path = directory / "offsets"  # a HashMap of Java's, as Connect writes it
        plugins = directory / "plugins"
        plugins.mkdir()
        (plugins / "debezium").symlink_to(kafka_part("debezium").resolve())
        self.worker = {
            "bootstrap.servers": f"127.0.0.1:{broker.port}",
            "key.converter": CONVERTER, "key.converter.schemas.enable": schemas,
            "value.converter": CONVERTER, "value.converter.schemas.enable": schemas,
            "offset.storage.file.filename": self.offsets_path, "offset.flush.interval.ms": 500,
            "plugin.path": plugins, "plugin.discovery": "service_load",
            "listeners": f"http://127.0.0.1:{self.rest_port}"} | (worker or {})
        self.offsets_topic = f"connect-{prefix}-offset"
        if distributed:
            del self.worker["offset.storage.file.filename"]  # it would be taken for a setting of the topic
            self.worker |= {"group.id": f"connect-{prefix}", "offset.storage.partitions": 3, "status.storage.partitions": 1}
            for what in ("offset", "config", "status"):
                self.worker |= {f"{what}.storage.topic": f"connect-{prefix}-{what}", f"{what}.storage.replication.factor": 1}
        self.distributed = distributed
        self.config = self._database() | {
            "name": NAME, "connector.class": "io.debezium.connector.postgresql.PostgresConnector", "tasks.max": 1,
            "plugin.name": "pgoutput", "topic.prefix": prefix, "slot.name": self.slot,
            "publication.name": publication or f"{self.slot}_publication",
            "publication.autocreate.mode": "disabled" if publication else "all_tables",
            "snapshot.mode": snapshot_mode, "skipped.operations": skipped, "tombstones.on.delete": tombstones,
            "poll.interval.ms": 50, "topic.creation.default.partitions": 1,
            "topic.creation.default.replication.factor": 1} | (config or {})
        self._write("worker.properties", self.worker)
        self._write("connector.properties", self.config)
        files = [directory / "worker.properties", *([] if distributed else [directory / "connector.properties"])]
        kind = "Distributed" if distributed else "Standalone"
        self.java = Java("connect", directory, f"org.apache.kafka.connect.cli.Connect{kind}", files, heap_mib, java_options)

    def _database(self):
        parts = parse_dsn(self.source)
        given = {"hostname": parts["host"], "port": parts.get("port", 5432), "user": parts["user"],
                 "password": parts.get("password", ""), "dbname": parts["dbname"]}
        return {f"database.{key}": value for key, value in given.items()}

    def _write(self, name, properties):
        (self.directory / name).write_text("".join(f"{key}={value}\n" for key, value in _texts(properties).items()))

    def start(self, timeout=90):
        """Until it streams: a snapshot, if there was to be one, is over then."""
        self.java.start(lambda _: self._streams(), timeout)
        return self

    def _streams(self):
        status = self._status()
        if status is None and self.distributed:
            self._ask("PUT", "config", json.dumps(_texts(self.config)).encode())
        states = [part["state"] for part in (status["connector"], *status["tasks"])] if status else []
        assert "FAILED" not in states, f"the connector failed: {json.dumps(status, indent=1)[:4000]}"
        return states == ["RUNNING", "RUNNING"] and self._has_slot()

    def _status(self):
        return self._ask("GET", "status")

    def _ask(self, method, what, body=None):
        request = urllib.request.Request(f"http://127.0.0.1:{self.rest_port}/connectors/{NAME}/{what}", body,
                                         {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return json.load(answer)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return None

    def _has_slot(self):
        """A walsender holds it once streaming has begun; making it is over before the snapshot."""
        connection = psycopg2.connect(self.source, application_name="walferry-test", connect_timeout=5)
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_replication_slots s JOIN pg_stat_replication r"
                               " ON r.pid = s.active_pid WHERE s.slot_name = %s AND r.state = 'streaming'", (self.slot,))
                return cursor.fetchone() is not None
        finally:
            connection.close()

    def stop(self, timeout=60):
        """By SIGTERM: its offsets are in the file. The slot stays."""
        return self.java.stop(timeout)

    def restart(self):
        self.stop()
        return self.start()

    def kill(self):
        self.java.kill()

    def alive(self):
        return self.java.alive()

    def log(self, offset=0):
        return self.java.log(offset)

    def discard(self, keep=False):
        """Asked first: a killed one would hold its slot until the server notices."""
        if self.java.process is not None:
            self.java.signal(signal.SIGCONT)
            try:
                self.stop(20)
            except NotInTime:
                self.kill()
        if not keep:
            shutil.rmtree(self.directory, ignore_errors=True)


def _texts(properties):
    return {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in properties.items()}
