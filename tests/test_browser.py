"""The helper that the tests of pages lean on tells what went wrong in a page."""

from pathlib import Path

from browser import opened


def test_what_a_page_complains_of_and_whom_it_asks_is_told(browser, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<title>good</title><p>good</p>")
    with opened(browser, page) as seen:
        assert seen.page.inner_text("p") == "good"
    assert (seen.errors, seen.elsewhere) == ([], [])
    page.write_text(
        "<script>console.error('told'); throw Error('thrown')</script><img src='http://nowhere.invalid/a.png'>"
    )
    with opened(browser, page) as seen:
        assert seen.page.evaluate("document.images.length") == 1
    assert seen.elsewhere == ["http://nowhere.invalid/a.png"]
    assert {"told", "thrown"} <= set(seen.errors)
