"""The source's name: gone for a while, then at another address."""
import os
import subprocess

import pytest

from harness.place import walferry_binary
from harness.poll import poll_until
from harness.server import HBA

TABLE = "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'x')"
NAME = "source.walferry-test"


def may_mount():
    return os.geteuid() == 0 and subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not may_mount(), reason="a private mount namespace needs root")
def test_name_goes_and_comes_back_at_another_address(make_pair, tmp_path, monkeypatch):
    """F23: resolved at each attempt. walferry alone sees the hosts file that the test changes."""
    pair = make_pair(source={"listen_addresses": "127.0.0.1"})
    server = pair.source.server
    pair.source.sql(TABLE)
    hosts = tmp_path / "hosts"
    hosts.write_text(f"127.0.0.1 {NAME}\n")
    wrapper = tmp_path / "walferry"
    wrapper.write_text(f'#!/bin/sh\nexec unshare -m sh -c \'mount --bind "$0" /etc/hosts && exec "$@"\''
                       f' "{hosts}" "{walferry_binary()}" "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("WALFERRY_BIN", str(wrapper))
    job = pair.running_job(source_dsn=pair.source.dsn(host=NAME))
    hosts.write_text("\n")
    server.stop()
    server.configure({"listen_addresses": "127.0.0.2"})
    (server.data / "pg_hba.conf").write_text(HBA.replace("127.0.0.1/32", "127.0.0.0/8"))
    server.start()
    pair.source.sql("INSERT INTO t VALUES (2, 'moved')")
    poll_until(lambda: "could not translate host name" in (job.status()["reason"] or ""), "the name is gone")
    assert job.status()["state"] == "retrying"
    hosts.write_text(f"127.0.0.2 {NAME}\n")
    pair.wait_equal()
    assert pair.target.one("SELECT count(*) FROM t") == 2
    assert job.process.alive()
