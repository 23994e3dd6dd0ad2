"""The page at ``/docs``, from a real document and from small ones."""

from __future__ import annotations

import html
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from hnlm_ray.config.serving import ServiceOptions
from hnlm_ray.serving.http.reference import reference_page
from hnlm_ray.serving.http.web import web_app
from hnlm_ray.serving.recommend.live import Live
from tests.serving.services import LocalClient

ATTACK = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def live(bundle_path: Path) -> Live:
    return Live.of({"a": str(bundle_path)})


@pytest.fixture(scope="module")
def client(live: Live) -> LocalClient:
    return LocalClient(web_app(live, ServiceOptions(max_k=77)))


def text_of(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page.split("</style>")[1])).split())


def section_of(page: str, name: str) -> str:
    found = page.split(f'<section id="{name}">')[1].split("</section>", maxsplit=1)[0]
    return text_of(f"</style>{found}")


def commands(page: str) -> list[str]:
    return [html.unescape(found) for found in re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL)]


def test_every_route_stands_there_with_its_fields_defaults_and_help(client: LocalClient) -> None:
    page = client.get("/docs").text
    text = text_of(page)
    document = client.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert f"{method.upper()} {path} {operation['description']}".replace("``", "") in text
            schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            section = section_of(page, f"{method.upper()}{path}")
            for name, field in schema.get("properties", {}).items():
                assert name in section
                assert " ".join(field.get("description", "").replace("``", " ").split())[:40] in section.replace(
                    "``", " "
                )
    recommend = section_of(page, "POST/v1/recommend")
    assert "k integer · default 10, at least 1, at most 77 Number of items." in recommend
    assert "user_id string · required, not empty, at most 256 characters" in recommend
    assert "include_items null or list of string" in recommend
    assert "exclude_seen boolean · default true" in recommend
    assert "415 The header Content-Type does not say that the body is JSON." in recommend
    assert "items list of ServedItem" in text


def test_links_lead_to_a_place_on_the_page_or_to_another_page_of_the_service(client: LocalClient) -> None:
    page = client.get("/docs").text
    targets = set(re.findall(r' id="([^"]+)"', page))
    links = re.findall(r'href="([^"]+)"', page)
    assert len(links) > 40
    for link in links:
        assert link.removeprefix("#") in targets if link.startswith("#") else client.get(link).status_code == 200


def test_the_page_has_no_script_and_fetches_nothing(client: LocalClient) -> None:
    answer = client.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    for loading in ("<script", "<link", "<img", "@import", "url(", "src=", "https://", "//cdn"):
        assert loading not in answer.text
    assert client.get("/redoc").status_code == 404  # the framework's, which loads from elsewhere


def test_the_commands_work_as_they_stand(client: LocalClient) -> None:
    found = commands(client.get("/docs").text)
    assert len(found) == 18
    for command in found:
        words = shlex.split(command)
        assert words[:2] == ["curl", "-s"]
        path = words[2].removeprefix("http://localhost")
        options = dict(zip(words[3::2], words[4::2], strict=True))
        if "-d" in options:
            headers = dict([options["-H"].split(": ")])
            answer = client.post(path, content=options["-d"], headers=headers)
        else:
            answer = client.get(path)
        # The ids are those of the demo, of which this bundle has none; a bundle without an encoder reads no text.
        assert answer.status_code in (200, 404, 409), (command, answer.text)
        assert answer.status_code != 404 or "no page" not in answer.json()["error"]


def test_the_commands_carry_a_token_where_one_is_needed(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HNLM_TEST_TOKEN", "secret")
    page = LocalClient(web_app(live, ServiceOptions(token_env="HNLM_TEST_TOKEN"))).get("/docs").text
    assert all('-H "authorization: Bearer $HNLM_TEST_TOKEN"' in command for command in commands(page))
    assert "secret" not in page


def document(**schema: Any) -> dict[str, Any]:
    body = {"requestBody": {"content": {"application/json": {"schema": {"properties": {"x": schema}}}}}}
    operation = {"description": ATTACK, "responses": {"200": {}}, **body}
    return {
        "info": {"title": ATTACK, "version": ATTACK},
        "paths": {"/x": {"post": operation}},
        "components": {"schemas": {}},
    }


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "integer", "minimum": 0, "maximum": 5, "default": 0}, "integer · default 0, at least 0, at most 5"),
        ({"enum": ["a", "b"]}, 'one of "a", "b"'),
        ({"const": "ok"}, 'one of "ok"'),
        ({"anyOf": [{"type": "string", "maxLength": 9}, {"type": "null"}]}, "null or string · at most 9 characters"),
        ({"type": "array", "items": {"type": "string"}, "maxItems": 3}, "list of string · at most 3 of them"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, "object of string"),
    ],
    ids=json.dumps,
)
def test_a_type_is_told_in_words(schema: dict[str, Any], words: str) -> None:
    assert f"x {words}" in text_of(reference_page(document(**schema), None)("http://h/"))


def test_what_the_document_and_the_address_say_is_text() -> None:
    page = reference_page(document(type="string", description=ATTACK), None)(f"http://{ATTACK}';rm -rf $HOME'/")
    assert "<script" not in page
    assert shlex.split(commands(page)[0])[2] == f"http://{ATTACK}';rm -rf $HOME'/x"
