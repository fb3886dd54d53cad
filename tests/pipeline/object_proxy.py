"""A network that breaks: between a writer and an object server, an upload is let through in part and then held."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType


class HoldingProxy:
    """A context; ``address`` leads to ``server``. The first upload to a path that holds ``part`` gets through with its
    headers and a few bytes, and no further: then ``held`` is set. Later uploads are not held."""

    def __init__(self, server: str, part: bytes) -> None:
        host, port = server.split(":")
        self._server = (host, int(port))
        self._part = part
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.held = threading.Event()

    def __enter__(self) -> HoldingProxy:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for end in (self._listener, *self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                self._ends += [client, server]
                threading.Thread(target=self._up, args=(client, server), daemon=True).start()
                threading.Thread(target=self._pass, args=(server, client), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                line = data.partition(b"\r\n")[0]
                if line.startswith(b"PUT ") and self._part in line and not self.held.is_set():
                    server.sendall(self._head(data, client))
                    self.held.set()
                    while client.recv(1 << 16):  # the rest goes nowhere
                        pass
                    break
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)

    @staticmethod
    def _head(data: bytes, client: socket.socket) -> bytes:
        """The headers and 100 bytes of the body."""
        while len(data.partition(b"\r\n\r\n")[2]) < 100:
            data += client.recv(1 << 16)
        return data[: data.index(b"\r\n\r\n") + 104]

    @staticmethod
    def _pass(server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 16):
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)
