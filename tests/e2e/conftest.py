"""Fixtures: two shared servers with fresh databases for each test, private servers for tests that break them."""
import itertools
import os
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness.bank import Bank, Watcher  # noqa: E402
from harness.oracle import check_equal, wait_equal  # noqa: E402
from harness.place import Place, memory_folder, path_with_versions, walferry_binary  # noqa: E402
from harness.poll import PATIENCE  # noqa: E402
from harness.proxy import Proxy  # noqa: E402
from harness.server import Server  # noqa: E402
from harness.walferry import Job  # noqa: E402

DEADLINE_S = 120
_numbers = itertools.count(1)


def pytest_configure(config):
    config.addinivalue_line("markers", "asan: also run with the sanitized binary")
    config.addinivalue_line("markers", f"deadline(seconds): how long the test may take (default {DEADLINE_S})")


def pytest_sessionstart(session):
    if not session.config.option.collectonly and not walferry_binary().exists():
        pytest.exit(f"{walferry_binary()} is missing: cmake --preset faults && cmake --build --preset faults", 2)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test keeps all folders and shows the end of what its processes wrote."""
    report = (yield).get_result()
    if not report.failed:
        return
    place = item.session.config.stash.get(PLACE, None)
    if place:
        place.keep = True
    funcargs = getattr(item, "funcargs", {})
    pairs = [funcargs["pair"]] if "pair" in funcargs else []
    for maker in ("make_pair", "version_pair"):
        pairs += funcargs[maker].made if maker in funcargs else []
    for pair in pairs:
        pair.keep = True
        report.sections += pair.evidence()
    brokers = [funcargs["broker"]] if "broker" in funcargs else []
    for each in brokers + (funcargs["make_broker"].made if "make_broker" in funcargs else []):
        report.sections.append((f"{each.java.log_path}", each.log()[-4000:]))


PLACE = pytest.StashKey()


@pytest.fixture(scope="session")
def place(request):
    place = Place(memory_folder())
    request.config.stash[PLACE] = place
    yield place
    place.close()


@pytest.fixture(autouse=True)
def deadline(request):
    marker = request.node.get_closest_marker("deadline")
    seconds = int((marker.args[0] if marker else DEADLINE_S) * PATIENCE)

    def expired(_signal, _frame):
        raise TimeoutError(f"the test took more than {seconds} s")
    before = signal.signal(signal.SIGALRM, expired)
    signal.alarm(seconds)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


class Pair:
    """A source and a target database, and everything that works between them."""

    def __init__(self, place, source_server, target_server, own):
        self.number = next(_numbers)
        self.name = f"e{self.number}"
        self.own = own
        self.keep = bool(os.environ.get("WALFERRY_KEEP"))
        self.place = place
        self.directory = place.folder(f"j{self.number}")
        self.log_offsets = {server: server.log_position() for server in (source_server, target_server)}
        self.source = source_server.database(self.name)
        self.target = target_server.database(self.name)
        self.env = {"PATH": path_with_versions()} if source_server.version else {}
        self.closing = []
        self.jobs = []
        self.connectors = []

    def adopt(self, server):
        """A further server that ends with the pair, and whose log is shown when the test fails."""
        self.log_offsets[server] = server.log_position()

    def job(self, name=None, file_only=False, source_dsn=None, target_dsn=None, folder=None, text=None, **config):
        directory = self.directory / (folder or f"{len(self.jobs)}")
        directory.mkdir()
        job = Job(directory, name or self.name, source_dsn or self.source.dsn(),
                  None if file_only else target_dsn or self.target.dsn(), config, text, self.env)
        self.jobs.append(job)
        return job

    def running_job(self, *arguments, phase="running", fault=None, **config):
        job = self.job(**config)
        job.start(*arguments, fault=fault)
        job.wait_for(phase)
        return job

    def bank(self, writers=3, ballast_tables=0, ballast_rows=0, **options):
        bank = Bank(self.source, writers, seed=self.number, **options).create(ballast_tables, ballast_rows)
        self.closing.append(bank.stop)
        return bank

    def watcher(self, bank, job):
        watcher = Watcher(bank, self.source, self.target, job.slot)
        watcher.start()
        self.closing.append(watcher.stop)
        return watcher

    def proxy(self, server, name="proxy"):
        proxy = Proxy(self.directory, server.port, name)
        self.closing.append(proxy.close)
        return proxy

    def debezium(self, broker, prefix, **options):
        """Debezium's connector at the source, not yet started; it ends with the pair."""
        from harness.debezium import Debezium
        number = len(self.connectors)
        connector = Debezium(self.directory / f"debezium{number}", self.source.dsn(), broker, prefix, **options)
        self.connectors.append(connector)
        self.closing.append(lambda: connector.discard(self.keep))
        return connector

    def check_equal(self, **options):
        check_equal(self.source, self.target, **options)

    def wait_equal(self, **options):
        wait_equal(self.source, self.target, **options)

    def evidence(self):
        sections = [(f"{process.err_path}", process.err[-4000:]) for job in self.jobs for process in job.processes[-4:]]
        sections += [(f"{each.java.log_path}", each.log()[-4000:]) for each in self.connectors]
        for server, offset in self.log_offsets.items():
            if server.log_path.exists():  # a test's own server may be gone by now
                sections.append((f"{server.log_path}", server.log(offset)[-4000:]))
        return sections

    def close(self):
        broken = [line for job in self.jobs for line in job.close()]
        for close in reversed(self.closing):
            try:
                close()
            except AssertionError as error:
                broken.append(str(error))
        if self.own:
            for server in self.log_offsets:
                server.discard(self.keep)
        else:
            self.source.drop()
            self.target.drop()
        assert not broken, "found at the end:\n  " + "\n  ".join(broken)


