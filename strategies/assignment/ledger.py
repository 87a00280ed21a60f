"""A plan under change: what one op's other scheme would gain and cost, without evaluating the whole plan again."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...analyzer.conversion.costs import Border, Costs, crosses
from ...analyzer.network.wiring import INPUT, OUTPUT
from ...analyzer.schema import Format, Graph, Scheme
from .choices import Choices, following, settle
from .noise import Noise, evaluate_noise


@dataclass(frozen=True)
class Step:
    """A change of one op and of the movement ops behind it.

    Attributes:
      schemes: The new schemes by op index.
      noise: Change of the predicted nmse.
      bytes: Change of the predicted file size.
    """

    schemes: Mapping[int, Scheme]
    noise: float
    bytes: int


class Ledger:
    """Holds a scheme for every op and prices steps away from it.

    Args:
      graph, noise, costs: The network and its terms.
      choices: From `schemes_for_ops`.
      schemes: Where to start; movement ops are settled first.
      io: Format of the model's inputs and outputs.
    """

    def __init__(
        self, graph: Graph, noise: Noise, costs: Costs, choices: Choices, schemes: Sequence[Scheme], io: Format
    ) -> None:
        self._graph, self._noise, self._costs, self._choices, self._io = graph, noise, costs, choices, io
        self._wiring = noise.wiring
        self.schemes = list(schemes)
        settle(self._wiring, choices, self.schemes, io)
        self.bytes = costs.total(self.schemes, io)
        self._formats = {i: s.format for i, s in enumerate(self.schemes)} | {INPUT: io, OUTPUT: io}
        self._needs = Counter(key for i, s in enumerate(self.schemes) for key in costs.shared.get((i, s.name), ()))
        self._borders: dict[int, list[Border]] = defaultdict(list)
        for border in costs.borders:
            self._borders[border.tensor].append(border)
        self._followers: dict[int, list[int]] = defaultdict(list)
        for op, tensor in self._wiring.source.items():
            self._followers[self._wiring.writer[tensor]].append(op)
        self._sharers: dict[tuple[int, str], set[int]] = defaultdict(set)
        for (op, _), keys in costs.shared.items():
            for key in keys:
                self._sharers[key].add(op)

    @property
    def noise(self) -> float:
        """Predicted nmse of the present schemes, summed anew."""
        return evaluate_noise(self._graph, self._noise, self.schemes, self._io)

    def step(self, op: int, scheme: Scheme) -> Step | None:
        """Prices a change; None where it is none, or where a movement op would leave the format of its values."""
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

    def take(self, step: Step) -> None:
        """Makes a priced change."""
        for op, scheme in step.schemes.items():
            self._needs.subtract(self._costs.shared.get((op, self.schemes[op].name), ()))
            self._needs.update(self._costs.shared.get((op, scheme.name), ()))
            self.schemes[op] = scheme
            self._formats[op] = scheme.format
        self.bytes += step.bytes

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

    def _price(self, changes: Mapping[int, Scheme]) -> Step:
        tensors = dict.fromkeys(t for op in changes for t in (*self._wiring.reads[op], *self._wiring.writes[op]))
        old = {op: self.schemes[op] for op in changes}
        before = self._local(old, tensors)
        self._formats.update((op, scheme.format) for op, scheme in changes.items())
        try:
            after = self._local(changes, tensors)
        finally:
            self._formats.update((op, scheme.format) for op, scheme in old.items())
        delta = Counter[tuple[int, str]]()
        for op, scheme in changes.items():
            delta.update(self._costs.shared.get((op, scheme.name), ()))
            delta.subtract(self._costs.shared.get((op, old[op].name), ()))
        shared = sum(
            self._costs.shared_bytes[key] * ((self._needs[key] + change > 0) - (self._needs[key] > 0))
            for key, change in delta.items()
        )
        return Step(dict(changes), after[0] - before[0], after[1] - before[1] + shared)

    def _local(self, schemes: Mapping[int, Scheme], tensors: Mapping[int, None]) -> tuple[float, int]:
        noise, wiring, formats = self._noise, self._wiring, self._formats
        total = 0.0
        size = 0
        for op, scheme in schemes.items():
            total += noise.of_weights(op, scheme)
            size += self._costs.op_bytes[op, scheme.name]
        for tensor in tensors:
            written = formats[wiring.writer[tensor]]
            total += noise.of_writing(tensor, written)
            for reader in wiring.readers[tensor]:
                total += noise.of_reading(tensor, reader, written, formats[reader])
            size += sum(border.bytes for border in self._borders[tensor] if crosses(border, formats))
        return total, size
