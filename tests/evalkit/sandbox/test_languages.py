"""Other languages: checks with diagnostics, tests that ran to their end, and programs that try to get out."""

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from evalkit.errors import ToolchainMissing
from evalkit.records import Outcome, Tier
from evalkit.sandbox import languages
from evalkit.sandbox.languages import LANGUAGES, Compiler

ADD = {
    "rust": ("pub fn add(a: i32, b: i32) -> i32 { a + b }", "#[cfg(test)] mod tests { use super::*; #[test] fn t() { assert_eq!(add(1, 2), 3); } }"),
    "c": ("int add(int a, int b) { return a + b; }", "#include <assert.h>\nint main(void) { assert(add(1, 2) == 3); return 0; }"),
    "cpp": ("int add(int a, int b) { return a + b; }", "#include <cassert>\nint main() { assert(add(1, 2) == 3); return 0; }"),
    "javascript": ("function add(a, b) { return a + b }", "require('assert').strictEqual(add(1, 2), 3)"),
}  # fmt: skip
LEAVES = {
    "rust": "pub fn add(_: i32, _: i32) -> i32 { std::process::exit(0) }",
    "c": "#include <stdlib.h>\nint add(int a, int b) { exit(0); }",
    "cpp": "#include <cstdlib>\nint add(int a, int b) { std::exit(0); }",
    "javascript": "function add(a, b) { process.exit(0) }",
}
LOOPS = {
    "rust": "pub fn add(_: i32, _: i32) -> i32 { loop { std::hint::black_box(1); } }",
    "c": "int add(int a, int b) { for (volatile int i = 0;;) i++; }",
    "cpp": "int add(int a, int b) { for (volatile int i = 0;;) i = i + 1; }",
    "javascript": "function add(a, b) { for (;;); }",
}
BROKEN = {
    "rust": ('pub fn add(a: i32, b: i32) -> i32 { "x" }', "E0308"),
    "c": ("int add(int a, int b) { return q; }", ""),
    "cpp": ("int add(int a, int b) { return q; }", ""),
    "javascript": ("function add(a, b) { return a +", "SyntaxError"),
}


@pytest.fixture(params=[(name, tier) for name in LANGUAGES for tier in (Tier.NAMESPACES, Tier.LANDLOCK)], ids=str)
def compiler(request: pytest.FixtureRequest) -> Iterator[Compiler]:
    name, tier = request.param
    try:
        made = Compiler(name, tier)
    except ToolchainMissing as error:
        if os.environ.get("CI") == "true" and name in ("c", "cpp"):
            raise
        pytest.skip(f"skipped: {error.what}")
    with made:
        yield made


def test_checks_and_verdicts(compiler: Compiler) -> None:
    name = compiler.language.name
    program, test = ADD[name]
    assert compiler.check(program).ok
    broken, code = BROKEN[name]
    checked = compiler.check(broken)
    assert not checked.ok
    assert [each.code for each in checked.errors] == [code]
    assert checked.errors[0].line == 1
    assert compiler.judge(program, test).passed
    assert compiler.judge(program.replace("a + b", "a - b"), test).outcome in (Outcome.WRONG, Outcome.SIGNAL)
    assert compiler.judge(broken, test).passed is False
    assert compiler.judge(LEAVES[name], test).outcome is Outcome.EARLY_EXIT
    assert compiler.judge(program, test).passed, "an honest program after the others"


@pytest.mark.slow
def test_a_loop_is_stopped(compiler: Compiler) -> None:
    assert compiler.judge(LOOPS[compiler.language.name], ADD[compiler.language.name][1]).outcome is Outcome.CPU_TIMEOUT


REACH = r"""
#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
int add(int a, int b) {
    int held = 0;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr = {htonl(0x7f000001)}};
    int s = socket(AF_INET, SOCK_STREAM, 0);
    if (s >= 0 && !connect(s, (void *)&to, sizeof to)) held |= 1;
    if (open("SECRET", O_RDONLY) >= 0) held |= 2;
    if (fork() >= 0) held |= 4;
    if (!kill(getppid(), 0)) held |= 8;
    if (!kill(-1, SIGKILL)) held |= 16;
    if (!ptrace(PTRACE_ATTACH, getppid(), 0, 0)) held |= 32;
    if (open("/usr/lib/potstill-was-here", O_CREAT | O_WRONLY, 0600) >= 0) held |= 64;
    if (held) fprintf(stderr, "reached %d\n", held);
    return held ? held + 100 : 3;
}
"""


@pytest.mark.parametrize("tier", [Tier.NAMESPACES, Tier.LANDLOCK])
def test_a_native_program_reaches_nothing(tier: Tier, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s")
    with socket.socket() as listener, Compiler("c", tier) as compiler:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        program = REACH.replace("PORT", str(listener.getsockname()[1])).replace("SECRET", str(secret))
        verdict = compiler.judge(program, ADD["c"][1])
        assert verdict.passed, verdict


@pytest.mark.parametrize("tier", [Tier.NAMESPACES, Tier.LANDLOCK])
def test_a_compiler_reads_no_file_of_the_host_and_ends(tier: Tier, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text('#error "it was read"\n')
    bomb = "#define A(x) x x x x x x x x x x\n#define B(x) A(A(A(A(x))))\nint a[] = {B(B(1,))};\n"
    with Compiler("c", tier) as compiler:
        for path in (secret, Path("/etc/passwd")):
            checked = compiler.check(f'#include "{path}"\nint x;')
            assert not checked.ok
            assert checked.errors[0].message.endswith(("No such file or directory", "Permission denied"))
        assert not compiler.check(bomb.replace("B(B(1,))", "B(B(B(1,)))")).ok
        assert compiler.check(ADD["c"][0]).ok


def test_a_missing_toolchain_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    languages._find_rust.cache_clear()
    for name, tool in (("rust", "rustc"), ("javascript", "node"), ("c", "gcc"), ("cpp", "g\\+\\+")):
        with pytest.raises(ToolchainMissing, match=f"{tool} not found"):
            Compiler(name)
    languages._find_rust.cache_clear()


def test_nothing_is_left_after_a_killed_driver() -> None:
    before = threading.active_count()
    with Compiler("c") as compiler:
        compiler.workshop.process.kill()
        compiler.workshop.process.wait()
        with pytest.raises(Exception, match="workshop"):
            compiler.check("int x;")
    assert threading.active_count() == before
