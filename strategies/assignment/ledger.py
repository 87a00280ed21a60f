"""A plan under change: what one op's other scheme would gain and cost, without evaluating the whole plan again."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...analyzer.conversion.costs import Border, crosses
from ...analyzer.network.wiring import INPUT, OUTPUT
from ...analyzer.schema import Scheme
from .choices import following, settle
from .memory import Memory
from .problem import Problem

_SUMMED = ("noise", "file_bytes", "latency", "bops")


@dataclass(frozen=True)
class Step:
    """A change of one op and of the movement ops behind it.

    Attributes:
      schemes: The new schemes by op index.
      noise: Change of the predicted nmse.
      file_bytes: Change of the predicted file size.
      latency, bops: Changes of these, in the unit of the problem's resources.
    """

    schemes: Mapping[int, Scheme]
    noise: float
    file_bytes: int
    latency: float
    bops: float


class Ledger:
    """Holds a scheme for every op and prices steps away from it.

    Args:
      problem: The network and what its choices cost.
      schemes: Where to start; movement ops are settled first.

    Attributes:
      schemes: The present ones.
      used: What they use, by name from `MINIMISED`, without the arena.
    """

    def __init__(self, problem: Problem, schemes: Sequence[Scheme]) -> None:
        self._problem, self._costs = problem, problem.resources.costs
        self._wiring, self._choices = problem.noise.wiring, problem.choices
        self.schemes = list(schemes)
        settle(self._wiring, self._choices, self.schemes, problem.io)
        usage = problem.usage(self.schemes)
        self.used = {name: float(getattr(usage, name)) for name in _SUMMED}
        self._memory = Memory(problem.memory.occupants, self.schemes) if problem.counts_memory else None
        ends = {INPUT: problem.io, OUTPUT: problem.io}
        self._formats = {i: s.format for i, s in enumerate(self.schemes)} | ends
        self._needs = Counter(
            key for i, s in enumerate(self.schemes) for key in self._costs.shared.get((i, s.name), ())
        )
        self._borders: dict[int, list[Border]] = defaultdict(list)
        for border in self._costs.borders:
            self._borders[border.tensor].append(border)
        self._followers: dict[int, list[int]] = defaultdict(list)
        for op, tensor in self._wiring.source.items():
            self._followers[self._wiring.writer[tensor]].append(op)
        self._sharers: dict[tuple[int, str], set[int]] = defaultdict(set)
        for (op, _), keys in self._costs.shared.items():
            for key in keys:
                self._sharers[key].add(op)

    @property
    def peak_bytes(self) -> int:
        """The arena of the present schemes but for gaps and the last tensor's padding; 0 where it does not count."""
        return self._memory.peak if self._memory else 0

    def step(self, op: int, scheme: Scheme) -> Step | None:
        """Prices a change.

        Returns:
          None where it is none, where a movement op would leave the format of its values, or where formats would meet
          that the target cannot join.
        """
        if scheme == self.schemes[op]:
            return None
        if op in self._wiring.source:
            written = self._formats[self._wiring.writer[self._wiring.source[op]]]
            if following(self._choices[op], scheme, written) != scheme:
                return None
        changes = {op: scheme}
        waiting = [op]
        while waiting:
            moved = waiting.pop()
            for follower in self._followers.get(moved, ()):
                new = following(self._choices[follower], self.schemes[follower], changes[moved].format)
                if new != self.schemes[follower]:
                    changes[follower] = new
                    waiting.append(follower)
        return self._price(changes)

    def peak_change(self, step: Step) -> int:
        """What the peak would change by now, bytes; it depends on all ops, so no step keeps it."""
        return self._memory.change(step.schemes) if self._memory else 0

    def take(self, step: Step) -> None:
        """Makes a priced change."""
        for op, scheme in step.schemes.items():
            self._needs.subtract(self._costs.shared.get((op, self.schemes[op].name), ()))
            self._needs.update(self._costs.shared.get((op, scheme.name), ()))
            self.schemes[op] = scheme
            self._formats[op] = scheme.format
        for name in self.used:
            self.used[name] += getattr(step, name)
        if self._memory:
            self._memory.take(step.schemes)

    def affected(self, step: Step) -> set[int]:
        """Ops whose steps may have another price after this one."""
        wiring = self._wiring
        touched = set(step.schemes)
        for op in step.schemes:
            for tensor in (*wiring.reads[op], *wiring.writes[op]):
                touched.update(reader for reader in wiring.readers[tensor] if reader != OUTPUT)
                touched.add(wiring.writer[tensor])
            for scheme in self._choices[op]:
                for key in self._costs.shared.get((op, scheme.name), ()):
                    touched |= self._sharers[key]
        # A step of an op may drag movement ops along, so a chain of them carries the effect back to its head.
        for op in list(touched):
            head = op
            while head in wiring.source:
                head = wiring.writer[wiring.source[head]]
                touched.add(head)
        touched.discard(INPUT)
        return touched

    def _price(self, changes: Mapping[int, Scheme]) -> Step | None:
        tensors = dict.fromkeys(t for op in changes for t in (*self._wiring.reads[op], *self._wiring.writes[op]))
        old = {op: self.schemes[op] for op in changes}
        before = self._local(old, tensors)
        self._formats.update((op, scheme.format) for op, scheme in changes.items())
        try:
            after = self._local(changes, tensors)
        finally:
            self._formats.update((op, scheme.format) for op, scheme in old.items())
        if before is None or after is None:
            return None
        delta = Counter[tuple[int, str]]()
        for op, scheme in changes.items():
            delta.update(self._costs.shared.get((op, scheme.name), ()))
            delta.subtract(self._costs.shared.get((op, old[op].name), ()))
        shared = sum(
            self._costs.shared_bytes[key] * ((self._needs[key] + change > 0) - (self._needs[key] > 0))
            for key, change in delta.items()
        )
        noise, size, latency, bops = (new - was for new, was in zip(after, before, strict=True))
        return Step(dict(changes), noise, int(size) + shared, latency, bops)

    def _local(
        self, schemes: Mapping[int, Scheme], tensors: Mapping[int, None]
    ) -> tuple[float, float, float, float] | None:
        """(nmse, bytes, latency, bit operations) of some ops and tensors; None where a border cannot be had."""
        terms, wiring, formats, resources = self._problem.noise, self._wiring, self._formats, self._problem.resources
        noise = size = latency = bops = 0.0
        for op, scheme in schemes.items():
            noise += terms.of_weights(op, scheme)
            size += self._costs.op_bytes[op, scheme.name]
            latency += resources.latency[op, scheme.name]
            bops += resources.bops[op, scheme.name]
        for tensor in tensors:
            written = formats[wiring.writer[tensor]]
            noise += terms.of_writing(tensor, written)
            for reader in wiring.readers[tensor]:
                noise += terms.of_reading(tensor, reader, written, formats[reader])
            for border in self._borders[tensor]:
                if crosses(border, formats):
                    time = resources.border_latency.get((tensor, written, border.format))
                    if time is None:
                        return None
                    size += border.bytes
                    latency += time
        return noise, size, latency, bops
