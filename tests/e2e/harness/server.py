"""A private PostgreSQL server, and a database on it."""
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import psycopg2

from .place import clean_environment, free_port, postgres_bin, server_user
from .poll import poll_until

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "wal_level": "logical",
    "fsync": "off",
    "max_connections": 80,
    "max_wal_senders": 10,
    "max_replication_slots": 10,
    "wal_sender_timeout": "5s",
    "shared_buffers": "32MB",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "1h",
    "log_line_prefix": "%m [%p] %a ",
    "log_checkpoints": "off",
    "timezone": "UTC",
}
# A statement that waits for ever would keep a test from hearing of its own deadline.
STATEMENT_S = 110
HBA = """local all all trust
host all locked 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
host replication all 127.0.0.1/32 trust
"""
STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
DOWN = (psycopg2.OperationalError, psycopg2.InterfaceError)

_templates = {}
_templates_lock = threading.Lock()


def is_down(error):
    """The server went away. psycopg2 tells a lost connection by several classes, but never with an SQLSTATE."""
    return isinstance(error, DOWN) or getattr(error, "pgcode", None) is None


def lsn_number(text):
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


def template(place, kind, version, segment_mib):
    """initdb once for each kind: copies of one template would share a system identifier, as no two servers do."""
    with _templates_lock:
        key = (place.path, kind, version, segment_mib)
        if key not in _templates:
            path = place.path / f"template-{kind}{version or ''}"
            subprocess.run(
                [postgres_bin(version) / "initdb", "-D", path, "-U", "postgres", "-A", "trust", "--no-sync",
                 "--encoding=UTF8", "--locale=C.UTF-8", f"--wal-segsize={segment_mib}"],
                check=True, cwd="/tmp", env=clean_environment(), stdout=subprocess.DEVNULL, **server_user())
            _templates[key] = path
        return _templates[key]


def children_of(parent):
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            after_name = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(after_name[1]) == parent:
            found.append(int(entry.name))
    return found


