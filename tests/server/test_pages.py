"""The pages, as HTML that a parser reads."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest

EVIL = "<script>alert(1)</script>"


class Reader(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += f" {' '.join(data.split())}"

    def names(self) -> set[str]:
        return {tag for tag, _ in self.tags}

    def links(self) -> list[str | None]:
        return [attributes.get("href") for tag, attributes in self.tags if tag == "a"]


def read(answer: Any, status: int = 200) -> Reader:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"].startswith("text/html")
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'self';")
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    page = Reader(answer.text)
    assert ("html", {"lang": "en"}) in page.tags
    assert {"title", "h1", "main"} <= page.names()
    assert "script" not in page.names()
    assert "style" not in page.names()
    assert not [attributes for _, attributes in page.tags if "style" in attributes]
    return page


def send(live: Any, run: int, *results: dict[str, Any]) -> None:
    answer = live.post(f"/projects/DEMO/runs/{run}/results", {"results": list(results)})
    assert answer.status_code == 200, answer.text


def test_no_runs(live: Any) -> None:
    page = read(live.page("/"))
    assert "No runs yet" in page.words
    assert {"/docs", "/openapi.json"} <= set(page.links())


def test_runs_newest_first(live: Any, result: Any) -> None:
    first, second = live.new_run(title="First"), live.new_run("SHOP", title="Second")
    send(live, first, result(), result(), result(status="failed"))
    live.post(f"/projects/DEMO/runs/{first}/complete")
    page = read(live.page("/"))
    links = [link for link in page.links() if link and link.startswith("/runs/")]
    assert links == [f"/runs/{second}", f"/runs/{first}"]
    assert page.words.index("Second") < page.words.index("First")
    for word in ("SHOP", "DEMO", "active", "completed", " 2 passed", " 1 failed"):
        assert word in page.words
    assert [a["scope"] for tag, a in page.tags if tag == "th" and a.get("scope") == "col"] == ["col"] * 6


def test_many_runs_have_pages(live: Any) -> None:
    from famacase_xdist.server.records import NewRun

    live.get("/projects/DEMO")
    for number in range(101):
        live.store.create_run("DEMO", NewRun(f"run {number}"))
    first, second = read(live.page("/")), read(live.page("/?page=2"))
    assert "?page=2" in first.links()
    assert "/runs/1" not in first.links()
    assert "/runs/1" in second.links()
    assert [link for link in second.links() if link and "page=" in link] == ["?page=1"]


def test_run_shows_everything(live: Any, result: Any, step: Any) -> None:
    kept = live.upload(("shot.png", b"x", "image/png"), ("log.txt", b"y", "text/plain")).json()["attachments"]
    top, deep = ({"id": file["id"], "file_name": file["file_name"]} for file in kept)
    inner = step("press the button", attachments=[deep])
    inner["execution"]["attachments"] = [deep]
    run = live.new_run(title="Nightly", description="All of it", tags=["release"])
    send(
        live,
        run,
        result(
            "test_pay",
            "failed",
            message="AssertionError: 1 == 2",
            execution={"stacktrace": "shop.py:12: AssertionError"},
            attachments=[top],
            steps=[step("open the shop", inner)],
        ),
    )
    page = read(live.page(f"/runs/{run}"))
    for word in (
        *("Nightly", "All of it", "release", "active", "test_pay", "failed", "Shop / Cart", "gw0", "1.25 s"),
        *("AssertionError: 1 == 2", "shop.py:12", "browser", "firefox", "severity", "major", "smoke"),
        *("open the shop", "press the button", "shot.png", "log.txt", " 1 failed"),
    ):
        assert word in page.words, word
    files = [link for link in page.links() if link and link.startswith("/attachments/")]
    assert sorted(files) == sorted(f"/attachments/{file['id']}" for file in kept)
    assert all(live.page(link).status_code == 200 for link in files)
    assert {"details", "summary", "caption"} <= page.names()


def test_nothing_sent_becomes_markup(live: Any, result: Any, step: Any) -> None:
    run = live.new_run(title=EVIL, description=EVIL, tags=[EVIL])
    evil_step = step(EVIL, data={"action": EVIL, EVIL: EVIL}, attachments=[{"id": EVIL, "file_name": EVIL}])
    send(
        live,
        run,
        result(
            EVIL,
            "failed",
            message=EVIL,
            execution={"stacktrace": EVIL, "thread": EVIL},
            fields={EVIL: EVIL},
            params={EVIL: EVIL},
            tags=[EVIL],
            relations={"suite": {"data": [{"title": EVIL}]}},
            attachments=[{"id": '"><script>', "file_name": EVIL}],
            steps=[evil_step],
        ),
    )
    assert EVIL in read(live.page("/")).words
    page = read(live.page(f"/runs/{run}"))
    # title, h1, description, tag, test, suite, thread, summary, message, trace, step, data, pairs, files
    assert page.words.count(EVIL) >= 18


def test_late_muted_and_repeated_are_marked(live: Any, result: Any) -> None:
    run = live.new_run()
    live.post(f"/projects/DEMO/runs/{run}/complete")
    send(live, run, result(muted=True, ignore=True, execution={"attempt_index": 3, "is_rerun": True}))
    words = read(live.page(f"/runs/{run}")).words
    for word in (" late", " muted", " ignored", " attempt 3", " Completed"):
        assert word in words


def test_results_of_one_status(live: Any, result: Any) -> None:
    run = live.new_run()
    send(live, run, result("good"), result("bad", "broken"))
    page = read(live.page(f"/runs/{run}?status=invalid"))
    assert " bad" in page.words
    assert " good" not in page.words
    assert "?status=invalid" in page.links()


def test_many_results_have_pages(live: Any) -> None:
    run = live.new_run()
    rows = [
        {"id": f"00000000-0000-0000-0000-{n:012}", "title": f"t-{n:03}", "execution": {"status": "passed"}}
        for n in range(501)
    ]
    live.store.add_results(run, rows)
    first, second = (read(live.page(f"/runs/{run}?status=passed&page={number}")) for number in (1, 2))
    assert "t-499" in first.words
    assert "t-500" not in first.words
    assert "t-500" in second.words
    assert "?status=passed&page=2" in first.links()
    assert "?status=passed&page=1" in second.links()


def test_deep_steps_do_not_break_the_page(live: Any, result: Any, step: Any) -> None:
    run = live.new_run()
    tree = step("leaf")
    for level in range(60):
        tree = step(f"level {level}", tree)
    send(live, run, result(steps=[tree]))
    words = read(live.page(f"/runs/{run}")).words
    assert "level 59" in words
    assert "Deeper steps are kept but not shown" in words


@pytest.mark.parametrize(
    ("kind", "data", "shown"),
    [
        ("gherkin", {"keyword": "Given", "name": "a cart", "line": 3}, "Given a cart"),
        ("request", {"request_method": "GET", "request_url": "/x", "status_code": 200}, "GET /x"),
        ("db_query", {"query": "SELECT 1"}, "SELECT 1"),
        ("sleep", {"duration": 50}, "sleep"),
        ("assert", {"expected": "a", "actual": "b", "message": "equal"}, "equal"),
        ("text", {}, "text"),
    ],
)
def test_step_kinds(shared: Any, result: Any, step: Any, kind: str, data: dict[str, Any], shown: str) -> None:
    run = shared.new_run()
    send(shared, run, result(steps=[step(step_type=kind, data=data)]))
    assert shown in read(shared.page(f"/runs/{run}")).words


def test_bare_result_and_blank_message(live: Any, result: Any) -> None:
    run = live.new_run()
    send(
        live,
        run,
        {"id": result()["id"], "title": "bare", "execution": {"status": "passed"}},
        result(message=" \n"),
    )
    assert " bare" in read(live.page(f"/runs/{run}")).words


@pytest.mark.parametrize("path", ["/runs/7", "/runs/0", "/runs/-1", "/runs/x", f"/runs/{'9' * 5000}", "/nothing"])
def test_unknown_page_is_404(shared: Any, path: str) -> None:
    page = read(shared.page(path), 404)
    assert "Not found" in page.words
    assert "/" in page.links()


def test_stylesheet_is_ours(live: Any) -> None:
    page = read(live.page("/"))
    sheets = [attributes["href"] for tag, attributes in page.tags if tag == "link"]
    assert sheets == ["/style.css"]
    answer = live.page("/style.css")
    assert answer.headers["Content-Type"].startswith("text/css")
    assert "prefers-color-scheme: dark" in answer.text
