"""The teacher client against a bare loop over the openai package and against curator, on a loopback server.

    python bench/teacher.py [--quick] [--rounds 3] [--requests 4000] [--curator PYTHON] [--no-memory]

1. speed    requests per second at 50 ms latency and 64 at a time, journal and accounting on, against a bare loop over
            the openai client with the same transport: at least 0.85 times as many; against bespokelabs-curator, run by
            an interpreter that has it (--curator): at least as many. Paired in turns; the server has its own process.
2. faults   30% of all replies are faults: everything is answered within 1.5 times what the successful requests (a run
            without faults in the same round) and the waits that 429s enforced must cost.
3. memory   100,000 requests: resident memory after a fifth of them and at the end differ by less than 10%.

Prints each ratio beside its target; exits 1 where one is missed.
"""

import argparse
import asyncio
import importlib
import json
import os
import platform
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

AT_A_TIME = 64
QUESTION = "Write one Python programming task about lists. " * 20
BARE, CURATOR, FAULTS, MEMORY = 0.85, 1.0, 1.5, 1.10


@contextmanager
def server(*options: str) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(Path(__file__).parent / "workers" / "teacher_server.py"), str(port), *options]
    process = subprocess.Popen(command)
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def ours(url: str, number: int) -> dict[str, Any]:
    from evalkit.endpoint import Answer, Endpoint, Journal, Request, ask_each

    endpoint = Endpoint(
        base_url=f"{url}/v1",
        model="echo",
        max_concurrency=AT_A_TIME,
        params={"temperature": 0.8, "max_tokens": 500},
        input_usd_per_million=1.0,
        output_usd_per_million=2.0,
    )
    requests = (Request(id=str(i), messages=({"role": "user", "content": f"{QUESTION}{i}"},)) for i in range(number))
    seen = {"answered": 0, "early": 0}

    def keep(request: Any, result: Any) -> None:
        seen["answered"] += isinstance(result, Answer)
        if seen["answered"] == number // 5:
            seen["early"] = resident()

    with tempfile.TemporaryDirectory() as folder, Journal(Path(folder, "journal.sqlite")) as journal:
        status = ask_each(endpoint, journal, requests, keep, max_usd=1e6)
        paid = journal.spending().paid
    return {**seen, "late": resident(), "usd": paid, "stats": dict(status.stats)}


def bare(url: str, number: int) -> dict[str, Any]:
    import httpx2
    import openai

    source = iter(range(number))
    counts = {"answered": 0}

    async def work(client: openai.AsyncOpenAI) -> None:
        for i in source:
            messages: Any = [{"role": "user", "content": f"{QUESTION}{i}"}]
            reply = await client.chat.completions.create(
                model="echo", messages=messages, temperature=0.8, max_tokens=500
            )
            counts["answered"] += bool(reply.choices[0].message.content)

    async def main() -> None:
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=AT_A_TIME)
        http = openai.DefaultAioHttpClient(timeout=60, limits=limits)
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, http_client=http) as client:
            await asyncio.gather(*(work(client) for _ in range(AT_A_TIME)))

    asyncio.run(main())
    return dict(counts)


