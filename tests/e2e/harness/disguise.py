"""A server that says it is an older one: what is sent to versions without a package can be run all the same."""
import socket
import threading

from .place import free_port


class Disguise:
    """A TCP proxy before a server; in what the server says at a login its major version is another of two digits."""

    def __init__(self, server, version):
        self.to_port = server.port
        self.port = free_port()
        self.true, self.shown = (f"server_version\0{major}.".encode() for major in (server.version, version))
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.ends = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client = self.listener.accept()[0]
                server = socket.create_connection(("127.0.0.1", self.to_port))
            except OSError:
                return
            self.ends += [client, server]
            threading.Thread(target=self._pass, args=(client, server), daemon=True).start()
            threading.Thread(target=self._pass, args=(server, client, True), daemon=True).start()

    def _pass(self, source, sink, login=False):
        try:
            while piece := source.recv(1 << 16):
                if login and self.true in piece:
                    piece, login = piece.replace(self.true, self.shown, 1), False
                sink.sendall(piece)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        for end in (self.listener, *self.ends):
            end.close()
