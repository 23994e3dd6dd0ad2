"""The endpoint engine against a real vLLM server: the form that other servers speak too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from hnlm_ray.cluster.ingress import free_port
from hnlm_ray.config.language import EmbedConfig, HttpConfig, LLMConfig
from hnlm_ray.config.tree import Config
from hnlm_ray.demo import assets
from hnlm_ray.language.checks import check
from hnlm_ray.language.engines.http import HttpEngine
from hnlm_ray.language.engines.tokens import chat_tokens, load_tokenizer
from hnlm_ray.language.generate import Request, generate
from hnlm_ray.run.rows import Rows
from hnlm_ray.run.store import RunStore
from tests.language.conftest import INJECTED, demo_request

pytestmark = [pytest.mark.ray, pytest.mark.vllm]

ROWS = 12
KEY = "sk-local-0123456789"


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a vLLM server with the model that comes with the package."""
    model = assets.resolve("demo")
    if not Path(model).is_dir():
        pytest.skip("the package has no demo model")
    port = free_port()
    log = tmp_path_factory.mktemp("server") / "log"
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model]
    command += ["--served-model-name", "demo-model", "--host", "127.0.0.1", "--port", str(port), "--api-key", KEY]
    command += ["--max-model-len", "1024", "--enforce-eager", "--disable-log-stats"]
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1"}
    with log.open("w") as output:
        server = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 400
        while not _answers(f"http://127.0.0.1:{port}/health"):
            assert server.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def test_a_vllm_server_answers_in_the_form_of_the_task(
    ray_session: None, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_KEY", KEY)
    http = HttpConfig(url=endpoint, api_key_env="LOCAL_KEY", concurrency=8)
    llm = LLMConfig(engine="http", model="demo-model", http=http, max_model_len=1024, max_reject_rate=0.5)
    assert check(llm, EmbedConfig(engine="scripted")) == []
    whole = demo_request()
    kept = [row for row in range(ROWS + 1) if row != 7]  # a prompt that fits no engine is tested elsewhere
    request = Request(Rows.of(whole.rows.table().take(kept)), whole.renderer, 192)
    output = RunStore(str(tmp_path)).artifact("item_profiles", "endpoint")
    rows = generate(request, HttpEngine(llm), Config(llm=llm), output, lambda line: None).answers.table().to_pylist()
    assert [row["id"] for row in rows] == kept
    ok = [row for row in rows if row["status"] == "ok"]
    assert len(ok) >= 0.9 * len(rows)
    assert all(row["text"] for row in ok)
    assert "MARS" not in next(row["text"] for row in rows if row["id"] == INJECTED)
    tokenizer = load_tokenizer(assets.resolve("demo"))
    prompts = [prompt_of(None) for prompt_of in request.renderer.prompts(request.rows.table())]
    for row, prompt in zip(rows, prompts, strict=True):
        if row["attempts"] == 1:
            assert row["prompt_tokens"] == len(chat_tokens(tokenizer, prompt, {}))
            assert 0 < row["output_tokens"] <= 192
