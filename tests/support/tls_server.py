"""A TLS server in threads: unlike asyncio's it sends its alerts, as servers do."""

import socket
import ssl
import threading
from contextlib import suppress


class TlsServer:
    """Answers HTTP, one request a connection; ``heard`` are the requests' heads.

    ``refused`` is set once the handshake of a client has failed and the client has been sent why.
    """

    def __init__(self, tls: ssl.SSLContext, answer: bytes = b"") -> None:
        self._tls = tls
        self._answer = answer or b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
        self.heard: list[bytes] = []
        self.refused = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(60)
        tls = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with suppress(OSError), tls as secured:
            try:
                self._shake_hands(secured)
                self._answer_on(secured)
            finally:
                # a close with data unread would reset the connection, and with it the alert
                with suppress(OSError):
                    secured.shutdown(socket.SHUT_WR)
                    while secured.recv(4096):
                        pass

    def _shake_hands(self, secured: ssl.SSLSocket) -> None:
        try:
            secured.do_handshake()
        except OSError:
            self.refused.set()
            raise

    def _answer_on(self, secured: ssl.SSLSocket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            data = secured.recv(4096)
            if not data:
                return
            head += data
        self.heard.append(head)
        secured.sendall(self._answer)
        secured.unwrap()