class Server:
    """kind: which template, that is, which system identifier ("source", "target", "other").
    version: of the server, 12 to 18; None is the one that Debian has installed.
    segment_mib: of its WAL; small ones are made and copied quickly, benchmarks take what servers have by default."""

    def __init__(self, place, name, kind, settings=None, version=None, segment_mib=1):
        self.name = name
        self.version = version
        self.directory = place.folder(name, for_server=True)
        self.data = self.directory / "data"
        self.log_path = self.directory / "server.log"
        self.port = free_port()
        self.process = None
        subprocess.run(["cp", "-a", template(place, kind, version, segment_mib), self.data], check=True)
        self.configure(SETTINGS | {"port": self.port, "unix_socket_directories": self.directory} | (settings or {}))
        (self.data / "pg_hba.conf").write_text(HBA)

    def configure(self, settings):
        """Appends settings; a running server needs reload() or restart()."""
        with open(self.data / "postgresql.auto.conf", "a", encoding="utf-8") as file:
            for key, value in settings.items():
                file.write(f"{key} = '{value}'\n")

    def start(self, timeout=60):
        assert self.process is None, f"{self.name} runs already"
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [postgres_bin(self.version) / "postgres", "-D", self.data], cwd=self.directory, env=clean_environment(),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **server_user())
        poll_until(self._answers, f"server {self.name} answers", timeout, every=0.02)
        return self

    def _answers(self):
        assert self.process.poll() is None, f"server {self.name} did not start:\n{self.log()[-3000:]}"
        try:
            self.connect().close()
            return True
        except DOWN:
            return False

    def stop(self, mode="fast", timeout=60):
        """Returns the seconds that it took; raises subprocess.TimeoutExpired when the server does not stop."""
        begin = time.monotonic()
        self.process.send_signal(STOP_SIGNALS[mode])
        self.process.wait(timeout)
        self.process = None
        return time.monotonic() - begin

    def kill9(self):
        """Postmaster and all its children. It is stopped first, so that it forks no further child meanwhile."""
        if self.process is None:
            return
        postmaster = self.process.pid
        os.kill(postmaster, signal.SIGSTOP)
        family = children_of(postmaster)
        for pid in [postmaster, *family]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()
        self.process = None
        poll_until(lambda: not any(_is_alive(pid) for pid in family), f"children of {self.name} are gone")
        self._forget_shared_memory()

    def _forget_shared_memory(self):
        """The piece that a killed postmaster leaves behind: the machine has only 4096 for everybody."""
        lines = (self.data / "postmaster.pid").read_text().splitlines()
        if len(lines) > 6:
            subprocess.run(["ipcrm", "-m", lines[6].split()[1]], check=False, stderr=subprocess.DEVNULL)

    def discard(self, keep=False):
        """Its end: at once, but by itself, so that it gives its shared memory back; with its folder, unless kept."""
        if self.process is not None:
            try:
                self.stop("immediate", 20)
            except subprocess.TimeoutExpired:
                self.kill9()
        if not keep:
            shutil.rmtree(self.directory, ignore_errors=True)

    def restart(self, mode="fast"):
        self.stop(mode)
        return self.start()

    def reload(self):
        self.process.send_signal(signal.SIGHUP)

    def connect(self, database="postgres", user="postgres", autocommit=True):
        connection = psycopg2.connect(host=str(self.directory), port=self.port, dbname=database, user=user,
                                      connect_timeout=5, application_name="walferry-test", client_encoding="UTF8",
                                      options=f"-c statement_timeout={STATEMENT_S}s")
        connection.autocommit = autocommit
        return connection

    def sql(self, statement, params=None, database="postgres"):
        """Rows of one statement (or of the last of several), in a connection of its own."""
        connection = self.connect(database)
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement, params)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def one(self, statement, params=None, database="postgres"):
        rows = self.sql(statement, params, database)
        return rows[0][0] if rows else None

    def database(self, name, create=True):
        if create:
            self.sql(f'CREATE DATABASE "{name}"')
        return Database(self, name)

    def log_position(self):
        return self.log_path.stat().st_size if self.log_path.exists() else 0

    def log(self, offset=0):
        with open(self.log_path, "rb") as file:
            file.seek(offset)
            return file.read().decode("utf-8", "replace")

    def slots(self, prefix="dts_sync_"):
        return {row[0] for row in self.sql("SELECT slot_name FROM pg_replication_slots WHERE slot_name LIKE %s",
                                           (prefix.replace("_", "\\_") + "%",))}

    def drop_slots(self, database):
        """Ends whoever reads them first; temporary ones go with their session."""
        def gone():
            left = self.sql("SELECT slot_name, active_pid FROM pg_replication_slots WHERE database = %s", (database,))
            for name, pid in left:
                try:
                    if pid:
                        self.sql("SELECT pg_terminate_backend(%s)", (pid,))
                    else:
                        self.sql("SELECT pg_drop_replication_slot(%s)", (name,))
                except (psycopg2.errors.ObjectInUse, psycopg2.errors.UndefinedObject):
                    pass
            return not left
        poll_until(gone, f"slots of {database} are dropped")


def _is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class Database:
    def __init__(self, server, name):
        self.server = server
        self.name = name

    def sql(self, statement, params=None):
        return self.server.sql(statement, params, self.name)

    def one(self, statement, params=None):
        return self.server.one(statement, params, self.name)

    def connect(self, autocommit=True, user="postgres"):
        return self.server.connect(self.name, user=user, autocommit=autocommit)

    def dsn(self, user="postgres", password=None, port=None, host="127.0.0.1", database=None):
        secret = f":{password}" if password else ""
        return f"postgresql://{user}{secret}@{host}:{port or self.server.port}/{database or self.name}"

    def lsn(self):
        """The current end of the server's WAL as a number."""
        return lsn_number(self.one("SELECT pg_current_wal_insert_lsn()"))

    def slot(self, name):
        """confirmed_flush_lsn, restart_lsn (numbers), active_pid; None without such a slot."""
        rows = self.sql("SELECT confirmed_flush_lsn, restart_lsn, active_pid FROM pg_replication_slots"
                        " WHERE slot_name = %s", (name,))
        if not rows:
            return None
        confirmed, restart, pid = rows[0]
        return lsn_number(confirmed or "0/0"), lsn_number(restart or "0/0"), pid

    def drop(self):
        self.server.drop_slots(self.name)
        # By hand, because DROP … WITH (FORCE) came with 13.
        self.server.sql("UPDATE pg_database SET datallowconn = false WHERE datname = %s", (self.name,))
        self.server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (self.name,))
        poll_until(self._dropped, f"database {self.name} can be dropped")

    def _dropped(self):
        try:
            self.server.sql(f'DROP DATABASE IF EXISTS "{self.name}"')
        except psycopg2.errors.ObjectInUse:
            return False
        return True
