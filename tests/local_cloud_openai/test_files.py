from __future__ import annotations

import tempfile
from pathlib import Path

import httpx
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local_cloud.errors import ApiError
from local_cloud.openai_uploads import FormReader

from .conftest import OpenAIService, requests_of, to_jsonl

LIMIT = 200 * 1024 * 1024
DAYS_14, DAYS_30 = 1_209_600, 2_592_000


def test_a_file_comes_back_as_it_was(service: OpenAIService) -> None:
    data = to_jsonl(requests_of(50))
    file = service.client.files.create(file=("my input.jsonl", data), purpose="batch")
    assert (file.bytes, file.filename, file.purpose) == (len(data), "my input.jsonl", "batch")
    assert file.expires_at is None
    assert service.client.files.content(file.id).read() == data
    assert service.client.files.retrieve(file.id).id == file.id
    deleted = service.client.files.delete(file.id)
    assert (deleted.id, deleted.deleted) == (file.id, True)
    for missing in (service.client.files.retrieve, service.client.files.content, service.client.files.delete):
        with pytest.raises(openai.NotFoundError):
            missing(file.id)


@pytest.mark.parametrize("seconds", [DAYS_14, DAYS_30])
def test_a_file_expires_when_its_time_has_come(service: OpenAIService, seconds: int) -> None:
    file_id = service.upload(requests_of(1), expires_after={"anchor": "created_at", "seconds": seconds})
    file = service.client.files.retrieve(file_id)
    assert file.expires_at == file.created_at + seconds
    service.local("POST", "openai/clock", json={"ahead_seconds": seconds - 60})
    assert service.client.files.retrieve(file_id).id == file_id
    service.local("POST", "openai/clock", json={"ahead_seconds": seconds + 1})
    with pytest.raises(openai.NotFoundError):
        service.client.files.retrieve(file_id)
    assert not (service.cloud.state / "openai" / "files" / file_id).exists()


@pytest.mark.parametrize("seconds", [DAYS_14 - 1, DAYS_30 + 1, 3600])
def test_an_expiry_out_of_bounds_is_refused(service: OpenAIService, seconds: int) -> None:
    with pytest.raises(openai.BadRequestError, match="1209600 to 2592000"):
        service.upload(b"{}\n", expires_after={"anchor": "created_at", "seconds": seconds})


def test_only_files_for_batches_are_taken(service: OpenAIService) -> None:
    with pytest.raises(openai.BadRequestError, match="purpose"):
        service.client.files.create(file=("x.jsonl", b"{}"), purpose="fine-tune")
    answer = httpx.post(f"{service.url}files", headers={"api-key": service.key}, files={"purpose": (None, "batch")})
    assert (answer.status_code, "'file'" in answer.text) == (400, True)


def test_a_file_posted_as_json_is_refused(service: OpenAIService) -> None:
    answer = httpx.post(f"{service.url}files", headers={"api-key": service.key}, json={"purpose": "batch", "file": "x"})
    assert answer.status_code == 400
    assert "multipart/form-data" in answer.json()["error"]["message"]


def test_two_hundred_megabytes_are_taken_and_no_byte_more(service: OpenAIService, tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    with path.open("wb") as file:
        file.truncate(LIMIT)
    uploaded = service.client.files.create(file=path, purpose="batch")
    assert uploaded.bytes == LIMIT
    service.client.files.delete(uploaded.id)
    with path.open("ab") as file:
        file.write(b"\n")
    with pytest.raises(openai.APIStatusError, match="200 MB") as found:
        service.client.files.create(file=path, purpose="batch")
    assert found.value.status_code == 413
    assert not list((service.cloud.state / "openai" / "staging").glob("upload-*"))


def test_files_are_listed_in_pages_in_either_order(service: OpenAIService) -> None:
    mine = [service.upload(b"{}\n") for _ in range(5)]
    newest = list(reversed(mine))
    assert [file.id for file in service.client.files.list(limit=5)][:5] == newest, "the SDK goes on by itself"
    page = service.client.files.list(limit=2, order="desc")
    assert ([file.id for file in page.data], page.has_more) == (newest[:2], True)
    page = service.client.files.list(limit=2, after=newest[1])
    assert [file.id for file in page.data] == newest[2:4]
    page = service.client.files.list(order="asc", after=mine[1], purpose="batch")
    assert ([file.id for file in page.data], page.has_more) == (mine[2:], False)
    ended = service.run(requests_of(1))
    outputs = [file.id for file in service.client.files.list(purpose="batch_output").data]
    assert ended.output_file_id in outputs
    assert not set(outputs) & set(mine)


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 10_001}, {"order": "random"}, {"limit": "many"}])
def test_a_bad_list_of_files_is_refused(service: OpenAIService, query: dict[str, str]) -> None:
    answer = httpx.get(f"{service.url}files", params=query, headers={"api-key": service.key})
    assert answer.status_code == 400


def test_the_resource_holds_500_input_files_without_an_expiry(service: OpenAIService) -> None:
    held = [file.id for file in service.client.files.list(purpose="batch", limit=10_000).data if not file.expires_at]
    added = []
    form = {"purpose": (None, "batch"), "file": ("x.jsonl", b"{}\n")}
    for _ in range(500 - len(held)):
        answer = service.http.post(f"{service.url}files", headers={"api-key": service.key}, files=form)
        added.append(answer.json()["id"])
    with pytest.raises(openai.BadRequestError, match="500 batch input files") as found:
        service.upload(b"{}\n")
    assert found.value.code == "file_limit_exceeded"
    kept = service.upload(b"{}\n", expires_after={"anchor": "created_at", "seconds": DAYS_14})
    for file_id in [*added, kept]:
        service.http.delete(f"{service.url}files/{file_id}", headers={"api-key": service.key})


@settings(max_examples=60, deadline=None)
@given(
    content=st.binary(max_size=300) | st.sampled_from([b"\r\n--X", b"--X--", b"\r\n--", b"\r\n\r\n--X--\r\n"]),
    field=st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20),
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=30),
)
def test_a_form_is_read_alike_in_pieces_of_any_size(content: bytes, field: str, sizes: list[int]) -> None:
    boundary = "a-boundary-that-is-in-no-content"
    sent = httpx.Request(
        "POST",
        "http://x",
        headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
        data={"purpose": field},
        files={"file": ("x.jsonl", content)},
    )
    form = sent.read()
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "file"
        reader = FormReader(sent.headers["content-type"], target, max_file_bytes=1000)
        start = 0
        while start < len(form):
            size = sizes[start % len(sizes)]
            reader.feed(form[start : start + size])
            start += size
        reader.close()
        assert target.read_bytes() == content
    assert (reader.fields, reader.filename, reader.size) == ({"purpose": field}, "x.jsonl", len(content))


HEAD = b'--B\r\nContent-Disposition: form-data; name="file"\r\n\r\n'


@pytest.mark.parametrize("form", [b"", b"--B\r\n", HEAD + b"half", b"nonsense\r\n--B--"])
def test_a_form_that_is_none_is_refused(tmp_path: Path, form: bytes) -> None:
    reader = FormReader("multipart/form-data; boundary=B", tmp_path / "file", max_file_bytes=10)

    def read() -> None:
        for byte in form:
            reader.feed(bytes([byte]))
        reader.close()

    with pytest.raises(ApiError):
        read()
