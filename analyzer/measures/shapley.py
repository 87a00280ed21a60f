"""Shapley values and interactions of a few players, from the worth of every coalition. Pure NumPy.

A coalition is a number whose bits are its players. The worth may be an array, one figure for each sample: both formulas
are linear, so that what is found of samples has the standard error of a mean.
"""

from __future__ import annotations

import math

import numpy as np


def shapley_values(worths: np.ndarray) -> np.ndarray:
    """What each player brings on average, over all orders in which the players can come (Shapley 1953).

    Args:
      worths: float64 [2^players, ...]: of each coalition, the empty one first.

    Returns:
      float64 [players, ...]; they sum to the worth of all players less that of none.
    """
    players = _players(worths)
    values = np.zeros((players, *worths.shape[1:]))
    for coalition in range(len(worths)):
        size = coalition.bit_count()
        for player in range(players):
            if not coalition >> player & 1:
                weight = math.factorial(size) * math.factorial(players - size - 1) / math.factorial(players)
                values[player] += weight * (worths[coalition | 1 << player] - worths[coalition])
    return values


def interactions(worths: np.ndarray) -> np.ndarray:
    """What each pair brings together beyond what its players bring apart: the Shapley interaction index.

    Grabisch and Roubens 1999: the mean over coalitions S of v(S+ij) - v(S+i) - v(S+j) + v(S). Above 0 the two amplify
    each other, below 0 they cancel.

    Args:
      worths: As for `shapley_values`.

    Returns:
      float64 [players, players, ...], symmetric, 0 on the diagonal.
    """
    players = _players(worths)
    found = np.zeros((players, players, *worths.shape[1:]))
    for first in range(players):
        for second in range(first + 1, players):
            pair = 1 << first | 1 << second
            for coalition in range(len(worths)):
                if coalition & pair:
                    continue
                size = coalition.bit_count()
                weight = math.factorial(size) * math.factorial(players - size - 2) / math.factorial(players - 1)
                apart = worths[coalition | 1 << first] + worths[coalition | 1 << second]
                found[first, second] += weight * (worths[coalition | pair] - apart + worths[coalition])
            found[second, first] = found[first, second]
    return found


def _players(worths: np.ndarray) -> int:
    players = len(worths).bit_length() - 1
    if len(worths) != 1 << players:
        raise ValueError(f"{len(worths)} worths are not those of all coalitions")
    return players
