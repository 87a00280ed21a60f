"""The drop of a real file, held against the interpreter itself; vectors, and boards that replay them rightly or not."""

from __future__ import annotations

import hashlib
import json

import bitplan as bp
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from bitplan.analyzer.conversion.converter import convert
from bitplan.analyzer.errors import DataError, RunFolderError, UnsupportedModel, UsageError
from bitplan.analyzer.inputs.dataset import InputSpec, Preprocessing, load_samples
from bitplan.analyzer.measures.calibration import calibrate
from bitplan.analyzer.network.graph import build_graph
from bitplan.analyzer.schema import Format, Plan
from conftest_data import DEMO, demo

pytestmark = pytest.mark.slow

COUNT = 60
NAMES = [f"garment {k}" for k in range(10)]


def macro_f1(outputs, targets):
    """Mean over classes of 2 TP / (2 TP + FP + FN)."""
    answered = outputs.argmax(axis=1)
    scores = []
    for label in range(10):
        hits = np.sum((answered == label) & (targets == label))
        counted = np.sum(answered == label) + np.sum(targets == label)
        scores.append(2 * hits / counted if counted else 1.0)
    return float(np.mean(scores))


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """The demo's float file, an int8 one with weights of 4 bits, so that samples flip, and 60 evaluation images."""
    folder = tmp_path_factory.mktemp("drops")
    data, images, _ = demo()
    graph = build_graph(data)
    samples = load_samples(
        images[:32], (InputSpec("image", (1, 28, 28, 1), "float32"),), Preprocessing(scale="tf"), warn=print
    )
    schemes = ["w4a8" if "w4a8" in op.schemes else "w8a8" if "w8a8" in op.schemes else "float" for op in graph.ops]
    plan = Plan.bare(graph, schemes, Format.INT8)
    arrays = np.load(DEMO / "data.npz")
    x, y = arrays["x_eval"][:COUNT], arrays["y_eval"][:COUNT]
    (folder / "float.tflite").write_bytes(data)
    (folder / "int8.tflite").write_bytes(convert(data, graph, calibrate(data, graph, samples), plan).model)
    (folder / "labels.txt").write_text("\n".join(NAMES) + "\n")
    np.savez(folder / "eval.npz", x=x, y=y)
    return folder, x, y.astype(int)


def answers(path, images):
    """Outputs of a file in the order of the images, straight from the interpreter, dequantized: [n, classes]."""
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    (given,), (answered,) = interpreter.get_input_details(), interpreter.get_output_details()
    rows = []
    for image in images:
        values = image[None].astype(np.float32) / np.float32(127.5) - 1
        if given["dtype"] == np.int8:
            scale, zero = given["quantization"]
            values = np.clip(np.rint(values / np.float32(scale)) + zero, -128, 127).astype(np.int8)
        interpreter.set_tensor(given["index"], values)
        interpreter.invoke()
        raw = interpreter.get_tensor(answered["index"])[0]
        scale, zero = answered["quantization"]
        rows.append((raw.astype(np.float32) - zero) * np.float32(scale) if scale else raw)
    return np.stack(rows)


@pytest.fixture(scope="module")
def outputs(material):
    folder, x, _ = material
    return answers(folder / "float.tflite", x), answers(folder / "int8.tflite", x)


