"""A hub on this machine: what huggingface_hub needs to list and to download the files of a repository."""

import contextlib
import hashlib
import http.server
import json
import re
import threading

COMMIT = "f" * 40


class Asked(list):
    """The requests; `headers` are all of theirs. cut: a file of which only 1,000 bytes are sent the first time."""

    def __init__(self):
        super().__init__()
        self.headers, self.cut = [], ""


@contextlib.contextmanager
def serving(folder, monkeypatch):
    """Serve `folder` as every repository, at the one commit COMMIT. Gives what was asked for: (method, path, Range)."""
    asked = Asked()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self._answer(self._find(), with_body=False)

        def do_GET(self):
            self._answer(self._find(), with_body=True)

        def _find(self):
            asked.append((self.command, self.path, self.headers.get("Range")))
            asked.headers.append(self.headers)
            if not folder.exists():
                return None
            if self.path.startswith("/api/models/"):
                repo, revision = re.fullmatch(r"/api/models/([^/]+/[^/?]+)(?:/revision/([^?]+))?.*", self.path).groups()
                if revision not in (None, "main", COMMIT):
                    return None
                names = sorted(path.name for path in folder.iterdir())
                info = {"id": repo, "modelId": repo, "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}
                return json.dumps(info).encode()
            path = folder / self.path.rpartition("/")[2]
            return path.read_bytes() if path.exists() else None

        def _answer(self, body, with_body):
            body, status = (body or b""), 404 if body is None else 200
            etag = hashlib.sha256(body).hexdigest()
            first = re.fullmatch(r"bytes=(\d+)-\d*", self.headers.get("Range") or "")
            if first and status == 200 and with_body:
                body, status = body[int(first[1]) :], 206
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{etag}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if with_body and asked.cut and self.path.endswith(asked.cut):
                body, asked.cut = body[:1000], ""
            if with_body:
                self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}/")
    try:
        yield asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
