"""A Hub that holds a few small repositories, over real HTTP: as much of its API as fetching a snapshot asks for."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


@dataclass
class FakeHub:
    """Files by repository, such as `models/toys/tiny`, and what was asked for."""

    repositories: dict[str, dict[str, bytes]]
    endpoint: str = ""
    asked: list[str] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    """Files that are answered with an error."""
    altered: set[str] = field(default_factory=set)
    """Files that arrive with other bytes than the listing says."""

    def commit(self, repository: str) -> str:
        return hashlib.sha1(repr(sorted(self.repositories[repository].items())).encode()).hexdigest()  # noqa: S324


@contextmanager
def serving(hub: FakeHub) -> Iterator[FakeHub]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path).strip("/")
            hub.asked.append(f"{self.command} {path}")
            if path.startswith("api/"):
                self._describe(path.removeprefix("api/"))
            else:
                self._resolve(path)

        def _describe(self, path: str) -> None:
            repository = "/".join(path.split("/")[:3])
            if repository not in hub.repositories:
                self._answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
                return
            files = hub.repositories[repository]
            lfs = {
                name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 1}
                for name, data in files.items()
            }
            if "/tree/" in path:
                listing: object = [
                    {
                        "type": "file",
                        "path": name,
                        "size": len(data),
                        "oid": "0" * 40,
                        "lfs": {**lfs[name], "oid": lfs[name]["sha256"]},
                    }
                    for name, data in files.items()
                ]
            else:
                siblings = [{"rfilename": name, "size": len(data), "lfs": lfs[name]} for name, data in files.items()]
                listing = {"id": repository.partition("/")[2], "sha": hub.commit(repository), "siblings": siblings}
            self._answer(200, json.dumps(listing).encode(), {"Content-Type": "application/json"})

        def _resolve(self, path: str) -> None:
            place, _, rest = path.partition("/resolve/")
            commit, _, name = rest.partition("/")
            repository = place if place.startswith(("datasets/", "spaces/")) else f"models/{place}"
            data = hub.repositories.get(repository, {}).get(name)
            if data is None or name in hub.broken:
                self._answer(404 if data is None else 403, b"")
                return
            headers = {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha256(data).hexdigest()}"'}
            self._answer(200, data[::-1] if name in hub.altered else data, headers)

        def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
