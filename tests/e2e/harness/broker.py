"""A private Apache Kafka broker: one node, KRaft, real storage. What tests ask of it stands in harness/topics.py."""
import base64
import shutil
import uuid
from pathlib import Path

from .java import Java
from .place import free_port, kafka_part
from .topics import Topics

# Small and quick: what a cluster of one needs, and no waiting for members that cannot come.
PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": 1,
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "default.replication.factor": 1,
    "num.partitions": 1,
    "offsets.topic.replication.factor": 1,
    "offsets.topic.num.partitions": 1,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "transaction.state.log.num.partitions": 1,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    "group.initial.rebalance.delay.ms": 0,
    "broker.session.timeout.ms": 3000,  # how long one that was killed is waited for at its next start
    "broker.heartbeat.interval.ms": 500,
    "num.network.threads": 2,
    "num.io.threads": 4,
    "background.threads": 2,
    "log.index.size.max.bytes": 1 << 20,
    "log.cleaner.dedupe.buffer.size": 4 << 20,  # 128 MiB would be half of the heap
    "log.cleaner.io.buffer.size": 1 << 16,
}
MODULE = "org.apache.kafka.common.security.plain.PlainLoginModule required"
SUPER_USERS = "User:ANONYMOUS;User:admin"  # ANONYMOUS: who comes by the open port, as the harness does


