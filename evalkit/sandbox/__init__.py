"""Runs untrusted programs and judges them from outside.

The tests and what they expect never enter the candidate's process, its jail or an ancestor of it. `calls`: recorded
arguments go in, answers come out as plain data, and the comparison happens here. `split`: the test runs in a jail of
its own against proxies. Passing means that every assertion ran and held; an exit status never means a pass.

Covered: reading or writing the host's files, the network, other processes, signals, new processes, raised limits,
memory and CPU exhaustion, floods of output, answers that lie about being equal, walks up the stack, patched built-ins,
exits at any moment, and whatever a program leaves behind.

Not covered: bugs in the kernel, in CPython's parser and in the processor; what two programs could tell each other by
timing, by how process numbers go on, or, while both run, by locks on files of the host that both may read; a test
program that is itself hostile (it can pass its own candidate, not reach the host); answers made to be slow to compare
(they are kept below 64 KiB beyond what is expected). In the landlock tier also: names, sizes and times of the host's
files (`stat` is not stopped), and up to 1 GiB of disk held by open files that have no name.

Under `split` also: two objects of the program are compared by the program's own `__eq__`, as in plain Python; what a
call returns is a copy, so a test of identity (`f(x) is not x`), or of a list that an object keeps from its caller, sees
another object than plain Python would; an answer of a kind of tuple (a namedtuple) has its items and not its names;
`in` asks an object's items and never its own `__contains__`; `pathlib` and `os` see the program's files as far as
`open`, `exists`, `isfile`, `isdir`, `remove` and reading go.

Limits of a jail, not of a program: 1 GiB of address space, 16 MiB printed or written to one file, 32 MiB of scratch,
64 descriptors and threads (in the landlock tier 512 threads, together with the programs beside it, and as many as
memory allows where root runs it). Of a program: CPU seconds and wall seconds.

`calls` is taken where every test is `assert f(data) == data` or its like (`is`, `not`, `abs(f(x) - v) < e`,
`math.isclose`), `split` for all others. `inline`, in the candidate's own process, is taken only where a problem's
reference solution fails under `split` and passes so; the program could forge such a verdict, so it is marked weak and
counts in no score and proves no data.
"""

from evalkit.sandbox.job import Job, Limits
from evalkit.sandbox.sandbox import Sandbox

__all__ = ["Job", "Limits", "Sandbox"]
