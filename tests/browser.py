"""Pages looked at in a real browser: headless Chromium, with what a page complains of and whom else it asks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, Request

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (  # a sound may play without a click, and nothing of Chromium's own goes over the network
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required",
)  # fmt: skip
HERE = ("", "127.0.0.1", "localhost")  # a page opened as a file has no host


@dataclass
class Seen:
    """What went on in a page: errors that it or its console told of, and requests to other machines."""

    page: Page
    errors: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def asked(self, request: Request) -> None:
        """Keep the address of a request that leaves this machine."""
        address = urlsplit(request.url)
        if address.scheme not in ("data", "blob", "about") and (address.hostname or "") not in HERE:
            self.elsewhere.append(request.url)


@contextmanager
def opened(
    browser: Browser, address: str | Path, width: int = 1500, height: int = 1000, **options: object
) -> Iterator[Seen]:
    """A page that is open inside, at an address or a file of this machine, and what went on in it.

    Args:
        browser: the fixture.
        address: http://127.0.0.1:PORT/..., or the path of an HTML file.
        width, height: of the window, in pixels.
        options: of Playwright's `new_page`: `color_scheme="dark"`, `is_mobile=True` and others.
    """
    page = browser.new_page(viewport={"width": width, "height": height}, **options)
    page.set_default_timeout(20_000)
    seen = Seen(page)
    page.on("console", lambda told: seen.errors.append(told.text) if told.type == "error" else None)
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on("request", seen.asked)
    try:
        page.goto(address.absolute().as_uri() if isinstance(address, Path) else address)
        yield seen
    finally:
        page.close()


def until(asked: Callable[[], Any], seconds: float = 20) -> Any:
    """The first answer that is not empty or false.

    Raises:
        AssertionError: there was none in time; it tells the last.
    """
    end = time.monotonic() + seconds
    while not (answer := asked()):
        assert time.monotonic() < end, f"still {answer!r} after {seconds} s"
        time.sleep(0.05)
    return answer
