"""A server of pages of another origin than the front's, with the JavaScript client."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8"}


@contextmanager
def serving_pages(*folders: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Serve files of folders, which paths name below `/`, and pages that the test fills in. Yield origin and pages."""
    pages: dict[str, str] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            files = (folder / self.path.lstrip("/") for folder in folders)
            file = next((each for each in files if each.is_file() and ".." not in self.path), None)
            content = pages.get(self.path) or (file.read_text(encoding="utf-8") if file else None)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Type", TYPES.get(Path(self.path).suffix, TYPES[".html"]))
            self.end_headers()
            self.wfile.write((content or "").encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_address[1]}", pages
        server.shutdown()
