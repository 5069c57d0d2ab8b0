"""Files: how they come in, how they go out, and their names."""

from __future__ import annotations

from typing import Any

import pytest

HOSTILE = [
    "../../etc/passwd",
    "/etc/passwd",
    'a"; filename="b.html',
    "a\r\nSet-Cookie: x=1",
    "..",
    "",
    "a\x00b",
    "gnp.\u202etxt",
    "Ж" * 300,
    "<script>alert(1)</script>",
]


def download(live: Any, attachment: dict[str, Any]) -> Any:
    answer = live.page(f"/attachments/{attachment['id']}")
    assert answer.status_code == 200
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    return answer


def test_answer_is_in_the_order_sent(live: Any) -> None:
    files = [(f"f{number % 3}.txt", b"x" * number, "text/plain") for number in range(20)]
    kept = live.upload(*files).json()["attachments"]
    assert [(file["file_name"], file["file_size"]) for file in kept] == [(f[0], len(f[1])) for f in files]
    assert all(file.keys() == {"id", "file_name", "mime_type", "file_size"} for file in kept)
    assert len({file["id"] for file in kept}) == 20
    for (_, content, _), file in zip(files, kept, strict=True):
        assert download(live, file).content == content


def test_equal_content_is_kept_once(live: Any) -> None:
    kept = live.upload(("a.txt", b"same", "text/plain"), ("b.txt", b"same", "text/plain")).json()["attachments"]
    kept += live.upload(("c.txt", b"same", "text/plain"), ("d.txt", b"other", "text/plain")).json()["attachments"]
    assert live.store.count_contents() == 2
    assert [file["file_name"] for file in kept] == ["a.txt", "b.txt", "c.txt", "d.txt"]
    assert [download(live, file).content for file in kept] == [b"same"] * 3 + [b"other"]


def test_large_file_survives(live: Any) -> None:
    content = bytes(range(256)) * 4096 * 5
    kept = live.upload(("big.bin", content, "application/octet-stream")).json()["attachments"][0]
    assert kept["file_size"] == len(content)
    assert download(live, kept).content == content
    assert live.store.attachment(kept["id"]).content == content


@pytest.mark.parametrize(
    ("mime_type", "disposition"),
    [
        ("text/plain", "inline"),
        ("image/png", "inline"),
        ("image/svg+xml", "attachment"),
        ("IMAGE/SVG+XML", "attachment"),
        ("text/html", "attachment"),
        ("application/xhtml+xml", "attachment"),
        ("application/pdf", "attachment"),
        ("text/javascript", "attachment"),
    ],
)
def test_what_a_browser_may_show(shared: Any, mime_type: str, disposition: str) -> None:
    kept = shared.upload(("file", b"<script>", mime_type)).json()["attachments"][0]
    answer = download(shared, kept)
    assert answer.headers["Content-Disposition"].startswith(f"{disposition}; ")
    assert answer.headers["Content-Type"].partition(";")[0] == mime_type.lower()
    assert kept["mime_type"] == mime_type.lower()


@pytest.mark.parametrize("mime_type", ["", "nonsense", "text/html, x", "image/png\x7f"])
def test_type_that_is_none(shared: Any, mime_type: str) -> None:
    kept = shared.upload(("file", b"x", mime_type)).json()["attachments"][0]
    assert kept["mime_type"] == "application/octet-stream"
    assert download(shared, kept).headers["Content-Disposition"].startswith("attachment; ")


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names(shared: Any, name: str) -> None:
    directory = shared.store.path.parent
    before = sorted(path.name for path in directory.iterdir())
    body = (
        b'--b\r\nContent-Disposition: form-data; name="files"; filename="'
        + name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A").encode()
        + b'"\r\nContent-Type: text/html\r\n\r\nbody\r\n--b--\r\n'
    )
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = shared.post("/projects/DEMO/attachments", data=body, headers=headers)
    if answer.status_code == 400:  # the multipart parser itself refuses control characters
        assert "\x00" in name
        return
    kept = answer.json()["attachments"][0]
    shown = download(shared, kept)
    header = shown.headers["Content-Disposition"]
    assert shown.content == b"body"
    assert header.isascii()
    assert header.count('"') == 2
    plain = header.split('"')[1]
    assert plain
    assert not set(plain) & set('/\\<>"\r\n\x00')
    assert plain.strip(".") != ""
    assert "Set-Cookie" not in shown.headers
    assert sorted(path.name for path in directory.iterdir()) == before


def test_names_that_only_the_store_takes(live: Any) -> None:
    """A name with real line breaks cannot come over HTTP, but a stored name must be safe to send all the same."""
    from famacase_xdist.server.records import Upload

    live.get("/projects/DEMO")
    names = ['a"b\\c', "a\r\nX-Evil: 1", "\x00", "名前.txt"]
    kept = live.store.add_attachments("DEMO", [Upload(name, "text/plain", b"x") for name in names])
    headers = [download(live, {"id": file.id}).headers for file in kept]
    assert all("X-Evil" not in header for header in headers)
    assert 'filename="a_b_c"' in headers[0]["Content-Disposition"]
    assert "filename*=UTF-8''%E5%90%8D%E5%89%8D.txt" in headers[3]["Content-Disposition"]


def test_parts_that_are_no_files(live: Any) -> None:
    url = "/projects/DEMO/attachments"
    cases = [
        live.post(url, files=[("file", ("a", b"x"))]),
        live.post(url, files=[("files", ("a", b"x")), ("note", (None, "text"))]),
        live.post(url, files=[("files", (None, "text"))]),
        live.post(url, {"files": []}),
        live.post(url),
    ]
    for answer in cases:
        assert answer.status_code == 422
        assert "files" in answer.json()["detail"]
    assert live.store.count_contents() == 0


def test_broken_multipart_is_400(live: Any) -> None:
    headers = {"Content-Type": "multipart/form-data"}
    answer = live.post("/projects/DEMO/attachments", data=b"x", headers=headers)
    assert answer.status_code == 400
    assert answer.json()["detail"]


def test_attachments_of_an_unlisted_project(serve: Any) -> None:
    assert serve(projects=["ONE"]).upload(("a", b"x", "text/plain")).status_code == 404


def test_unknown_attachment_is_404(live: Any) -> None:
    assert live.page("/attachments/nothing").status_code == 404
