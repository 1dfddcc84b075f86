"""The requests of the benchmark: nine headers of a browser, three cookies, one value in the query."""

from __future__ import annotations

HEADERS = {
    "accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "accept-encoding": "gzip, deflate, br",
    "accept-language": "en-GB,en;q=0.7,nl;q=0.3",
    "cache-control": "max-age=0",
    "referer": "https://shop.example/catalogue?page=2",
    "sec-fetch-mode": "navigate",
    "upgrade-insecure-requests": "1",
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
}
COOKIE = "theme=dark; session=0123456789abcdef0123456789abcdef; lang=en"

#: The careless query, attacked.
ATTACK = "attack"
#: Path and query by route; `%d` is another number in each request.
ROUTES = {
    "hello": "/hello?name=jane+doe+%d",
    "bound": "/bound?name=jane+doe+%d",
    "concat": "/concat?name=jane+doe+%d",
    ATTACK: "/concat?name=x%%27+OR+%%27%d%%27=%%271",
}


def script(route: str) -> str:
    """A program for wrk that asks for `route` with ever new values."""
    before, after = ROUTES[route].split("%d")
    begin, end = before.replace("%%", "%"), after.replace("%%", "%")
    return (
        "local n = 0\n"
        "request = function()\n"
        "  n = n + 1\n"
        f'  return wrk.format("GET", "{begin}" .. n .. "{end}")\n'
        "end\n"
    )
