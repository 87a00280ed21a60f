"""What a second sweep computes anew: counted runs of the interpreter, never the time."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from bitplan.analyzer.cache import Cache
from bitplan.analyzer.inputs.dataset import InputSpec, Preprocessing, load_samples
from bitplan.analyzer.measures.calibration import calibrate
from bitplan.analyzer.measures.crew import Crew
from bitplan.analyzer.measures.sensitivity import exact_sweep, measure_sensitivity
from bitplan.analyzer.measures.sources import sources_of
from bitplan.analyzer.measures.sweep import Sweep
from bitplan.analyzer.network.graph import build_graph
from bitplan.analyzer.units import MemoryStore
from conftest_data import demo

SOME, ALL = 8, 12


pytestmark = pytest.mark.slow


def samples_of(which):
    _, images, labels = demo()
    spec = InputSpec("image", (1, 28, 28, 1), "float32")
    given = (images[which], labels[which])
    return load_samples(given, (spec,), Preprocessing(scale="tf"), warn=print).in_content_order()


@pytest.fixture(scope="module")
def network():
    data = demo()[0]
    return data, build_graph(data)


@pytest.fixture
def work(monkeypatch):
    """What was measured since: (source, samples) of each unit; and how many samples the float network was run on."""
    done = {"rows": [], "loaded": 0}
    measure, load = Sweep.measure, Sweep.load

    def counted(self, unit):
        done["rows"] += [(source.id, len(places)) for source, places in unit.wanted]
        return measure(self, unit)

    def loaded(self, inputs, *rest):
        done["loaded"] += len(inputs[0])
        return load(self, inputs, *rest)

    monkeypatch.setattr(Sweep, "measure", counted)
    monkeypatch.setattr(Sweep, "load", loaded)
    return done


def emptied(work):
    rows, loaded = dict(work["rows"]), work["loaded"]
    assert len(rows) == len(work["rows"]), "a source was measured twice"
    work["rows"], work["loaded"] = [], 0
    return rows, loaded


def depends_on_ranges(source):
    return source.part != "weights" or source.variant in ("w16a8", "w16a16")


def test_the_same_again_computes_nothing(network, work):
    data, graph = network
    samples, store = samples_of(slice(0, SOME)), MemoryStore()
    calibration = calibrate(data, graph, samples)
    first = measure_sensitivity(data, graph, calibration, samples, store=store)
    rows, loaded = emptied(work)
    assert rows == {source.id: SOME for source in sources_of(graph, calibration)} and loaded == SOME
    assert measure_sensitivity(data, graph, calibration, samples, store=store) == first
    assert emptied(work) == ({}, 0)


def test_more_images_compute_only_the_new_ones_where_the_ranges_stay(network, work):
    """The ranges are those of all images from the start, so every source of the first eight stays what it was."""
    data, graph = network
    some, every = samples_of(slice(0, SOME)), samples_of(slice(0, ALL))
    calibration, store = calibrate(data, graph, every), MemoryStore()
    measure_sensitivity(data, graph, calibration, some, store=store)
    emptied(work)
    again = measure_sensitivity(data, graph, calibration, every, store=store)
    rows, loaded = emptied(work)
    assert rows == {source.id: ALL - SOME for source in sources_of(graph, calibration)} and loaded == ALL - SOME
    assert again == measure_sensitivity(data, graph, calibration, every)


def test_more_images_that_widen_ranges_compute_those_sources_on_all_of_them(network, work):
    data, graph = network
    some, every = samples_of(slice(0, SOME)), samples_of(slice(0, ALL))
    narrow, wide = calibrate(data, graph, some), calibrate(data, graph, every)
    store = MemoryStore()
    measure_sensitivity(data, graph, narrow, some, store=store)
    emptied(work)
    again = measure_sensitivity(data, graph, wide, every, store=store)
    rows, _ = emptied(work)
    for source in sources_of(graph, wide):
        if not depends_on_ranges(source):
            assert rows[source.id] == ALL - SOME, source.id
        elif source.part != "weights":
            a, b = narrow.ranges[source.tensor], wide.ranges[source.tensor]
            if (a.minimum, a.maximum) == (b.minimum, b.maximum):
                assert rows[source.id] == ALL - SOME, source.id
    assert set(rows.values()) == {ALL, ALL - SOME}, "the images were to widen some ranges and not all"
    assert again == measure_sensitivity(data, graph, wide, every)


def test_one_wider_range_computes_only_what_rounds_to_it(network, work):
    data, graph = network
    samples, store = samples_of(slice(0, SOME)), MemoryStore()
    calibration = calibrate(data, graph, samples)
    measure_sensitivity(data, graph, calibration, samples, store=store)
    emptied(work)
    tensor = next(t for t in calibration.ranges if len(graph.consumers(t)) > 1)
    wide = dataclasses.replace(calibration.ranges[tensor], maximum=60.0)
    other = dataclasses.replace(calibration, ranges={**calibration.ranges, tensor: wide})
    measure_sensitivity(data, graph, other, samples, store=store)
    rows, loaded = emptied(work)
    expected = {s.id: SOME for s in sources_of(graph, other) if s.tensor == tensor and s.part != "weights"}
    assert rows == expected and loaded == SOME
    assert any(name.startswith("edge") for name in rows)


def test_other_partial_sums_compute_only_the_split_weights(network, work):
    data, graph = network
    samples, store = samples_of(slice(0, SOME)), MemoryStore()
    calibration = calibrate(data, graph, samples)
    measure_sensitivity(data, graph, calibration, samples, store=store)
    emptied(work)
    op, (high, low) = next(iter(calibration.partial_sums.items()))
    sums = {**calibration.partial_sums, op: (high, (low[0] * 2, low[1] * 2))}
    measure_sensitivity(data, graph, dataclasses.replace(calibration, partial_sums=sums), samples, store=store)
    tensor = graph.ops[op].outputs[0]
    assert emptied(work)[0] == {f"weights:{tensor}:w16a8": SOME, f"weights:{tensor}:w16a16": SOME}


def test_fewer_images_compute_nothing(network, work):
    data, graph = network
    every, few = samples_of(slice(0, ALL)), samples_of([1, 4, 7])
    calibration, store = calibrate(data, graph, every), MemoryStore()
    measure_sensitivity(data, graph, calibration, every, store=store)
    emptied(work)
    again = measure_sensitivity(data, graph, calibration, few, store=store)
    assert emptied(work) == ({}, 0)
    assert again == measure_sensitivity(data, graph, calibration, few)


def test_other_labels_are_other_samples(network, work):
    data, graph = network
    samples, store = samples_of(slice(0, SOME)), MemoryStore()
    calibration = calibrate(data, graph, samples)
    sources = sources_of(graph, calibration)[:2]
    relabelled = dataclasses.replace(samples, labels=(samples.labels + 1) % 10)
    for given in (samples, relabelled):
        with exact_sweep(data, graph, calibration, given, store=store) as sweep:
            sweep.measure(sources)
    assert len(work["rows"]) == 4


def test_sources_are_measured_a_few_at_a_time(network, work):
    data, graph = network
    samples = samples_of(slice(0, SOME))
    calibration = calibrate(data, graph, samples)
    sources = sources_of(graph, calibration)
    with exact_sweep(data, graph, calibration, samples) as sweep:
        measured = sweep.measure(sources[:5]) | sweep.measure(sources[3:9]) | sweep.measure([])
        rows, loaded = emptied(work)
        # The second lot reads activations that the first did not keep.
        assert rows == {source.id: SOME for source in sources[:9]} and loaded == 2 * SOME
        output = [s for s in sources if s.tensor == graph.compared[0] and s.part == "activation"]
        measured |= sweep.measure(output)  # reads nothing that is not there
        rows, loaded = emptied(work)
        assert rows == {source.id: SOME for source in output} and loaded == 0
    whole = measure_sensitivity(data, graph, calibration, samples)
    assert [measured[s.id] for s in sources[:9]] == list(whole.measurements[:9])


def test_a_large_set_is_cut_into_shards_and_gives_the_same_table(network, work, monkeypatch):
    from bitplan.analyzer.measures import exact

    data, graph = network
    samples = samples_of(slice(0, ALL))
    calibration = calibrate(data, graph, samples)
    whole = measure_sensitivity(data, graph, calibration, samples)
    monkeypatch.setattr(exact, "shard_size", lambda graph: 5)
    assert measure_sensitivity(data, graph, calibration, samples, crew=Crew(threads=1)) == whole


def test_duplicate_samples_are_measured_and_counted(network):
    data, graph = network
    samples = samples_of([0, 0, 1, 2])
    calibration = calibrate(data, graph, samples)
    store = MemoryStore()
    first = measure_sensitivity(data, graph, calibration, samples, store=store)
    assert first.measurements[0].error.samples == 4
    assert measure_sensitivity(data, graph, calibration, samples, store=store) == first


@pytest.mark.slow
def test_runs_of_one_model_share_the_users_cache(tmp_path, monkeypatch, work):
    import bitplan as bp

    monkeypatch.setenv("BITPLAN_CACHE", str(tmp_path / "cache"))
    data, images, _ = demo()
    x = images[:ALL].astype(np.float32) / 127.5 - 1
    first = bp.analyze(data, x, left_float=False, out=tmp_path / "a")
    assert emptied(work)[0]
    assert not (tmp_path / "a" / "units.jsonl").exists()
    again = bp.analyze(data, x[::-1], left_float=False, out=tmp_path / "b")
    assert emptied(work) == ({}, 0)
    assert again.sensitivity == first.sensitivity
    in_memory = bp.analyze(data, x, left_float=False)
    assert emptied(work) == ({}, 0) and in_memory.sensitivity == first.sensitivity
    (entry,) = bp.cache().entries
    assert entry.digest == first.graph.digest and entry.results > 0
    assert bp.cache(clear=True).entries == ()
    bp.analyze(data, x, left_float=False)
    assert emptied(work)[0]


def test_a_cache_that_cannot_be_written_costs_nothing_but_a_warning(tmp_path, monkeypatch):
    import bitplan as bp

    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("BITPLAN_CACHE", str(tmp_path / "file"))
    data, images, _ = demo()
    warnings = []
    run = bp.analyze(data, images[:2].astype(np.float32), left_float=False, warn=warnings.append)
    assert run.sensitivity is not None
    assert [w for w in warnings if "BITPLAN_CACHE" in w] == [w for w in warnings if "not kept" in w]
    assert len([w for w in warnings if "not kept" in w]) == 1
    assert Cache().contents().entries == ()
