"""The loop that found restart_lsn going backwards: both servers restart all the time, fast or immediate, while both
write checkpoints without a pause. Cheap, and the strongest test of restarts that there is (F15)."""
import threading
import time
from collections import Counter

import psycopg2

STOP_MOST_S = 10  # however much is unconfirmed: nobody may keep a server from stopping (trap A13)


class Checkpoints(threading.Thread):
    def __init__(self, servers):
        super().__init__(daemon=True, name="checkpoints")
        self.servers = servers
        self.ended = threading.Event()
        self.made = 0

    def run(self):
        while not self.ended.wait(0.01):
            for server in self.servers:
                try:
                    server.sql("CHECKPOINT")
                    self.made += 1
                except psycopg2.Error:  # it is down; there is nothing else that could be wrong with a CHECKPOINT
                    pass

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_error):
        self.ended.set()
        self.join(30)


def vondra(source, target, random, seconds, after=None):
    """source and target are servers; `after` is called after each restart. Returns how often which restarted how."""
    restarts = Counter()
    end = time.monotonic() + seconds
    with Checkpoints((source, target)) as checkpoints:
        while time.monotonic() < end:
            server, mode = random.choice((source, target)), random.choice(("fast", "immediate"))
            took = server.stop(mode, timeout=3 * STOP_MOST_S)
            assert took < STOP_MOST_S, f"{server.name} needed {took:.0f} s to stop ({mode})"
            server.start()
            restarts[f"{server.name} {mode}"] += 1
            if after:
                after()
            time.sleep(random.random())
    restarts["checkpoints"] = checkpoints.made
    return restarts
