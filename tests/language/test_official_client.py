"""Microsoft's own client works against the local service, and sees its limits and errors as the real one's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from azure.ai.textanalytics import TextAnalyticsClient
from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.identity import ManagedIdentityCredential

from tests.language.conftest import Service


@pytest.fixture
def client(service: Service) -> Iterator[TextAnalyticsClient]:
    # The key travels in the clear, on this machine only.
    with TextAnalyticsClient(service.cloud.url, AzureKeyCredential(read_key(service))) as made:
        yield made


def read_key(service: Service) -> str:
    return service.cloud.environment()["ADFML_LANGUAGE_KEY"]


def test_documents_are_analysed_sentence_by_sentence(client: TextAnalyticsClient) -> None:
    text = "I love it 👩‍👩‍👧‍👦. The box was terrible!"
    found, plain = client.analyze_sentiment([text, "It arrived on Monday."], show_stats=True)
    assert (found.sentiment, plain.sentiment) == ("mixed", "neutral")
    assert [(s.text, s.sentiment) for s in found.sentences] == [
        ("I love it 👩‍👩‍👧‍👦.", "positive"),
        ("The box was terrible!", "negative"),
    ]
    for sentence in found.sentences:
        # The client asks for Python's indices.
        assert text[sentence.offset : sentence.offset + sentence.length] == sentence.text
    for scores in (found.confidence_scores, *(s.confidence_scores for s in found.sentences)):
        assert scores.positive + scores.neutral + scores.negative == pytest.approx(1)
    assert found.statistics is not None
    assert (found.statistics.character_count, found.statistics.transaction_count) == (34, 1)


def test_documents_have_errors_of_their_own(client: TextAnalyticsClient) -> None:
    documents = [
        {"id": "1", "language": "en", "text": "  "},
        {"id": "2", "language": "xx", "text": "Hallo"},
        {"id": "3", "language": "en", "text": "x" * 5121},
        {"id": "4", "language": "en", "text": "👍🏽" * 5120},
    ]
    found = client.analyze_sentiment(documents)
    assert [document.is_error for document in found] == [True, True, True, False]
    assert [document.error.code for document in found[:3]] == [
        "InvalidDocument",
        "UnsupportedLanguageCode",
        "InvalidDocument",
    ]
    assert "Limit document size to: 5120 text elements" in found[2].error.message


@pytest.mark.parametrize(
    ("documents", "code"),
    [
        ([{"id": str(n), "text": "a"} for n in range(11)], "InvalidDocumentBatch"),
        ([{"id": "1", "text": "a"}, {"id": "1", "text": "b"}], "InvalidDocumentBatch"),
        ([{"id": str(n), "text": "x" * 120_000} for n in range(10)], "InvalidDocumentBatch"),
    ],
)
def test_requests_are_refused_as_a_whole(
    client: TextAnalyticsClient, documents: list[dict[str, str]], code: str, service: Service
) -> None:
    with pytest.raises(HttpResponseError) as caught:
        client.analyze_sentiment(documents)
    assert caught.value.error is not None
    # The client takes the inner error for the error.
    assert caught.value.error.code == code
    assert service.documents() == {}


def test_a_wrong_model_version_is_refused(client: TextAnalyticsClient) -> None:
    with pytest.raises(HttpResponseError, match="Invalid"):
        client.analyze_sentiment(["a"], model_version="1999-01-01")


def test_a_wrong_key_is_refused(service: Service) -> None:
    with (
        TextAnalyticsClient(service.cloud.url, AzureKeyCredential("wrong")) as client,
        pytest.raises(ClientAuthenticationError, match="invalid subscription key or wrong API endpoint"),
    ):
        client.analyze_sentiment(["a"])


def test_a_token_signs_in(service: Service) -> None:
    with ManagedIdentityCredential() as identity:
        # A token goes over TLS only, unless a request says otherwise.
        client = TextAnalyticsClient(service.cloud.url, identity)
        (found,) = client.analyze_sentiment(["I love it"], enforce_https=False)
    assert found.sentiment == "positive"
