"""What a compiled program sends between devices, read from its HLO text.

    text = jax.jit(step).lower(state, batch).compile().as_text()
    for one in collectives(text):
        print(one)

Collectives, and not arithmetic, are what a step on more devices has more of, so their bytes tell
how it scales.
"""

import collections
import dataclasses
import math
import re
from collections.abc import Iterable

KINDS = (
    *("all-gather", "all-reduce", "all-to-all", "collective-permute"),
    *("reduce-scatter", "ragged-all-to-all", "collective-broadcast"),
)


@dataclasses.dataclass(frozen=True)
class Collective:
    """One collective operation of a program.

    Attributes:
      kind: one of `KINDS`.
      arrays: (type, shape) of each array that a device has afterwards.
      times: how often it runs in the program: loops count as often as XLA knows them to run.
      source: name of the operation in the traced program that it stands for.
    """

    kind: str
    arrays: tuple[tuple[str, tuple[int, ...]], ...]
    times: int
    source: str

    @property
    def bytes(self) -> int:
        """Of the results on a device, over all times."""
        bits = sum(_bits(kind) * math.prod(shape) for kind, shape in self.arrays)
        return self.times * bits // 8

    def __str__(self) -> str:
        arrays = ", ".join(f"{kind}{list(shape)}" for kind, shape in self.arrays)
        return f"{self.bytes:>12,} bytes  {self.times} x {self.kind}  {arrays}  {self.source}"


def collectives(text: str) -> list[Collective]:
    """All collectives of a compiled program, from `compiled.as_text()`, in the text's order."""
    found, calls, where = [], {}, ""
    for line in text.splitlines():
        if name := re.match(r"(?:ENTRY )?%?([\w.\-]+) \(.*\{$", line):
            where = name[1]
        for callee, trips in _callees(line):
            calls[callee] = (where, trips)
        operation = re.match(rf"\s+(?:ROOT )?%?\S+ = (.+?) ({'|'.join(KINDS)})(-start)?\(", line)
        if operation:
            source = re.search(r'op_name="([^"]*)"', line)
            arrays = _arrays(operation[1])
            if operation[3] and operation[2] == "all-gather":
                arrays = arrays[len(arrays) // 2 :]  # before them stand what goes in
            elif operation[3] and operation[2] == "collective-permute":
                arrays = arrays[1:2]
            found.append((where, operation[2], arrays, source[1] if source else ""))

    def times(computation: str) -> int:
        caller, trips = calls.get(computation, ("", 1))
        return trips * (times(caller) if caller else 1)

    return [Collective(kind, arrays, times(at), source) for at, kind, arrays, source in found]


def bytes_by_kind(found: Iterable[Collective]) -> dict[str, int]:
    """Bytes of each kind of collective."""
    total: dict[str, int] = collections.Counter()
    for one in found:
        total[one.kind] += one.bytes
    return dict(total)


def _callees(line: str) -> list[tuple[str, int]]:
    """Computations that an operation calls, and how often."""
    known = re.search(r'"known_trip_count":\{"n":"(\d+)"', line)
    trips = int(known[1]) if known else 1
    called = [(name, trips) for name in re.findall(r"body=%?([\w.\-]+)", line)]
    called += [(name, 1) for name in re.findall(r"(?:calls|to_apply)=%?([\w.\-]+)", line)]
    for several in re.findall(r"branch_computations=\{([^}]*)\}", line):
        called += [(name.strip().removeprefix("%"), 1) for name in several.split(",")]
    return called


def _arrays(text: str) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """f32[2,3]{1,0}, or a tuple of such -> their types and shapes."""
    return tuple(
        (kind, tuple(int(n) for n in shape.split(",") if n))
        for kind, shape in re.findall(r"([a-z]+\d*\w*)\[([\d,]*)\]", text)
    )


def _bits(kind: str) -> int:
    """Of one number: pred, s4, bf16, f8e4m3fn, c64, ..."""
    bits = re.search(r"\d+", kind)
    return int(bits[0]) if bits else 8
