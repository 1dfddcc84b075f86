"""Tornado's own server: `python -m matrix.tornado_app PORT`."""

from __future__ import annotations

import asyncio
import sys

from tornado.web import Application, RequestHandler

from .shop import find, pieces


class LookUp(RequestHandler):
    def post(self) -> None:
        self.write(find(self.get_body_argument("name")))


class InPool(RequestHandler):
    async def get(self) -> None:
        loop = asyncio.get_running_loop()
        self.write(await loop.run_in_executor(None, find, self.get_query_argument("name")))


class Stream(RequestHandler):
    async def get(self) -> None:
        for piece in pieces(self.get_query_argument("name")):
            self.write(piece)
            await self.flush()


async def main(port: int) -> None:
    app = Application([("/find", LookUp), ("/pool", InPool), ("/stream", Stream)])
    app.listen(port, "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
