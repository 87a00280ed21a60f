"""Threads, processes and a Dask cluster give the same table, whoever dies on the way."""

from __future__ import annotations

import os
import signal
import sys
import threading

import pytest
from bitplan.analyzer.errors import UsageError, WorkerError
from bitplan.analyzer.inputs.dataset import InputSpec, Preprocessing, load_samples
from bitplan.analyzer.measures import cluster as cluster_module
from bitplan.analyzer.measures import exact, worker
from bitplan.analyzer.measures.calibration import calibrate
from bitplan.analyzer.measures.crew import Crew
from bitplan.analyzer.measures.sensitivity import measure_sensitivity
from bitplan.analyzer.network.graph import build_graph
from bitplan.analyzer.serialize import dumps
from bitplan.analyzer.units import UnitStore
from clusters import Cluster, Counting
from conftest_data import demo

pytestmark = pytest.mark.slow

SAMPLES, SHARD = 24, 8


@pytest.fixture(scope="module", autouse=True)
def small_shards():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "shard_size", lambda graph: SHARD)
        yield


@pytest.fixture(scope="module")
def network():
    data, images, labels = demo()
    graph = build_graph(data)
    spec = InputSpec("image", (1, 28, 28, 1), "float32")
    samples = load_samples((images[:SAMPLES], labels[:SAMPLES]), (spec,), Preprocessing(scale="tf"), warn=print)
    samples = samples.in_content_order()
    return data, graph, calibrate(data, graph, samples), samples


@pytest.fixture(scope="module")
def expected(network, counting_module):
    return dumps(measure_sensitivity(*network, metric=counting_module.metric, crew=Crew(threads=1)))


@pytest.fixture(scope="module")
def counting_module(tmp_path_factory):
    folder = tmp_path_factory.mktemp("module")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in Counting(folder).environment.items():
            patch.setenv(name, value)
        patch.syspath_prepend(folder)
        import counting

        yield counting
    del sys.modules["counting"]


@pytest.fixture
def counting(counting_module, tmp_path, monkeypatch):
    """A log of its own for each test; the module itself is imported once."""
    found = Counting(tmp_path)
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    return found