@pytest.fixture(scope="session")
def servers(place):
    source = Server(place, "source", "source", {"autovacuum": "off"}).start()
    target = Server(place, "target", "target", {"autovacuum": "off"}).start()
    yield source, target
    source.discard(place.keep)
    target.discard(place.keep)


@pytest.fixture
def pair(place, servers):
    pair = Pair(place, *servers, own=False)
    yield pair
    pair.close()


@pytest.fixture
def make_pair(place):
    """make_pair(source={settings}, target={settings}): servers of its own, which the test may stop and kill.
    The setting "version" (12 to 18) chooses the server."""
    def make(source=None, target=None):
        number = next(_numbers)
        servers = []
        for kind, settings in (("source", source), ("target", target)):
            settings = {"autovacuum": "off"} | (settings or {})
            version = settings.pop("version", None)
            servers.append(Server(place, f"{kind}{number}", kind, settings, version).start())
        pair = Pair(place, *servers, own=True)
        make.made.append(pair)
        return pair
    make.made = []
    yield make
    for pair in make.made:
        pair.close()


@pytest.fixture(scope="session")
def version_servers(place):
    """version_servers(kind, version): one shared server of each version on each side, started when first asked for."""
    started = {}

    def server(kind, version):
        if (kind, version) not in started:
            settings = {"autovacuum": "off", "log_replication_commands": "on"}
            if version >= 13:
                settings["logical_decoding_work_mem"] = "64kB"
            started[kind, version] = Server(place, f"{kind}-v{version}", kind, settings, version).start()
        return started[kind, version]
    yield server
    for each in started.values():
        each.discard(place.keep)


@pytest.fixture
def version_pair(place, version_servers):
    """version_pair(15, 18): fresh databases on shared servers of these versions; its source streams early."""
    def make(source, target):
        pair = Pair(place, version_servers("source", source), version_servers("target", target), own=False)
        make.made.append(pair)
        return pair
    make.made = []
    yield make
    for pair in make.made:
        pair.close()


@pytest.fixture
def other_server(place):
    """A third server, of yet another system identifier."""
    server = Server(place, f"other{next(_numbers)}", "other", {"autovacuum": "off"}).start()
    yield server
    server.discard(place.keep)


# What follows needs what tests/broker has brought, and imports it no earlier.

@pytest.fixture(scope="session")
def broker(place):
    """The worker's own, shared by tests that do it no harm."""
    from harness.broker import Broker
    broker = Broker(place).start()
    yield broker
    broker.discard(place.keep)


@pytest.fixture
def topic_prefix(broker):
    """Of topics at the shared broker: as no other test has it; what is called so goes at the end."""
    prefix = f"t{next(_numbers):04}"
    yield prefix
    broker.delete_topics(prefix)


@pytest.fixture
def make_broker(place):
    """make_broker(options of Broker): one of the test's own, started, which it may stop, pause and kill."""
    from harness.broker import Broker

    def make(**options):
        broker = Broker(place, f"broker{next(_numbers)}", **options)
        make.made.append(broker)
        return broker.start()
    make.made = []
    yield make
    for broker in make.made:
        broker.discard(place.keep)


@pytest.fixture
def make_registry():
    """make_registry(options of Registry): a schema registry, up."""
    from harness.registry import Registry
    made = []

    def make(**options):
        made.append(Registry(**options))
        return made[-1]
    yield make
    for registry in made:
        registry.close()


@pytest.fixture
def registry(make_registry):
    return make_registry()
