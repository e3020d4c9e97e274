"""Optuna's dashboard on our copies: what it serves, to whom, and how it follows a search."""

from __future__ import annotations

import gzip
import json
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from report import demo
from report.browser import chromium, opened
from vitnas.errors import InputError
from vitnas.report import serve
from vitnas.report.serve import dashboard
from vitnas.search.racing import one_by_one
from vitnas.search.study import search

pytest.importorskip("optuna_dashboard")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo.make_run(tmp_path_factory.mktemp("runs") / "digits", trials=12)


def ask(address: str, path: str, **options: Any) -> Any:
    request = urllib.request.Request(address.removesuffix("/dashboard/") + path, **options)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def go_on(run: Path, trials: int) -> None:
    search(
        demo.SPACE,
        one_by_one(lambda arch: {"score": demo.score(arch)}),
        strategy="random",
        limits=[demo.LIMIT],
        costs=demo.COSTS,
        trials=trials,
        folder=run / "searches" / "random",
        evaluated_on="search split of digits, 215 images, weights 0123456789abcdef",
    )


def until(reached: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_it_serves_a_copy_to_this_machine_alone(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "POLL", 0.05)
    with dashboard([made], port=0) as address:
        assert address.startswith("http://127.0.0.1:")
        studies = ask(address, "/api/studies")["study_summaries"]
        assert [study["study_name"] for study in studies] == [
            "digits / evolution",
            "digits / random",
        ]
        detail = ask(address, "/api/studies/1")
        assert len(detail["trials"]) == 12
        figures = {
            one["id"]: json.loads(one["graph_object"]) for one in detail["plotly_graph_objects"]
        }
        assert len(figures["score-against-params"]["data"][0]["x"]) > 0
        go_on(made, 15)
        until(lambda: len(ask(address, "/api/studies/1")["trials"]) == 15)

        with pytest.raises(HTTPError, match="403"):
            ask(address, "/api/studies/1", method="DELETE")
        with pytest.raises(HTTPError, match="403"):
            ask(address, "/api/studies", headers={"Host": "evil.example:8080"})
        assert ask(address, "/api/studies", headers={"Host": "localhost:8080"})
        port = int(address.split(":")[2].split("/")[0])
        with pytest.raises(InputError, match=f"can't serve at 127.0.0.1:{port}: Address already"):
            dashboard([made], port=port).__enter__()


def test_data_is_sent_whole_and_packed(made: Path) -> None:
    with dashboard([made], port=0) as address:
        plain = ask(address, "/api/studies/0")
        url = address.replace("/dashboard/", "/api/studies/0")
        request = urllib.request.Request(url, headers={"Accept-Encoding": "gzip"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            body = answer.read()
            assert answer.headers["Content-Encoding"] == "gzip"
            assert int(answer.headers["Content-Length"]) == len(body)
    assert json.loads(gzip.decompress(body)) == plain
    assert len(body) < len(json.dumps(plain)) / 4


def test_no_figure_is_read_while_it_is_written() -> None:
    lock, seen = threading.Lock(), []

    def app(environ: Any, start: Any) -> list[bytes]:
        seen.append(lock.locked())
        start("200 OK", [])
        return [b"x"]

    served = serve._packed(app, lock)
    for path in ("/api/studies/1", "/dashboard/"):
        assert list(served({"PATH_INFO": path}, lambda *_: print)) == [b"x"]
    assert seen == [True, False]


def test_what_cannot_be_viewed_is_refused(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="no search to view in"):
        dashboard([tmp_path], port=0).__enter__()
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    with pytest.raises(InputError, match=r"install it with `pip install vitnas\[view\]`"):
        dashboard([made], port=0).__enter__()


@pytest.mark.slow
def test_the_dashboard_in_a_browser_follows_a_search(made: Path) -> None:
    with (
        chromium() as browser,
        dashboard([made], port=0) as address,
        opened(browser, f"{address}studies/1") as page,
    ):
        page.get_by_text("digits / random").first.wait_for(timeout=30_000)
        page.wait_for_selector(".js-plotly-plot .main-svg", timeout=30_000)
        code = """() => [...document.querySelectorAll('.js-plotly-plot')]
          .flatMap(box => box.data || []).filter(t => t.meta && t.meta.role === 'cloud')
          .map(t => t.x.length)"""
        until(lambda: bool(page.evaluate(code)))
        before = page.evaluate(code)[0]
        go_on(made, 30)
        until(lambda: page.evaluate(code)[0] > before, 40)