@pytest.fixture
def stopped_by():
    """Ends a test that hangs: waiting for ever is what these tests are to rule out."""
    timer = threading.Timer(120, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    yield
    timer.cancel()


def assert_that_workers_are_economical(counting):
    """Each worker opened the network once and each shard at most once, and needed no TensorFlow."""
    assert os.getpid() not in counting.count("measure")
    assert set(counting.count("__init__").values()) == {1}
    assert max(counting.count("load").values()) <= SAMPLES // SHARD
    assert not any(tensorflow for _, _, tensorflow in counting.lines())


def test_threads_in_any_number_give_the_same_table(network, expected, counting_module):
    assert dumps(measure_sensitivity(*network, metric=counting_module.metric, crew=Crew(threads=3))) == expected


def test_processes_give_the_same_table(network, expected, counting, counting_module):
    assert dumps(measure_sensitivity(*network, metric=counting_module.metric, crew=Crew.of(2))) == expected
    assert 1 <= len(counting.count("measure")) <= 2
    assert_that_workers_are_economical(counting)


def test_a_cluster_gives_the_same_table(network, expected, counting, counting_module, tmp_path):
    with Cluster(tmp_path) as cluster:
        crew = Crew.of(None, cluster.address)
        assert dumps(measure_sensitivity(*network, metric=counting_module.metric, crew=crew)) == expected
        assert set(counting.count("measure")) == {process.pid for process in cluster.workers}
    assert_that_workers_are_economical(counting)


def test_a_worker_killed_in_mid_run_costs_nothing(network, expected, counting, counting_module, tmp_path, stopped_by):
    """The other one takes over: the same table byte for byte, and every unit is in the store."""
    killed = []

    def kill_one(done, total):
        busy = counting.count("measure")
        if not killed and len(busy) == 2 and min(busy.values()) >= 2:
            assert done < total
            os.kill(cluster.workers[0].pid, signal.SIGKILL)
            killed.append(done)

    with Cluster(tmp_path) as cluster, UnitStore(tmp_path / "units.jsonl") as store:
        crew = Crew.of(None, cluster.address)
        table = measure_sensitivity(*network, metric=counting_module.metric, crew=crew, store=store, progress=kill_one)
        assert killed and cluster.workers[0].wait(60) == -signal.SIGKILL
        assert cluster.workers[1].poll() is None
    assert dumps(table) == expected
    with UnitStore(tmp_path / "units.jsonl") as store:
        again = []
        measure_sensitivity(
            *network, metric=counting_module.metric, store=store, progress=lambda done, total: again.append(done)
        )
    assert again == []


def test_a_unit_that_kills_every_worker_ends_the_run(network, counting, counting_module, tmp_path, stopped_by):
    with Cluster(tmp_path, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0") as cluster:
        crew = Crew.of(None, cluster.address)
        with pytest.raises(WorkerError, match="died again and again"):
            measure_sensitivity(*network, metric=counting_module.deadly, crew=crew)


def test_a_scheduler_that_dies_ends_the_run(network, counting, counting_module, tmp_path, stopped_by):
    with Cluster(tmp_path) as cluster, UnitStore(tmp_path / "units.jsonl") as store:

        def kill(done, total):
            cluster.scheduler.kill()

        crew = Crew.of(None, cluster.address)
        with pytest.raises(WorkerError) as caught:
            measure_sensitivity(*network, metric=counting_module.metric, crew=crew, store=store, progress=kill)
        assert "goes on where it stopped" in caught.value.remedy
        assert len(store) > 0


def test_a_scheduler_without_workers_is_named(network, tmp_path, stopped_by):
    with Cluster(tmp_path, workers=0) as cluster, pytest.raises(WorkerError, match="no workers"):
        measure_sensitivity(*network, crew=Crew.of(None, cluster.address))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://x", "127.0.0.1:1"])
def test_a_scheduler_that_does_not_answer_is_named(network, monkeypatch, address):
    monkeypatch.setattr(cluster_module, "_CONNECT_SECONDS", 1)
    with pytest.raises(WorkerError, match="no Dask scheduler answers"):
        measure_sensitivity(*network, crew=Crew.of(None, address))


def test_a_worker_process_that_dies_ends_the_run_and_keeps_what_was_done(network, counting, counting_module):
    with pytest.raises(WorkerError, match="worker process died"):
        measure_sensitivity(*network, metric=counting_module.deadly, crew=Crew.of(2))


def test_a_run_by_processes_that_is_stopped_goes_on(network, expected, counting, counting_module, tmp_path):
    class Stopped(Exception):
        pass

    def stop(done, total):
        if done == 20:
            raise Stopped

    totals = []
    with UnitStore(tmp_path / "units.jsonl") as store, pytest.raises(Stopped):
        measure_sensitivity(*network, metric=counting_module.metric, crew=Crew.of(2), store=store, progress=stop)
    with UnitStore(tmp_path / "units.jsonl") as store:
        table = measure_sensitivity(
            *network, metric=counting_module.metric, store=store, progress=lambda done, total: totals.append(total)
        )
    assert dumps(table) == expected
    whole = []
    measure_sensitivity(*network, metric=counting_module.metric, progress=lambda done, total: whole.append(total))
    assert set(whole) == {next(iter(totals)) + 20}


def test_a_metric_without_a_module_goes_to_processes_too(network):
    table = measure_sensitivity(*network, metric=lambda out, ref, label: 0.25, crew=Crew.of(2))
    assert {m.error.metric for m in table.measurements} == {0.25}


def test_a_metric_that_cannot_travel_is_refused_before_any_work(network):
    lock = threading.Lock()

    def metric(output, reference, label):
        with lock:
            return 1.0

    with pytest.raises(UsageError, match="metric cannot be sent"):
        measure_sensitivity(*network, metric=metric, crew=Crew.of(2))


def test_what_a_metric_raises_in_a_worker_arrives(network):
    def metric(output, reference, label):
        raise KeyError("no such class")

    with pytest.raises(UsageError, match="no such class") as caught:
        measure_sensitivity(*network, metric=metric, crew=Crew.of(2))
    assert "metric(output, reference, label)" in caught.value.remedy


def test_a_metric_that_workers_cannot_import_is_named(network, counting, counting_module, tmp_path, monkeypatch):
    counting.folder.joinpath("counting.py").unlink()
    with Cluster(tmp_path) as cluster, pytest.raises(WorkerError, match="no module counting"):
        measure_sensitivity(*network, metric=counting_module.metric, crew=Crew.of(None, cluster.address))


def test_workers_with_other_versions_are_refused(network, monkeypatch):
    monkeypatch.setattr(worker, "versions_of", lambda *packages: ("x86_64", "ai-edge-litert 1.0"))
    with pytest.raises(WorkerError, match=r"where x86_64, ai-edge-litert 1\.0 is asked for"):
        measure_sensitivity(*network, crew=Crew.of(2))


def test_workers_and_a_scheduler_are_two_things():
    with pytest.raises(UsageError, match="--scheduler"):
        Crew.of(2, "tcp://127.0.0.1:1")
    with pytest.raises(UsageError, match="0 workers"):
        Crew.of(0)


def test_without_the_extra_the_extra_is_named(monkeypatch):
    from bitplan.analyzer.measures import crew

    monkeypatch.setattr(crew.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError) as caught:
        Crew.of(None, "tcp://127.0.0.1:1")
    assert "bitplan[cluster]" in caught.value.remedy
