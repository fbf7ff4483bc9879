"""What the catalogs say for Kafka's records: the unit test of sink/kafka/source_facts against every server version."""
import os
import subprocess

import pytest

from harness.place import VERSIONS, clean_environment, versioned_bin, walferry_binary


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_tells_the_same_facts(version):
    program = walferry_binary().parent / "tests/sink_kafka_source_facts_test"
    run = subprocess.run([program], env=clean_environment(PGBIN=str(versioned_bin(version))), cwd="/tmp",
                         capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
