"""Languages beside Python: how each is checked, built and run, where its tools are, and what happens without them.

A check compiles only. A test run is `inline`: program and test share one process, so its verdict is weak. It passes
where the whole test ran to its end (a line that waits on standard input comes out again) and the exit was a success.
"""

import functools
import json
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType

from evalkit.errors import ConfigError, ToolchainMissing
from evalkit.records import Method, Outcome, Record, Tier, Verdict
from evalkit.sandbox.job import Job
from evalkit.sandbox.workshop import Ran, Workshop


class Diagnostic(Record):
    """One complaint of a compiler. `code` is its own name for it (E0308, -Wunused-variable), if it has one."""

    error: bool
    code: str
    message: str
    line: int | None = None


class Checked(Record):
    """Whether a program compiles, with all errors and warnings; CPU seconds."""

    ok: bool
    diagnostics: tuple[Diagnostic, ...]
    cpu: float
    stopped: bool = False
    """The compiler ran out of time or memory; then `ok` is False and says nothing about the program."""

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        return tuple(each for each in self.diagnostics if each.error)


@dataclass(frozen=True)
class Tools:
    """Found on this machine: executables by name, and the folders that they need to read."""

    paths: dict[str, str]
    folders: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Language:
    """One table entry. Commands are made of the tools that were found; a program is `main` + `suffix`."""

    name: str
    suffix: str
    find: Callable[[], Tools]
    """Raises ToolchainMissing."""
    check: Callable[[Tools], list[str]]
    read: Callable[[Ran], list[Diagnostic]]
    build: Callable[[Tools], list[str] | None]
    """None where nothing is built."""
    run: Callable[[Tools], list[str]]
    stub: str
    """A body that compiles and does nothing, behind a function's head."""
    compose: Callable[[str, str], str]
    """Program and test as one source that hands out what it finds on standard input at its very end."""


SYSTEM = ("/usr/bin", "/usr/lib", "/usr/lib64", "/usr/libexec", "/usr/include", "/lib", "/lib64")


def _system(*more: str) -> tuple[str, ...]:
    folders = {os.path.realpath(path) for path in (*SYSTEM, *more) if os.path.isdir(path)}
    return tuple(
        sorted(path for path in folders if not any(path.startswith(other + "/") for other in folders - {path}))
    )


def _which(name: str, *alternatives: str) -> str:
    for candidate in (name, *alternatives):
        if found := shutil.which(candidate):
            return os.path.realpath(found)
    raise ToolchainMissing(f"{name} not found", where="PATH")


@functools.cache
def _find_rust() -> Tools:
    proxy = shutil.which("rustc")
    if proxy is None:
        raise ToolchainMissing("rustc not found", where="PATH", fix="install Rust, for example with rustup")
    asked = subprocess.run([proxy, "--print", "sysroot"], capture_output=True, text=True)
    if asked.returncode:
        raise ToolchainMissing(f"rustc does not answer: {asked.stderr.strip()[:200]}", where=proxy)
    root = asked.stdout.strip()
    return Tools(
        {"rustc": f"{root}/bin/rustc", "cc": _which("cc", "gcc")}, _system(root), {"LD_LIBRARY_PATH": f"{root}/lib"}
    )


def _find_c() -> Tools:
    return Tools({"cc": _which("gcc")}, _system())


def _find_cpp() -> Tools:
    return Tools({"cc": _which("g++")}, _system())


def _find_node() -> Tools:
    node = _which("node")
    return Tools({"node": node}, _system(os.path.dirname(node)), {"OPENSSL_CONF": "/dev/null"})


def _rust_diagnostics(ran: Ran) -> list[Diagnostic]:
    found = []
    for line in ran.stderr.splitlines():
        try:
            said = json.loads(line)
        except ValueError:
            continue
        if said.get("level") not in ("error", "warning") or re.match(
            r"aborting due|\d+ warnings? emitted", said["message"]
        ):
            continue
        where = next((span["line_start"] for span in said.get("spans", []) if span.get("is_primary")), None)
        code = (said.get("code") or {}).get("code", "")
        found.append(Diagnostic(error=said["level"] == "error", code=code, message=said["message"][:300], line=where))
    return found