def audit(material, **options):
    folder = material[0]
    return bp.audit(
        folder / "float.tflite", folder / "int8.tflite", evaluation=f"{folder / 'eval.npz'}:x,y", scale="tf",
        samples=1, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def vectors(material, tmp_path_factory):
    folder = material[0]
    out = tmp_path_factory.mktemp("vectors") / "vectors"
    bp.export_vectors(
        folder / "int8.tflite", evaluation=f"{folder / 'eval.npz'}:x,y", scale="tf", samples=12, out=out
    )  # fmt: skip
    return out


def test_flips_and_classes_are_those_of_the_interpreter(material, outputs):
    _, _, labels = material
    before, after = (scores.argmax(axis=1) for scores in outputs)
    found = audit(material).drop
    assert found.flips.total > 0
    assert {f.index for f in found.flips.listed} == set(np.flatnonzero(before != after).tolist())
    for flip in found.flips.listed:
        assert (flip.float_class, flip.quantized_class) == (before[flip.index], after[flip.index])
        assert flip.label == labels[flip.index] and flip.origin == f"sample {flip.index}"
        assert flip.float_confidence == pytest.approx(outputs[0][flip.index].max(), abs=1e-5)
        assert flip.thumbnail.startswith("data:image/png;base64,")
    for drop in found.classes:
        of_class = labels == drop.label
        assert drop.accuracy == pytest.approx((after == labels)[of_class].mean())
        assert drop.float_accuracy == pytest.approx((before == labels)[of_class].mean())
        assert drop.name == NAMES[drop.label]  # from the labels.txt beside the models


def test_set_metrics_and_metrics_of_samples_judge_the_right_outputs(material, outputs, tmp_path):
    _, _, labels = material
    found = audit(material, set_metric=macro_f1, metric=lambda output, reference, label: float(output[label]))
    before, after = (macro_f1(scores, labels) for scores in outputs)
    metric = found.drop.set_metric
    assert (metric.float_value.value, metric.quantized_value.value) == pytest.approx((before, after), abs=1e-6)
    assert metric.drop.low < before - after < metric.drop.high
    rows = np.arange(COUNT)
    assert found.evaluation.drop_of == "metric"
    expected = (outputs[0][rows, labels] - outputs[1][rows, labels]).mean()
    assert found.evaluation.drop_points.value == pytest.approx(expected, abs=1e-5)
    # Targets lie in the order of the data, which is not the one that samples are kept in.
    np.savez(tmp_path / "targets.npz", t=labels)
    other = audit(material, set_metric=macro_f1, targets=f"{tmp_path / 'targets.npz'}:t").drop.set_metric
    assert other == metric
    with pytest.raises(UsageError, match="targets are for a set metric"):
        audit(material, targets=labels)


def test_a_planted_conversion_error_is_told_from_quantization(material, outputs, tmp_path):
    before, after = outputs
    framework = before + np.random.default_rng(0).normal(0, 0.05, before.shape).astype(np.float32)
    np.savez(tmp_path / "framework.npz", framework)
    conversion, quantization, both = audit(material, reference=tmp_path / "framework.npz").drop.conversion
    variance = framework.var()
    assert conversion.nmse == pytest.approx(((before - framework) ** 2).mean() / variance, rel=1e-4)
    assert quantization.nmse == pytest.approx(((after - before) ** 2).mean() / variance, rel=1e-4)
    assert both.nmse == pytest.approx(((after - framework) ** 2).mean() / variance, rel=1e-4)
    assert conversion.agreement == pytest.approx((framework.argmax(1) == before.argmax(1)).mean())
    labels = material[2]
    lost = 100 * ((framework.argmax(1) == labels).mean() - (after.argmax(1) == labels).mean())
    assert both.drop_points.value == pytest.approx(lost) and both.drop_points.low <= lost <= both.drop_points.high


def test_a_frameworks_outputs_of_fewer_samples_are_refused(material, outputs, tmp_path):
    np.savez(tmp_path / "framework.npz", outputs[0][:-1])
    with pytest.raises(DataError, match="holds outputs of 59 samples, the data has 60"):
        audit(material, reference=tmp_path / "framework.npz")


def test_vectors_are_what_a_board_reads_and_answers(material, vectors):
    """A board that reads raw bytes by the manifest alone, in another set of kernels' interpreter."""
    manifest = json.loads((vectors / "manifest.json").read_text())
    interpreter = Interpreter(str(material[0] / "int8.tflite"))
    interpreter.allocate_tensors()
    (given,), (answered,) = interpreter.get_input_details(), interpreter.get_output_details()
    (source,), (golden,) = manifest["inputs"], manifest["outputs"]
    assert source["dtype"] == golden["dtype"] == "int8" and source["shape"] == [1, 28, 28, 1]
    assert (golden["scale"], golden["zero_point"]) == pytest.approx(answered["quantization"])
    sent, expected = (vectors / source["raw"]).read_bytes(), (vectors / golden["raw"]).read_bytes()
    assert len(sent) == 12 * source["sample_bytes"] and manifest["index"] == list(range(12))
    assert manifest["labels"] == material[2][:12].tolist()
    for k in range(12):
        raw = np.frombuffer(sent, np.int8, source["sample_bytes"], k * source["sample_bytes"])
        interpreter.set_tensor(given["index"], raw.reshape(source["shape"]))
        interpreter.invoke()
        size = golden["sample_bytes"]
        assert interpreter.get_tensor(answered["index"]).tobytes() == expected[k * size : (k + 1) * size]
    for name, digest in manifest["sha256"].items():
        assert hashlib.sha256((vectors / name).read_bytes()).hexdigest() == digest
    assert {p.name for p in vectors.iterdir()} - set(manifest["sha256"]) == {"manifest.json", "bitplan.json"}
    np.testing.assert_array_equal(np.load(vectors / golden["array"]), np.load(vectors / "outputs.npz")["output_0"])


def test_vectors_are_the_same_bytes_each_time_and_a_foreign_folder_is_left_alone(material, vectors, tmp_path):
    folder, options = material[0], {"evaluation": f"{material[0] / 'eval.npz'}:x,y", "scale": "tf", "samples": 12}
    bp.export_vectors(folder / "int8.tflite", out=tmp_path / "again", **options)
    for path in vectors.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name
    with pytest.raises(RunFolderError, match="holds a run of another model"):
        bp.export_vectors(folder / "float.tflite", out=vectors, **options)


def test_a_board_that_replays_the_vectors_passes(material, vectors):
    device = audit(material, device=vectors / "outputs.npz").drop.device
    nearest = device.against_file[device.nearest]
    assert (nearest.equal, nearest.samples, nearest.max_abs, nearest.max_steps) == (12, 12, 0.0, 0.0)
    assert nearest.drop_points.value == 0 and nearest.agreement == 1 and device.differing == ()


def test_a_corrupted_board_is_caught(material, vectors, outputs, tmp_path):
    arrays = dict(np.load(vectors / "outputs.npz"))
    raw = arrays["output_0"].astype(int)
    raw[5, 0, 3] += 7 if raw[5, 0, 3] < 120 else -7
    rolled = np.roll(raw[9], 1)  # another class
    raw[9] = rolled
    order = np.random.default_rng(0).permutation(12)  # the index says which sample is which
    np.savez(tmp_path / "board.npz", output_0=raw[order].astype(np.int8), index=arrays["index"][order])
    found = audit(material, device=tmp_path / "board.npz", out=tmp_path / "audit")
    device = found.drop.device
    gap = device.against_file[0]
    assert (gap.reference, gap.samples, gap.equal) == ("xnnpack", 12, 10)
    assert [(d.index, d.element) for d in device.differing[:1]] == [(5, 3)]
    assert device.differing[1].index == 9
    scale = json.loads((vectors / "manifest.json").read_text())["outputs"][0]["scale"]
    assert abs(device.differing[0].found - device.differing[0].expected) == pytest.approx(7 * scale)
    board = (raw[:, 0] + 128) * scale
    assert gap.max_abs == pytest.approx(np.abs(board - outputs[1][:12]).max(), abs=1e-6)
    assert gap.max_steps == pytest.approx(gap.max_abs / scale)
    labels = material[2][:12]
    lost = 100 * ((outputs[0][:12].argmax(1) == labels).mean() - (board.argmax(1) == labels).mean())
    assert device.against_float.drop_points.value == pytest.approx(lost)
    page = (tmp_path / "audit" / "report.html").read_text()
    assert "The device differs from" in page and "2 of 12 samples" in page


def test_kernels_that_ran_on_a_few_samples_do_not_look_nearer_for_that(material, vectors, monkeypatch, tmp_path):
    """The last sample of the board is off, which only the kernels that ran on all of them can show."""
    monkeypatch.setattr("bitplan.drops.reference_subset", lambda _graph: 4)
    monkeypatch.setattr("bitplan.drops.outputs_of", same_as_default())
    arrays = dict(np.load(vectors / "outputs.npz"))
    arrays["output_0"][11] = np.roll(arrays["output_0"][11], 1)
    np.savez(tmp_path / "board.npz", output_0=arrays["output_0"], index=arrays["index"])
    device = audit(material, device=tmp_path / "board.npz").drop.device
    assert [gap.samples for gap in device.against_file] == [12, 4]
    assert device.nearest == 0 and [d.index for d in device.differing] == [11]


def same_as_default():
    """Reference kernels that round as the default ones do."""
    from bitplan.analyzer.conversion.verification import outputs_of

    return lambda file, samples, **options: outputs_of(file, samples, **{**options, "kernels": "xnnpack"})


def test_a_wrong_file_takes_no_folder(material, tmp_path):
    folder = material[0]
    with pytest.raises(UnsupportedModel, match="no quantized tensors"):
        bp.audit(
            folder / "float.tflite", folder / "float.tflite", evaluation=f"{folder / 'eval.npz'}:x,y", scale="tf",
            out=tmp_path / "audit",
        )  # fmt: skip
    assert audit(material, out=tmp_path / "audit").causes


def test_an_audit_that_is_broken_off_leaves_no_older_verdict(material, tmp_path, monkeypatch):
    audit(material, out=tmp_path / "audit")
    assert bp.check(tmp_path / "audit", max_bytes="1MB").exit_code == 0

    def killed(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("bitplan.auditing.find_causes", killed)
    with pytest.raises(KeyboardInterrupt):
        audit(material, out=tmp_path / "audit", seed=1)
    with pytest.raises(RunFolderError, match="neither a run nor a finished audit"):
        bp.check(tmp_path / "audit", max_bytes="1MB")


def test_a_size_that_cannot_be_read_stops_an_audit_at_once(material, monkeypatch):
    monkeypatch.setattr("bitplan.auditing._dropped", None)  # not reached
    calibration = f"{material[0] / 'eval.npz'}:x"
    with pytest.raises(UsageError, match="the size 'small' cannot be read"):
        audit(material, calibration=calibration, size_budget="small")
    with pytest.raises(UsageError, match="it makes none"):
        audit(material, size_budget="1MB")


def test_sources_and_the_whole_stand_on_the_same_samples(material, monkeypatch):
    monkeypatch.setattr("bitplan.auditing._DIVIDED_ON", 8)
    found = bp.audit(
        material[0] / "float.tflite", material[0] / "int8.tflite", evaluation=f"{material[0] / 'eval.npz'}:x,y",
        scale="tf", samples=24,
    )  # fmt: skip
    assert found.samples == found.attribution.samples == 8
    assert found.measured_nmse == found.attribution.measured_nmse
    assert sum(kind.nmse for kind in found.attribution.kinds) == pytest.approx(found.measured_nmse)


def test_one_sample_has_a_share_and_no_interval(material):
    """The audit of these tests studies one sample."""
    causes = audit(material).causes
    assert causes and all(cause.samples == 1 and cause.share_interval is None for cause in causes)


def test_balanced_vectors_name_their_places(material, tmp_path):
    folder, _, labels = material
    made = bp.export_vectors(
        folder / "float.tflite", evaluation=f"{folder / 'eval.npz'}:x,y", scale="tf", samples=10, balanced=True,
        kernels="reference", out=tmp_path / "v",
    )  # fmt: skip
    assert made.labels == tuple(labels[list(made.index)]) and len(set(made.labels)) == 10
    np.testing.assert_allclose(
        np.load(tmp_path / "v" / "output_0.npy")[:, 0],
        answers(folder / "float.tflite", material[1][list(made.index)]), atol=1e-5,
    )  # fmt: skip