def curator(url: str, number: int) -> dict[str, Any]:
    """Runs under an interpreter that has bespokelabs-curator; none of ours is imported.

    Its tokenizer comes from the network; a count of characters stands in for it, which costs it less.
    """
    import tiktoken  # type: ignore[import-not-found]  # curator brings it

    class Characters:
        def encode(self, text: str, **_: Any) -> range:
            return range(len(text) // 4)

    tiktoken.get_encoding = tiktoken.encoding_for_model = lambda *_, **__: Characters()
    from bespokelabs import curator as library  # type: ignore[import-not-found]  # an optional peer

    class Asker(library.LLM):  # type: ignore[misc]  # untyped
        def prompt(self, row: Any) -> str:
            return f"{QUESTION}{row['i']}"

        def parse(self, row: Any, response: Any) -> dict[str, Any]:
            return {"i": row["i"], "text": str(response)}

    asker = Asker(
        model_name="gpt-4o-mini",
        backend="openai",
        generation_params={"temperature": 0.8, "max_tokens": 500},
        backend_params={
            "base_url": f"{url}/v1",
            "api_key": "none",
            "max_requests_per_minute": 10_000_000,
            "max_tokens_per_minute": 10_000_000_000,
            "max_concurrent_requests": AT_A_TIME,
        },
    )
    found = asker([{"i": i} for i in range(number)])
    return {"answered": len(getattr(found, "dataset", found))}


CONTENDERS = {"ours": ours, "bare": bare, "curator": curator}


IMPORTS = {
    "ours": ("evalkit.endpoint", "openai", "aiohttp"),
    "bare": ("openai", "aiohttp"),
    "curator": ("bespokelabs.curator",),
}
"""What is imported before the clock starts."""


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def child(name: str, url: str, number: int) -> None:
    for module in IMPORTS[name]:
        importlib.import_module(module)
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    found = CONTENDERS[name](url, number)
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print("\n" + json.dumps({**found, "wall": time.perf_counter() - start, "cpu": cpu}))


def measure(name: str, url: str, number: int, python: str = sys.executable) -> dict[str, Any]:
    command = [python, __file__, "--child", name, "--url", url, "--requests", str(number)]
    with tempfile.TemporaryDirectory() as cache:
        quiet = {"CURATOR_CACHE_DIR": cache, "TELEMETRY_ENABLED": "false", "CURATOR_DISABLE_RICH_DISPLAY": "1"}
        environment = {**os.environ, **quiet, "OPENAI_API_KEY": "none", "HF_HUB_OFFLINE": "1"}
        run = subprocess.run(command, capture_output=True, text=True, env=environment)
    if run.returncode:
        raise SystemExit(f"{name} failed: {run.stderr.strip()[-800:]}")
    result: dict[str, Any] = json.loads(run.stdout.strip().rpartition("\n")[2])
    if result["answered"] != number:
        raise SystemExit(f"{name} answered {result['answered']} of {number}")
    return result


def say(what: str, ratios: list[float], target: float, *, most: bool = False) -> bool:
    """Print a ratio beside its target; whether it is met."""
    ratio = statistics.median(ratios)
    met = ratio <= target if most else ratio >= target
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    bound, said = "at most" if most else "at least", "met" if met else "MISSED"
    print(f"{what}: {ratio:.2f} ({spread}), target {bound} {target:.2f} {said}")
    return met


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="one round of 1,500 requests, no memory run, bars 20%% wider"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--curator", help="an interpreter that has bespokelabs-curator")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(asked.child, asked.url, asked.requests)
        return 0
    rounds, number, width = (1, 1500, 0.8) if asked.quick else (asked.rounds, asked.requests, 1.0)
    pythons = {"bare": sys.executable, "ours": sys.executable} | ({"curator": asked.curator} if asked.curator else {})
    if not asked.curator:
        print("skipped: curator (name an interpreter that has bespokelabs-curator by --curator)")
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in pythons}
    floors, faulty = [], []
    for _ in range(rounds):
        for name, python in pythons.items():
            with server() as url:
                results[name].append(measure(name, url, number, python))
        with server("--faults", "0.3") as url:
            found = measure("ours", url, number)
            with urllib.request.urlopen(f"{url}/stats") as reply:
                waits = json.load(reply)["enforced_waits"]
            faulty.append(found["wall"])
            floors.append(results["ours"][-1]["wall"] + waits)
    for name, found_all in results.items():
        rates = [number / found["wall"] for found in found_all]
        cpu = statistics.median(1000 * found["cpu"] / number for found in found_all)
        spread = f"{min(rates):.0f} to {max(rates):.0f}"
        print(f"{name:8} {statistics.median(rates):6.0f} requests/s ({spread}), {cpu:.2f} CPU ms each")
    met = [say("ours against a bare loop", rate_ratios(results, "bare"), BARE * width)]
    if asked.curator:
        met.append(say("ours against curator", rate_ratios(results, "curator"), CURATOR * width))
    met.append(
        say(
            "with 30% faults against the floor",
            [a / b for a, b in zip(faulty, floors, strict=True)],
            FAULTS / width,
            most=True,
        )
    )
    if not asked.quick and not asked.no_memory:
        with server("--latency", "0") as url:
            found = measure("ours", url, 100_000)
        early, late = found["early"] / 2**20, found["late"] / 2**20
        print(f"100,000 requests: {early:.0f} MiB after a fifth, {late:.0f} MiB at the end")
        met.append(say("memory at the end against a fifth", [found["late"] / found["early"]], MEMORY, most=True))
        results["memory"] = [found]
    if asked.json:
        facts = {"machine": platform.platform(), "python": sys.version, "cores": os.cpu_count(), "results": results}
        asked.json.write_text(json.dumps(facts, indent=2))
    return int(not all(met))


def rate_ratios(results: dict[str, list[dict[str, Any]]], peer: str) -> list[float]:
    return [b["wall"] / a["wall"] for a, b in zip(results["ours"], results[peer], strict=True)]


if __name__ == "__main__":
    sys.exit(main())