def _gcc_diagnostics(ran: Ran) -> list[Diagnostic]:
    found = []
    for line in ran.stderr.splitlines():
        if match := re.match(r"[^:]+:(\d+):\d+: (fatal error|error|warning): (.*?)(?: \[(-W[^\]]+)\])?$", line):
            number, kind, message, code = match.groups()
            found.append(Diagnostic(error=kind != "warning", code=code or "", message=message[:300], line=int(number)))
    return found


def _node_diagnostics(ran: Ran) -> list[Diagnostic]:
    kind = re.search(r"^(\w*Error): (.*)$", ran.stderr, re.MULTILINE)
    if kind is None:
        return []
    line = re.search(r"^\S+:(\d+)$", ran.stderr, re.MULTILINE)
    return [Diagnostic(error=True, code=kind[1], message=kind[2][:300], line=int(line[1]) if line else None)]


_RUST_END = """
#[cfg(test)]
mod zz_potstill {
    #[test]
    fn told() {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).unwrap();
        println!("\\n{}", line.trim());
    }
}
"""
_C_END = """
#undef main
#include <stdio.h>
int main(void) {
    char line[128];
    if (potstill_main() == 0 && fgets(line, sizeof line, stdin)) printf("\\n%s\\n", line);
    return 0;
}
"""


def _compose_c(program: str, test: str) -> str:
    return f"#define main potstill_main\n{program}\n{test}\n{_C_END}"


def _compose_js(program: str, test: str) -> str:
    return f"{program}\n{test}\n;console.log('\\n' + require('fs').readFileSync(0, 'utf8'));\n"


def _gcc(tools: Tools, *arguments: str) -> list[str]:
    return [tools.paths["cc"], *arguments, "-w" if "-o" in arguments else "-Wall"]


def _rustc(tools: Tools, *arguments: str) -> list[str]:
    return [tools.paths["rustc"], "--edition", "2021", "-C", f"linker={tools.paths['cc']}", *arguments, "main.rs"]


LANGUAGES = {
    "rust": Language(
        "rust", ".rs", _find_rust,
        check=lambda t: _rustc(t, "--crate-type", "lib", "--emit=metadata", "--error-format=json", "-o", "main.rmeta"),
        read=_rust_diagnostics,
        build=lambda t: _rustc(t, "--test", "-C", "debuginfo=0", "-A", "warnings", "--error-format=json", "-o", "main"),
        run=lambda t: ["./main", "--test-threads=1", "--nocapture"],
        stub="    todo!()\n}\n",
        compose=lambda program, test: f"{program}\n{test}\n{_RUST_END}",
    ),
    "c": Language(
        "c", ".c", _find_c,
        check=lambda t: _gcc(t, "-std=c17", "-fsyntax-only", "main.c"),
        read=_gcc_diagnostics,
        build=lambda t: _gcc(t, "-std=c17", "main.c", "-o", "main", "-lm"),
        run=lambda t: ["./main"],
        stub="    __builtin_trap();\n}\n",
        compose=_compose_c,
    ),
    "cpp": Language(
        "cpp", ".cpp", _find_cpp,
        check=lambda t: _gcc(t, "-std=c++20", "-fsyntax-only", "main.cpp"),
        read=_gcc_diagnostics,
        build=lambda t: _gcc(t, "-std=c++20", "main.cpp", "-o", "main"),
        run=lambda t: ["./main"],
        stub="    __builtin_trap();\n}\n",
        compose=_compose_c,
    ),
    "javascript": Language(
        "javascript", ".js", _find_node,
        check=lambda t: [t.paths["node"], "--check", "main.js"],
        read=_node_diagnostics,
        build=lambda t: None,
        run=lambda t: [t.paths["node"], "--max-old-space-size=512", "main.js"],
        stub="}\n",
        compose=_compose_js,
    ),
}  # fmt: skip

COMPILE_CPU, COMPILE_WALL, RUN_CPU, RUN_WALL = 30.0, 90.0, 5.0, 20.0


