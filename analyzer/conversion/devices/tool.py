"""A package that is started as a program."""

from __future__ import annotations

import importlib.metadata
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import UnsupportedModel


@dataclass(frozen=True)
class Tool:
    """A package that may be installed.

    Attributes:
      package: As on PyPI.
      extra: Bitplan's extra that brings it.
    """

    package: str
    extra: str

    @property
    def installed(self) -> bool:
        try:
            return bool(self.version)
        except importlib.metadata.PackageNotFoundError:
            return False

    @property
    def version(self) -> str:
        return importlib.metadata.version(self.package)

    def run(self, arguments: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
        """Runs Python with these arguments in a folder.

        Raises:
          UnsupportedModel: A signal ended it, which means that it crashed.
        """
        done = subprocess.run(
            [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, errors="replace", check=False
        )
        if done.returncode < 0:
            number = -done.returncode
            name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
            raise UnsupportedModel(
                f"{self.package} {self.version} crashes on the file ({name})",
                "allow only schemes that its target table lists; look for a newer version of the tool",
            )
        return done
