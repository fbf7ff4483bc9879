"""Where a test session keeps its files, which binaries it runs, and as whom the servers run."""
import os
import pwd
import random
import re
import shutil
import socket
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
# Below the range that the kernel takes for outgoing connections: a port stays free while its server is down.
PORTS = (17000, 31000)
VERSIONS = (12, 13, 14, 15, 16, 17, 18)  # of servers
NEWEST = VERSIONS[-1]
DISK = Path("/tmp")
MEMORY_LEAST = 12 << 30


def walferry_binary():
    return Path(os.environ.get("WALFERRY_BIN", ROOT / "build/faults/walferry"))


def proxy_binary():
    beside = walferry_binary().parent / "tests/fault/fault_proxy"
    fallback = ROOT / "build/faults/tests/fault/fault_proxy"
    return Path(os.environ.get("WALFERRY_PROXY", beside if beside.exists() else fallback))


def postgres_bin(version=None):
    """The folder with initdb and postgres. Without a version $PGBIN, else the newest that Debian has installed."""
    if version:
        return versioned_bin(version)
    if os.environ.get("PGBIN"):
        return Path(os.environ["PGBIN"])
    found = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "initdb").exists()]
    if not found:
        raise RuntimeError("no PostgreSQL server under /usr/lib/postgresql (apt-get install postgresql)")
    return max(found, key=lambda path: float(path.parent.name))


def cache_folder(name, variable):
    cache = "/var/cache" if os.geteuid() == 0 else Path.home() / ".cache"
    return Path(os.environ.get(variable, Path(cache) / name))


def kafka_part(name):
    """What tests/broker has brought: "kafka" and "debezium" (jars), "python" (packages)."""
    path = cache_folder("walferry-kafka", "WALFERRY_BROKER") / name
    if not path.exists():
        raise RuntimeError(f"no {path} on this machine: call tests/broker")
    return path


def use_kafka_packages():
    """Makes Confluent's client and what it needs importable. In front: Debian's of the same names may be too old."""
    path = str(kafka_part("python"))
    if path in sys.path:
        return
    sys.path.insert(0, path)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("attr", "attrs")]:
        del sys.modules[name]  # pytest's, which it keeps: halves of two versions do not go together


def versioned_bin(version):
    """Debian's server of that version, else the one that tests/servers has brought."""
    brought = cache_folder("walferry-servers", "WALFERRY_SERVERS")
    for path in (Path(f"/usr/lib/postgresql/{version}/bin"), brought / str(version) / "bin"):
        if (path / "initdb").exists():
            return path
    raise RuntimeError(f"no PostgreSQL {version} on this machine: call tests/servers")


def path_with_versions():
    """PATH with every brought pg_dump in front: Debian's cannot read a newer server than its own."""
    folders = [str(versioned_bin(version)) for version in (16, NEWEST)]
    return ":".join([*folders, os.environ.get("PATH", "/usr/bin:/bin")])


def server_user():
    """Keyword arguments for Popen: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return {}
    return {"user": "postgres", "group": "postgres", "extra_groups": []}


def clean_environment(**more):
    """The caller's environment without what would change servers, libpq or walferry."""
    dropped = ("PG", "WALFERRY_", "STATE_DIRECTORY", "RUNTIME_DIRECTORY", "XDG_", "NOTIFY_SOCKET")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
    return {**kept, "LC_ALL": "C.UTF-8", "TZ": "UTC", **more}


def free_port():
    for _ in range(1000):
        port = random.SystemRandom().randint(*PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise RuntimeError("no free port")


def memory_folder():
    """Where files are memory, if there is much of it: a file system on a disk takes a third of the time of tests that make
    servers and databases all the time."""
    shared = Path("/dev/shm")
    free = shutil.disk_usage(shared).free if shared.is_mount() and os.access(shared, os.W_OK) else 0
    return shared if min(free, memory_available()) >= MEMORY_LEAST else DISK


def memory_available():
    return 1024 * int(re.search(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text())[1])


class Place:
    """A temporary folder that the server's user owns; removed at the end unless something failed. On a disk, unless it is
    asked for in memory: what is measured, or killed many times, is to be as it is in life."""

    def __init__(self, parent=DISK):
        self.path = Path(tempfile.mkdtemp(prefix="walferry-tests-", dir=parent))
        self.keep = bool(os.environ.get("WALFERRY_KEEP"))
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(self.path, owner.pw_uid, owner.pw_gid)
        self.path.chmod(0o755)

    def folder(self, name, for_server=False):
        path = self.path / name
        path.mkdir()
        if for_server and os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(path, owner.pw_uid, owner.pw_gid)
        return path

    def close(self):
        if self.keep:
            print(f"\nkept: {self.path}")
        else:
            shutil.rmtree(self.path, ignore_errors=True)