class Compiler:
    """Checks and judges programs of one language, one at a time. A context manager.

    Raises ToolchainMissing where the language's tools are not here, ConfigError where there is no such language.
    """

    def __init__(self, language: str, tier: Tier | None = None) -> None:
        if language not in LANGUAGES:
            raise ConfigError(
                f"no language {language!r}", where="language", fix=f"one of python, {', '.join(LANGUAGES)}"
            )
        self.language = LANGUAGES[language]
        self.tools = self.language.find()
        self.workshop = Workshop(self.tools.folders, tier)
        self.source = f"main{self.language.suffix}"

    def __enter__(self) -> "Compiler":
        self.workshop.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.workshop.close()

    def check(self, program: str) -> Checked:
        """Compile only."""
        ran = self._compile(self.language.check(self.tools), program)
        found = tuple(self.language.read(ran))
        return Checked(ok=ran.code == 0, diagnostics=found, cpu=ran.cpu, stopped=_stopped(ran))

    def verdict(self, job: Job) -> Verdict:
        """What a job asks for: its test, or, where it has none, only that it compiles."""
        test = job.test_program if job.test_program is not None else "\n".join(job.tests)
        if test:
            return self.judge(job.program, test)
        ran = self._compile(self.language.check(self.tools), job.program)
        errors = [each for each in self.language.read(ran) if each.error]
        outcome = Outcome.PASSED if ran.code == 0 else Outcome.CPU_TIMEOUT if _stopped(ran) else Outcome.SYNTAX_ERROR
        found = self._verdict(outcome, ran, exception=errors[0].code if errors else None)
        return found.model_copy(update={"method": Method.COMPILE, "detail": errors[0].message if errors else ""})

    def judge(self, program: str, test: str) -> Verdict:
        """Build program and test together and run them. Never `passed` for an exit status alone."""
        source, proof = self.language.compose(program, test), secrets.token_hex(16)
        command = self.language.build(self.tools)
        built = self._compile(command, source) if command else None
        if built is not None and built.code != 0:
            errors = [each for each in self.language.read(built) if each.error]
            first = errors[0] if errors else None
            outcome = Outcome.CPU_TIMEOUT if _stopped(built) else Outcome.SYNTAX_ERROR
            detail = first.message if first else built.stderr[:300]
            return self._verdict(outcome, built, exception=first.code if first else None, detail=detail)
        files = {} if command else {self.source: source}
        ran = self.workshop.run(
            self.language.run(self.tools),
            files=files,
            env=self.tools.env,
            stdin=proof + "\n",
            cpu=RUN_CPU,
            wall=RUN_WALL,
            strict=True,
            wipe=not command,
        )
        if ran.code == 0 and proof in ran.stdout:
            return self._verdict(Outcome.PASSED, ran)
        if ran.code is None:
            return self._verdict(Outcome.WALL_TIMEOUT, ran)
        if ran.code in (-9, -24):
            return self._verdict(Outcome.CPU_TIMEOUT, ran)
        if ran.code == -25:
            return self._verdict(Outcome.OUTPUT_LIMIT, ran)
        said = (ran.stderr or ran.stdout).strip()[-300:]
        if ran.code == 0:
            return self._verdict(Outcome.EARLY_EXIT, ran, detail=said)
        return self._verdict(Outcome.SIGNAL if ran.code < 0 else Outcome.WRONG, ran, detail=said)

    def _compile(self, command: list[str], source: str) -> Ran:
        return self.workshop.run(
            command, files={self.source: source}, env=self.tools.env, cpu=COMPILE_CPU, wall=COMPILE_WALL, wipe=True
        )

    def _verdict(self, outcome: Outcome, ran: Ran, *, exception: str | None = None, detail: str = "") -> Verdict:
        return Verdict(
            outcome=outcome,
            method=Method.INLINE,
            tier=self.workshop.tier,
            exception=exception,
            detail=detail,
            cpu=ran.cpu,
            peak_memory=ran.peak,
        )


def _stopped(ran: Ran) -> bool:
    return ran.code is None or ran.code in (-9, -24, -25)
