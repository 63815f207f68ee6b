"""libcurl's transfers on the running event loop (https://curl.se/libcurl/c/libcurl-multi.html, multi_socket)."""

import asyncio

import pycurl

_READ, _WRITE = pycurl.POLL_IN, pycurl.POLL_OUT


class Failed(Exception):
    """A transfer that libcurl gave up: its error code and what it says."""

    def __init__(self, code: int, said: str) -> None:
        super().__init__(said)
        self.code = code


class Transfers:
    """Transfers that share what connections they keep: ``most_kept`` of them at most, unless it is 0.

    Made within a running loop, and closed at the end.
    """

    def __init__(self, most_kept: int = 0) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[pycurl.Curl, asyncio.Future[None]] = {}
        self._watched: dict[int, int] = {}
        self._timer: asyncio.Handle | None = None
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)
        if most_kept:
            self._multi.setopt(pycurl.M_MAXCONNECTS, most_kept)

    async def perform(self, curl: pycurl.Curl) -> None:
        """Run a transfer to its end. Raises Failed. Cancelled, it is broken off."""
        ended: asyncio.Future[None] = self._loop.create_future()
        self._waiting[curl] = ended
        self._multi.add_handle(curl)
        try:
            await ended
        finally:
            if self._waiting.pop(curl, None) is not None:
                self._multi.remove_handle(curl)

    def close(self) -> None:
        """Break off running transfers and close all connections."""
        for curl, ended in list(self._waiting.items()):
            self._multi.remove_handle(curl)
            del self._waiting[curl]
            ended.cancel()
        if self._timer is not None:
            self._timer.cancel()
        self._multi.close()
        for fd in list(self._watched):
            self._watch(pycurl.POLL_REMOVE, fd)

    def _watch(self, what: int, fd: int, _multi: object = None, _data: object = None) -> None:
        before = self._watched.get(fd, 0)
        if what == pycurl.POLL_REMOVE:
            wanted = 0
            self._watched.pop(fd, None)
        else:
            wanted = self._watched[fd] = what & (_READ | _WRITE)
        if before & _READ and not wanted & _READ:
            self._loop.remove_reader(fd)
        if before & _WRITE and not wanted & _WRITE:
            self._loop.remove_writer(fd)
        if wanted & _READ and not before & _READ:
            self._loop.add_reader(fd, self._act, fd, pycurl.CSELECT_IN)
        if wanted & _WRITE and not before & _WRITE:
            self._loop.add_writer(fd, self._act, fd, pycurl.CSELECT_OUT)

    def _set_timer(self, wait_ms: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # never at once: libcurl may not be called again from within its callbacks
        if wait_ms == 0:
            self._timer = self._loop.call_soon(self._on_time)
        elif wait_ms > 0:
            self._timer = self._loop.call_later(wait_ms / 1000, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self._act(pycurl.SOCKET_TIMEOUT, 0)

    def _act(self, fd: int, ready: int) -> None:
        self._multi.socket_action(fd, ready)
        more = 1
        while more:
            more, done, failed = self._multi.info_read()
            for curl in done:
                self._end(curl, None)
            for curl, code, said in failed:
                self._end(curl, Failed(code, said))

    def _end(self, curl: pycurl.Curl, failure: Failed | None) -> None:
        self._multi.remove_handle(curl)
        ended = self._waiting.pop(curl)
        if ended.done():
            return
        if failure is None:
            ended.set_result(None)
        else:
            ended.set_exception(failure)
