"""A real standby of a server, and what becomes of it."""
import shutil
import subprocess

from .place import postgres_bin
from .poll import poll_until
from .server import Database, Server

SLOT = "standby"


def make_standby(pair, synced=True, settings=None):
    """A streaming standby of the pair's source (which is restarted for the copy). synced: slots, too (17 and newer)."""
    primary = pair.source.server
    primary.stop()
    standby = Server(pair.place, f"{primary.name}-standby", "source", version=primary.version)
    shutil.rmtree(standby.data)
    subprocess.run(["cp", "-a", primary.data, standby.data], check=True)
    primary.start()
    primary.sql("SELECT pg_create_physical_replication_slot(%s, true)", (SLOT,))
    standby.configure({
        "port": standby.port, "unix_socket_directories": standby.directory,
        "primary_conninfo": f"host=127.0.0.1 port={primary.port} user=postgres dbname=postgres"
                            f" application_name={SLOT}",
        "primary_slot_name": SLOT, "hot_standby_feedback": "on", "wal_receiver_status_interval": "1s",
        "wal_retrieve_retry_interval": "200ms"} | ({"sync_replication_slots": "on"} if synced else {}) | (settings or {}))
    (standby.data / "standby.signal").touch()
    pair.adopt(standby)
    return standby.start()


def basebackup(pair, name):
    """A copy of the running source by pg_basebackup, with its settings; not started."""
    primary = pair.source.server
    copy = Server(pair.place, name, "source", version=primary.version)
    shutil.rmtree(copy.data)
    subprocess.run([postgres_bin(primary.version) / "pg_basebackup", "-D", copy.data, "-h", "127.0.0.1", "-p",
                    str(primary.port), "-U", "postgres", "-c", "fast", "--no-sync"], check=True, cwd="/tmp")
    subprocess.run(["chown", "-R", "postgres:postgres", copy.data], check=True)
    copy.configure({"port": copy.port, "unix_socket_directories": copy.directory})
    pair.adopt(copy)
    return copy


def disk_keep(server):
    """A copy of the disk of a server that is stopped."""
    copy = server.directory / "earlier"
    subprocess.run(["cp", "-a", server.data, copy], check=True)
    return copy


def disk_set_back(server, copy):
    shutil.rmtree(server.data)
    copy.rename(server.data)


def dsn_of_both(pair, standby, attributes="read-write"):
    primary = pair.source.server
    end = f"?target_session_attrs={attributes}" if attributes else ""
    return f"postgresql://postgres@127.0.0.1:{primary.port},127.0.0.1:{standby.port}/{pair.name}{end}"


def wait_synced(pair, standby, slot):
    """The standby has the slot, for good: the primary's must have moved, over a list of running transactions."""
    def synced():
        pair.source.sql("SELECT pg_log_standby_snapshot()")
        return standby.one("SELECT synced AND NOT temporary FROM pg_replication_slots WHERE slot_name = %s", (slot,))
    poll_until(synced, "the slot is synchronized", 60, every=0.2)


def wait_replayed(standby, upto):
    poll_until(lambda: standby.one("SELECT pg_last_wal_replay_lsn() - '0/0'") >= upto, "the standby has it all")


def promote(pair, standby):
    """From here on the pair's source is the standby; whoever works with the pair follows."""
    standby.sql("SELECT pg_promote()")
    poll_until(lambda: not standby.one("SELECT pg_is_in_recovery()"), "it is promoted")
    pair.source.server = standby


def new_timeline(server, before=None):
    """Stops it, and starts it as from an archive that has nothing more: the same log on the next timeline."""
    server.stop()
    if before:
        before()
    server.configure({"restore_command": "/bin/false"})
    (server.data / "recovery.signal").touch()
    server.start()
    poll_until(lambda: not server.one("SELECT pg_is_in_recovery()"), "it is promoted")


def database_at(server, pair):
    return Database(server, pair.name)
