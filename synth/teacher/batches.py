"""The Batch API of the built-in server: a file of requests in, a file of answers out a little later."""

import json
import time
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Reply = Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]
"""Status and JSON of one request's body."""


class BatchApi:
    """Files and batches, in memory for as long as the server lives; answers are there after `seconds`."""

    def __init__(self, reply: Reply, seconds: float = 0.0) -> None:
        self.reply, self.seconds = reply, seconds
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.routes = [
            Route("/v1/files", self.upload, methods=["POST"]),
            Route("/v1/files/{id}/content", self.content),
            Route("/v1/batches", self.create, methods=["POST"]),
            Route("/v1/batches", self.listing),
            Route("/v1/batches/{id}", self.retrieve),
        ]

    async def upload(self, request: Request) -> Response:
        boundary = request.headers["content-type"].partition("boundary=")[2].encode()
        parts = (await request.body()).split(b"--" + boundary)
        data = next(p.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for p in parts if b'filename="' in p)
        id = f"file-{len(self.files)}"
        self.files[id] = data
        facts = {"id": id, "object": "file", "bytes": len(data), "created_at": int(time.time()), "filename": id}
        return JSONResponse({**facts, "purpose": "batch", "status": "processed"})

    async def create(self, request: Request) -> Response:
        body = await request.json()
        id = f"batch_{len(self.batches)}"
        rows = self.rows(body["input_file_id"])
        self.batches[id] = {
            **{name: body.get(name) for name in ("endpoint", "input_file_id", "completion_window", "metadata")},
            "id": id,
            "object": "batch",
            "created_at": int(time.time()),
            "status": "in_progress",
            "request_counts": {"total": len(rows), "completed": 0, "failed": 0},
            "ready": time.monotonic() + self.seconds,
        }
        return JSONResponse(self.shown(id))

    async def retrieve(self, request: Request) -> Response:
        id = request.path_params["id"]
        if id not in self.batches:
            return JSONResponse({"error": {"message": "no such batch"}}, 404)
        return JSONResponse(self.shown(id))

    async def listing(self, request: Request) -> Response:
        data = [self.shown(id) for id in reversed(self.batches)]
        return JSONResponse({"object": "list", "data": data, "has_more": False})

    async def content(self, request: Request) -> Response:
        found = self.files.get(request.path_params["id"])
        return Response(found or b"", 200 if found is not None else 404, media_type="application/jsonl")

    def rows(self, file: str) -> list[dict[str, Any]]:
        """The requests of a file."""
        return [json.loads(line) for line in self.files[file].splitlines()]

    def shown(self, id: str) -> dict[str, Any]:
        """A batch as it is told; the first to look after its time finds it run."""
        batch = self.batches[id]
        if batch["status"] == "in_progress" and time.monotonic() >= batch["ready"]:
            self.run(batch, self.rows(batch["input_file_id"]))
        return {name: value for name, value in batch.items() if name != "ready"}

    def run(self, batch: dict[str, Any], rows: list[dict[str, Any]]) -> None:
        """Answer every request, into a file of answers and one of errors."""
        good: list[str] = []
        bad: list[str] = []
        for row in rows:
            status, reply = self.reply(row["body"])
            done = {"custom_id": row["custom_id"], "response": {"status_code": status, "body": reply}, "error": None}
            (good if status == 200 else bad).append(json.dumps(done))
        for name, lines in (("output_file_id", good), ("error_file_id", bad)):
            if lines:
                batch[name] = f"{batch['id']}-{name}"
                self.files[batch[name]] = "\n".join(lines).encode()
        total = batch["request_counts"]["total"]
        batch |= {"status": "completed", "request_counts": {"total": total, "completed": len(good), "failed": len(bad)}}
