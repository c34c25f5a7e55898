"""The contract that every tier must keep: hostile programs, each with its expected verdicts, and an unharmed host.

After each hostile program an honest one runs in the same jail and must pass; at the end a canary file, a listening port
and the list of processes must be as they were.
"""

from evalkit.sandbox.contract.attacks import Attack, read_attacks
from evalkit.sandbox.contract.check import Result, check_contract

__all__ = ["Attack", "Result", "check_contract", "read_attacks"]
