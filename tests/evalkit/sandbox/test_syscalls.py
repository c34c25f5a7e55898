"""The system call tables and the filters made of them, for both machines: the other one as far as a table can be."""

import re
from pathlib import Path

import pytest

from evalkit.sandbox.inside import seccomp
from evalkit.sandbox.inside import syscalls as table

MACHINES = ("x86_64", "aarch64")
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
EPERM, ENOSYS = 0x00050001, 0x00050026


@pytest.mark.parametrize("machine", MACHINES)
def test_numbers_are_the_kernels_own(machine: str) -> None:
    if not HEADERS[machine].exists():
        pytest.skip("the kernel's headers are not installed")
    found = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", HEADERS[machine].read_text())
    known = {name: int(number) for name, number in reversed(found)}
    known.setdefault("newfstatat", known.get("fstatat", -1))
    assert {name: known.get(name) for name in table.NUMBERS[machine]} == table.NUMBERS[machine]
    for name in {*table.ALLOWED, *table.REFUSED}:
        assert (name in table.NUMBERS[machine]) == (name in known), name


def run(program: list[seccomp.Instruction], arch: int, number: int, arguments: tuple[int, ...] = ()) -> int:
    """What a filter answers to a call: classic BPF, as far as ours uses it."""
    words = {0: number, 4: arch}
    for i, argument in enumerate((*arguments, *(0,) * (6 - len(arguments)))):
        words[16 + 8 * i], words[20 + 8 * i] = argument & 0xFFFFFFFF, argument >> 32
    at = loaded = 0
    while True:
        code, yes, no, value = program[at]
        at += 1
        if code == seccomp.RETURN:
            return value
        if code == seccomp.LOAD:
            loaded = words[value]
        elif code == seccomp.JUMP:
            at += value
        else:
            holds = {
                seccomp.EQUAL: loaded == value,
                seccomp.AT_LEAST: loaded >= value,
                seccomp.ANY_BIT: bool(loaded & value),
            }[code]
            at += yes if holds else no


@pytest.mark.parametrize("machine", MACHINES)
def test_every_number_gets_its_answer(machine: str) -> None:
    zygote, child = seccomp.zygote_filter(machine=machine), seccomp.child_filter(machine)
    numbers, arch = table.NUMBERS[machine], table.AUDIT_ARCH[machine]
    names = {number: name for name, number in numbers.items()}
    for program in (zygote, child, seccomp.workshop_filter(machine)):
        assert max(yes for _, yes, _, _ in program) < 256  # a jump's length is a byte
        assert len(program) < 4096
        others = {0x40000003, *table.AUDIT_ARCH.values()} - {arch}
        assert {run(program, other, 1) for other in others} == {seccomp.KILL_PROCESS}
    for number in range(600):
        name = names.get(number, "")
        answer = run(zygote, arch, number, (0x7ABC0001,) * 3)
        if name in seccomp._CHECKED and name not in seccomp.ZYGOTE_NEEDS:
            assert answer == EPERM
        elif name in table.ALLOWED or name in seccomp.ZYGOTE_NEEDS:
            assert answer == seccomp.ALLOW, name
        else:
            assert answer == (EPERM if name in table.REFUSED else ENOSYS), name
        answer = run(child, arch, number, (0x7ABC0001,) * 3)
        assert answer == (EPERM if name in seccomp.ON_THE_HOST else seccomp.ALLOW), name


@pytest.mark.parametrize("machine", MACHINES)
def test_checked_arguments(machine: str) -> None:
    zygote, child = seccomp.zygote_filter(machine=machine), seccomp.child_filter(machine)
    on_the_host = seccomp.zygote_filter(own_files=False, machine=machine)
    arch = table.AUDIT_ARCH[machine]
    cases = [
        (zygote, "ioctl", (3, 0x5413), True),
        (zygote, "ioctl", (3, 0x5412), False),  # TIOCSTI
        (zygote, "fcntl", (3, 8), False),  # F_SETOWN
        (zygote, "fcntl", (3, 1), True),
        (zygote, "prlimit64", (0, 7, 0), True),
        (zygote, "prlimit64", (0, 7, 5), False),
        (zygote, "prlimit64", (0, 7, 1 << 32), False),
        (on_the_host, "prlimit64", (0, 6, 5), True),
        (child, "prlimit64", (0, 6, 0), True),
        (child, "prlimit64", (0, 6, 5), False),
        (zygote, "socketpair", (1,), True),
        (zygote, "socketpair", (2,), False),
        (child, "clone", (0x10000,), True),
        (child, "clone", (17,), False),
        (child, "clone", (0x10000000,), False),  # a user namespace
        (child, "prctl", (15,), True),
        (child, "prctl", (22,), False),
        (child, "kill", (seccomp.OWN_PID,), True),
        (child, "kill", (1,), False),
        (child, "kill", (0xFFFFFFFF,), False),
    ]
    for program, name, arguments, allowed in cases:
        answer = run(program, arch, table.NUMBERS[machine][name], arguments)
        assert answer == (seccomp.ALLOW if allowed else EPERM), (name, arguments)


def test_x32_is_killed() -> None:
    program = seccomp.zygote_filter(machine="x86_64")
    assert run(program, table.AUDIT_ARCH["x86_64"], table.X32_BIT | 1) == seccomp.KILL_PROCESS


@pytest.mark.parametrize("machine", MACHINES)
def test_nothing_is_both_allowed_and_refused(machine: str) -> None:
    assert not set(table.ALLOWED) & set(table.REFUSED)
    assert len(set(table.NUMBERS[machine].values())) == len(table.NUMBERS[machine])
    assert table.number("clone3", machine) not in (table.NUMBERS[machine].get(name) for name in table.ALLOWED)
