"""Rows of earlier sweeps, found by what they are figures of and by the sample, whatever else was measured with it.

A store has one unit for each source and shard of samples, and one for each shard that says which samples are in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..units import Store, content_key
from .rows import Rows

_ROWS, _SHARD = "rows/", "shard/"


class KeptRows:
    """The rows in a store, as far as they are of some samples.

    Args:
      store: Where they are.
      samples: Identity of each wanted sample (and of its label, where a figure depends on it); equal ones count as one.
    """

    def __init__(self, store: Store, samples: Sequence[str]) -> None:
        self._store, self._samples = store, samples
        self._shards: dict[str, list[str]] = {}
        self._overlaps: dict[str, tuple[int, np.ndarray, np.ndarray]] = {}
        self._told: set[str] = set()
        for unit in store.listed():
            if unit.startswith(_ROWS):
                key, shard = unit.removeprefix(_ROWS).split("/")
                self._shards.setdefault(key, []).append(shard)

    def find(self, key: str) -> tuple[list[tuple[np.ndarray, Rows]], np.ndarray]:
        """All rows kept under a key of the wanted samples.

        Returns:
          Parts for `Rows.joined`, no sample in two of them; and whether each sample is missing, bool [samples].
        """
        missing = np.ones(len(self._samples), bool)
        parts = []
        for shard in self._shards.get(key, ()):
            count, wanted, places = self._overlap(shard)
            fresh = missing[wanted]
            unit = self._store.get(f"{_ROWS}{key}/{shard}") if fresh.any() else None
            rows = Rows.from_unit(unit, count) if unit is not None else None
            if rows is not None:
                parts.append((wanted[fresh], rows.take(places[fresh])))
                missing[wanted] = False
        return parts, missing

    def put(self, key: str, samples: Sequence[int], rows: Rows) -> None:
        """Keeps the rows of some of the samples, by index."""
        names = [self._samples[i] for i in samples]
        shard = content_key(names)
        if shard not in self._told:  # said again by each process: what another one has written may be cleared
            self._store.put(_SHARD + shard, {"samples": names})
            self._told.add(shard)
        self._store.put(f"{_ROWS}{key}/{shard}", rows.to_unit())
        self._shards.setdefault(key, []).append(shard)

    def _overlap(self, shard: str) -> tuple[int, np.ndarray, np.ndarray]:
        """Samples in a shard; indices of the wanted samples that are in it, and their places there."""
        if shard not in self._overlaps:
            unit = self._store.get(_SHARD + shard)
            names = unit.get("samples") if unit is not None else None
            place = {name: i for i, name in enumerate(names)} if isinstance(names, list) else {}
            found = [(i, place[name]) for i, name in enumerate(self._samples) if name in place]
            wanted, places = np.array(found, np.int64).reshape(-1, 2).T
            self._overlaps[shard] = (len(names or ()), wanted, places)
        return self._overlaps[shard]
