"""File downloads: read in threads, sent no faster than the client reads."""

from typing import BinaryIO

import anyio
import anyio.to_thread

from pipeline.hub.service import Download
from pipeline.interfaces.http import NO_STORE, HttpRequest, ResponseStream
from pipeline.protocol.close_codes import CloseCode, Disconnect

MAX_DOWNLOADS = 8  #: at once
MAX_DURATION = 3600.0  #: seconds of one download
PART = 1 << 18  #: bytes that are read and sent at a time


class Downloads:
    """Downloads in progress."""

    def __init__(self) -> None:
        self._threads = anyio.CapacityLimiter(MAX_DOWNLOADS)
        self._active = 0

    async def send(self, request: HttpRequest, file: Download) -> None:
        """Send ``file`` as the response. Raises ``Disconnect`` when there are too many downloads.

        Raises ConnectionError when the client does not read, or the file is not whole any more.
        """
        if self._active >= MAX_DOWNLOADS:
            raise Disconnect(
                f"{self._active} downloads are in progress: try later", code=CloseCode.LATER
            )
        self._active += 1
        try:
            with anyio.move_on_after(MAX_DURATION) as patience:
                stream = await request.stream(200, file.content_type, headers_of(file))
                await self._copy(stream, file)
                await stream.end()
            if patience.cancelled_caught:
                raise ConnectionResetError(f"the download took more than {MAX_DURATION:g} s")
        finally:
            self._active -= 1

    async def _copy(self, stream: ResponseStream, file: Download) -> None:
        await stream.write(file.head)
        left = file.size
        if not left:
            return
        with await anyio.to_thread.run_sync(_opened, file, limiter=self._threads) as source:
            while left:
                part = await anyio.to_thread.run_sync(
                    source.read, min(PART, left), limiter=self._threads
                )
                if not part:
                    raise ConnectionResetError(f"{file.name} is shorter than it was")
                await stream.write(part)
                left -= len(part)


def headers_of(file: Download) -> dict[str, str]:
    """Return the headers of the response that carries ``file``."""
    return {
        **NO_STORE,
        "Content-Length": str(len(file.head) + file.size),
        "Content-Disposition": f'attachment; filename="{file.name}"',
    }


def _opened(file: Download) -> BinaryIO:
    source = file.path.open("rb")
    source.seek(file.start)
    return source
