"""Fixtures that several tests need."""

from __future__ import annotations

import os
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent


def find_shared() -> pathlib.Path | None:
    """The folder with real models and data, where there is one: `$BITPLAN_SHARED` or a `shared` beside the checkout."""
    candidates = [os.environ.get("BITPLAN_SHARED"), ROOT.parent / "shared"]
    return next((p for c in candidates if c and (p := pathlib.Path(c)).is_dir()), None)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Keeps the user's own cache out of the tests, and the tests out of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BITPLAN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    found = find_shared()
    if found is None:
        pytest.skip("the folder of real models is absent: set BITPLAN_SHARED to run this test")
    return found


@pytest.fixture(scope="session")
def demo_model() -> bytes:
    return (ROOT / "analyzer" / "demo" / "fashion_mobilenet.tflite").read_bytes()
