"""Drives tests/fault/proxy.c: one proxy for one connection's road."""
import socket
import subprocess

from .place import free_port, proxy_binary
from .poll import poll_until


class Proxy:
    def __init__(self, directory, to_port, name="proxy"):
        self.port = free_port()
        self.control = directory / f"{name}.sock"
        self.process = subprocess.Popen([str(proxy_binary()), str(self.port), "127.0.0.1", str(to_port),
                                         str(self.control)], stdin=subprocess.DEVNULL)
        poll_until(self._answers, "the proxy answers", 10, every=0.02)

    def _answers(self):
        assert self.process.poll() is None, "the proxy ended"
        try:
            return self.tell("stats")
        except OSError:
            return None

    def tell(self, line):
        """One line of tests/fault/proxy.c's language; returns the answer."""
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(5)
            control.connect(str(self.control))
            control.sendall(line.encode() + b"\n")
            answer = control.makefile().readline().strip()
        assert answer.startswith("ok"), f"proxy: {line}: {answer}"
        return answer

    def stats(self):
        words = self.tell("stats").split()[1:]
        return {key: int(value) for key, value in zip(words[::2], words[1::2])}

    def swallow_commit_answer(self):
        """The next CommandComplete "COMMIT" of the server, and all that follows it, is lost on its way."""
        self.tell(r"swallow down C\x00\x00\x00\x0bCOMMIT\x00")

    def lose_commit_of_kafka(self, job, system_id, late_ms=None):
        """The next EndTxn of the job's producer: its answer is lost on its way; with late_ms it is the request that arrives so
        much later. A request is its size, API key, version, correlation id, client id; then the transactional id, a
        producer's id and epoch, and what the end is to be. All but two of these are known."""
        size = 8 + 2 + len(f"walferry_{job.name}") + 2 + len(f"walferry.{system_id}.{job.slot}") + 8 + 2 + 1
        pattern = "".join(f"\\x{byte:02x}" for byte in (*size.to_bytes(4), 0, 26, 0, 1))
        self.tell(f"late {late_ms} {pattern}" if late_ms else f"swallow up {pattern}")

    def close(self):
        self.process.kill()
        self.process.wait()