class Broker(Topics):
    """`port` is open; with users (name: password) there is also `sasl_port` (SASL/PLAIN), with tls (certificate, key:
    of harness.tls) `tls_port`, for users when there are any. With users the StandardAuthorizer denies them everything
    that allow() has not allowed; "admin" and who comes by `port` may all. client_authority: who has signed the
    certificates that clients of tls_port must have.
    log_dirs: how many, or their paths; the metadata has a folder of its own beside them.
    properties: further ones of server.properties, which win.
    far: (port, port of a proxy that leads there): who comes by the proxy is sent to it for everything.
    keep_classes: the file that gets the classes which it has loaded, when it stops."""

    def __init__(self, place, name="broker", properties=None, log_dirs=1, users=None, tls=None, client_authority=None,
                 auto_create=False, message_max_bytes=None, heap_mib=384, java_options=(), keep_classes=None, far=None):
        self.name = name
        self.directory = place.folder(name)
        self.users = users or {}
        self.far = far
        self.port, self.controller_port = free_port(), free_port()
        self.sasl_port = free_port() if users else None
        self.tls_port = free_port() if tls else None
        if isinstance(log_dirs, int):
            log_dirs = [self.directory / f"data{number}" for number in range(log_dirs)]
        self.log_dirs = [Path(path) for path in log_dirs]
        self.metadata = self.directory / "metadata"
        self.file = self.directory / "server.properties"
        self.properties = PROPERTIES | self._listeners() | {
            "log.dirs": ",".join(map(str, self.log_dirs)), "metadata.log.dir": self.metadata,
            "auto.create.topics.enable": str(auto_create).lower()}
        if message_max_bytes:
            self.properties["message.max.bytes"] = message_max_bytes
        if users:
            self.properties |= self._authorization()
        if tls:
            self.properties |= self._certificates(*tls, client_authority)
        self.configure(properties or {})
        self._format()
        classes = [f"-XX:ArchiveClassesAtExit={keep_classes}"] if keep_classes else _kept_classes()
        self.java = Java(name, self.directory, "kafka.Kafka", [self.file], heap_mib, [*classes, *java_options])

    def _listeners(self):
        """TLS is for "localhost": certificates have names."""
        listeners = [("PLAINTEXT", "127.0.0.1", self.port, self.port, "PLAINTEXT")]
        if self.far:
            listeners.append(("FAR", "127.0.0.1", *self.far, "PLAINTEXT"))
        if self.sasl_port:
            listeners.append(("USERS", "127.0.0.1", self.sasl_port, self.sasl_port, "SASL_PLAINTEXT"))
        if self.tls_port:
            listeners.append(("TLS", "localhost", self.tls_port, self.tls_port, "SASL_SSL" if self.users else "SSL"))
        controller = f"CONTROLLER://127.0.0.1:{self.controller_port}"
        bound = [f"{name}://127.0.0.1:{port}" for name, _, port, _, _ in listeners]
        return {
            "controller.quorum.voters": f"1@127.0.0.1:{self.controller_port}",
            "listeners": ",".join([*bound, controller]),
            "advertised.listeners": ",".join(f"{name}://{host}:{port}" for name, host, _, port, _ in listeners),
            "listener.security.protocol.map": ",".join(
                [f"{name}:{protocol}" for name, *_, protocol in listeners] + ["CONTROLLER:PLAINTEXT"])}

    def _authorization(self):
        known = " ".join(f'user_{name}="{password}"' for name, password in self.users.items())
        return {
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": SUPER_USERS,
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.users.plain.sasl.jaas.config": f"{MODULE} {known};",
            "listener.name.tls.plain.sasl.jaas.config": f"{MODULE} {known};"}

    def _certificates(self, certificate, key, client_authority):
        both = self.directory / "server.pem"
        both.write_text(Path(key).read_text() + Path(certificate).read_text())
        out = {"listener.name.tls.ssl.keystore.type": "PEM", "listener.name.tls.ssl.keystore.location": both}
        if client_authority:
            out |= {"listener.name.tls.ssl.client.auth": "required", "listener.name.tls.ssl.truststore.type": "PEM",
                    "listener.name.tls.ssl.truststore.location": client_authority}
        return out

    def _format(self):
        """What `kafka-storage format` does, without a Java for it: a formatted folder's copy, with ids of its own."""
        shutil.copytree(kafka_part("kafka") / "formatted", self.metadata)
        cluster = _identifier()
        for path in [self.metadata, *self.log_dirs]:
            path.mkdir(parents=True, exist_ok=True)
            (path / "meta.properties").write_text(
                f"version=1\ncluster.id={cluster}\nnode.id=1\ndirectory.id={_identifier()}\n")

    def configure(self, properties):
        """From the next start on."""
        self.properties |= properties
        self.file.write_text("".join(f"{key}={value}\n" for key, value in self.properties.items()))

    def start(self, timeout=60):
        self.java.start(lambda log: "Kafka Server started" in log, timeout)
        return self

    def stop(self, timeout=60):
        return self.java.stop(timeout)

    def restart(self):
        """On the same ports, as always."""
        self.stop()
        return self.start()

    def kill(self):
        self.java.kill()

    def pause(self):
        self.java.pause()

    def resume(self):
        self.java.resume()

    def alive(self):
        return self.java.alive()

    def log(self, offset=0):
        return self.java.log(offset)

    def discard(self, keep=False):
        """Its end, with its folder unless kept."""
        self.java.kill()
        if not keep:
            shutil.rmtree(self.directory, ignore_errors=True)

    def client(self, user=None, authority=None):
        """Settings for librdkafka: as nobody by the open port, as the user, by TLS with the authority's file."""
        port = self.tls_port if authority else self.sasl_port if user else self.port
        out = {"bootstrap.servers": f"{'localhost' if authority else '127.0.0.1'}:{port}"}
        if user or authority:
            protocols = {(True, False): "sasl_plaintext", (False, True): "ssl", (True, True): "sasl_ssl"}
            out["security.protocol"] = protocols[bool(user), bool(authority)]
        if user:
            out |= {"sasl.mechanism": "PLAIN", "sasl.username": user, "sasl.password": self.users[user]}
        if authority:
            out["ssl.ca.location"] = str(authority)
        return out


def _kept_classes():
    """Those that a broker loads, as tests/broker has kept them: half of the work of a start."""
    path = kafka_part("kafka") / "classes.jsa"
    return [f"-XX:SharedArchiveFile={path}"] if path.exists() else []


def _identifier():
    """As Kafka writes its UUIDs. One that begins with "-" would look like an option."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text
