"""The program under test: one job with its file, its folder and its processes."""
import json
import os
import signal
import subprocess
from dataclasses import dataclass

import yaml

from .place import clean_environment, walferry_binary
from .poll import PATIENCE, NotInTime, poll_until
from .server import lsn_number

PHASES = ["checking", "schema", "full", "catching-up", "running", "cutting-over", "completed"]
# Fast beats and short windows: a test that goes wrong must end, not retry for twelve hours.
DEFAULTS = {"source": {"heartbeat": "200ms"}, "retry": {"connection": "60s", "other": "20s"}}
# What no process may ever print: reports of the sanitizers and of assert().
BROKEN = ("AddressSanitizer", "LeakSanitizer", "ThreadSanitizer", "runtime error:", "Assertion `")


def merged(base, more):
    """Deep merge; a value None takes the key away."""
    out = dict(base)
    for key, value in more.items():
        if value is None:
            out.pop(key, None)
        elif isinstance(value, dict) and isinstance(out.get(key), dict):
            out[key] = merged(out[key], value)
        else:
            out[key] = value
    return out


@dataclass
class Result:
    exit: int
    out: str
    err: str

    def json(self):
        """stdout must be exactly one JSON document."""
        return json.loads(self.out)

    @property
    def said(self):
        return self.out + self.err


class Process:
    """A running walferry with its two output files."""

    def __init__(self, command, environment, base, fault_log):
        self.out_path = base.with_suffix(".out")
        self.err_path = base.with_suffix(".err")
        self.fault_log = fault_log
        with open(self.out_path, "wb") as out, open(self.err_path, "wb") as err:
            self.popen = subprocess.Popen(command, env=environment, cwd=base.parent, stdin=subprocess.DEVNULL,
                                          stdout=out, stderr=err, start_new_session=True)

    @property
    def pid(self):
        return self.popen.pid

    def alive(self):
        return self.popen.poll() is None

    def signal(self, number):
        if self.alive():
            os.kill(self.pid, number)

    def kill9(self):
        """Only the process itself, as the kernel's OOM killer would; its children have to notice."""
        self.signal(signal.SIGKILL)
        self.popen.wait()

    def terminate(self, timeout=10):
        """SIGTERM; must end in time. Returns the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def wait(self, timeout=60):
        try:
            return self.popen.wait(timeout * PATIENCE)
        except subprocess.TimeoutExpired:
            raise NotInTime(f"walferry did not end within {timeout * PATIENCE:g} s:\n{self.err[-3000:]}") from None

    @property
    def out(self):
        return self.out_path.read_text(errors="replace")

    @property
    def err(self):
        return self.err_path.read_text(errors="replace")

    def reached(self, point):
        """Whether the fault point acted, by WALFERRY_FAULT_LOG."""
        return self.fault_log.exists() and point in self.fault_log.read_text(errors="replace")

    def wait_reached(self, point, timeout=30):
        poll_until(lambda: self.reached(point), f"fault point {point} is reached", timeout, every=0.02)


class Job:
    """config: what the job file says beside name and DSNs; text: the whole job file instead; env: for its processes."""

    def __init__(self, directory, name, source=None, target=None, config=None, text=None, env=None):
        self.directory = directory
        self.name = name
        self.file = directory / "job.yaml"
        self.processes = []
        self.process = None
        self.number = 0
        self.env = env or {}
        base = {"name": name}
        base |= {"source": {"dsn": source}} if source else {}
        base |= {"target": {"dsn": target}} if target else {}
        self.config = merged(merged(base, DEFAULTS if source else {}), config or {})
        self.file.write_text(text if text is not None else yaml.safe_dump(self.config, sort_keys=False))

    @property
    def slot(self):
        return f"dts_sync_{self.name}"

    def rewrite(self, config):
        self.config = merged(self.config, config)
        self.file.write_text(yaml.safe_dump(self.config, sort_keys=False))

    def _environment(self, fault, more, fault_log):
        environment = clean_environment(
            XDG_RUNTIME_DIR=str(self.directory), XDG_STATE_HOME=str(self.directory), HOME=str(self.directory),
            ASAN_OPTIONS="detect_leaks=1:abort_on_error=0", UBSAN_OPTIONS="print_stacktrace=1")
        if fault:
            environment |= {"WALFERRY_FAULT": fault, "WALFERRY_FAULT_LOG": str(fault_log)}
        return environment | self.env | (more or {})

    def start(self, *arguments, fault=None, env=None, command="run"):
        """In the background."""
        self.number += 1
        base = self.directory / f"{command}-{self.number}"
        fault_log = base.with_suffix(".faults")
        process = Process([str(walferry_binary()), command, str(self.file), *map(str, arguments)],
                          self._environment(fault, env, fault_log), base, fault_log)
        self.processes.append(process)
        if command == "run":
            self.process = process
        return process

    def call(self, command, *arguments, fault=None, env=None, timeout=60):
        """To its end."""
        process = self.start(*arguments, fault=fault, env=env, command=command)
        code = process.wait(timeout)
        return Result(code, process.out, process.err)

    def run(self, *arguments, timeout=60, **more):
        return self.call("run", *arguments, timeout=timeout, **more)

    def status(self):
        answer = subprocess.run([str(walferry_binary()), "status", str(self.file), "--json"], cwd=self.directory,
                                env=self._environment(None, None, None), capture_output=True, text=True, timeout=30 * PATIENCE)
        assert answer.returncode == 0, f"status ended with {answer.returncode}: {answer.stderr}"
        return json.loads(answer.stdout)

    def phase(self):
        return self.status()["phase"]

    def reached(self, phase):
        return PHASES.index(self.phase()) >= PHASES.index(phase)

    def wait_for(self, phase, timeout=60):
        """Until the running process has reached the phase (or one beyond)."""
        process = self.process
        return poll_until(lambda: self._reached_alive(process, phase), f"phase {phase}", timeout, every=0.1)

    def _reached_alive(self, process, phase):
        assert process.alive(), f"walferry ended with {process.popen.returncode}:\n{process.err[-4000:]}"
        status = self.status()  # "stopped" is the record that an earlier run has left
        return status["state"] == "running" and PHASES.index(status["phase"]) >= PHASES.index(phase)

    def applied(self):
        return lsn_number(self.status()["applied_lsn"] or "0/0")

    def start_killed_in_load(self, fault):
        """A run that is killed at the fault point, or by us when it has come past the load without it."""
        process = self.start(fault=fault)
        poll_until(lambda: not process.alive() or self.reached("catching-up"), "killed, or past it", 60, every=0.1)
        process.kill9()

    def drain(self, source, timeout=60):
        """Until everything that is committed at the source now is applied (by the next beat)."""
        upto = source.lsn()

        def there():
            alive = self.process.alive()  # before the look: what it applied last counts
            there = self.applied() >= upto
            assert there or alive, f"walferry ended with {self.process.popen.returncode}:\n{self.process.err[-4000:]}"
            return there
        poll_until(there, "everything is applied", timeout, every=0.1)

    def close(self):
        """Ends what is left; returns what no process may have printed."""
        for process in self.processes:
            if process.alive():
                process.signal(signal.SIGCONT)
                process.kill9()
        return [f"{process.err_path}: {word}" for process in self.processes for word in BROKEN if word in process.err]
