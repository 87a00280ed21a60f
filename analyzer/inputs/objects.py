"""Samples from Python objects: arrays, dicts, generators, `representative_dataset` functions, `tf.data` pipelines.

TensorFlow is never imported here: a `tf.data.Dataset` is known by its methods.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .columns import stack
from .functions import call, iterate
from .input_spec import InputSpec, shape_text
from .raw_data import RawData, as_array, choose_columns, columns_of, find_labels, require_numbers

_FORMS = "give an array, (x, y), a dict by input name, a tf.data.Dataset or a representative_dataset function"


def read_object(data: Any, inputs: Sequence[InputSpec], limit: int | None, free: bool, name: str = "") -> RawData:
    """Reads samples out of a Python object.

    Args:
      data: One of
        an array [n, ...] for the only input;
        (x, y) of samples and labels, where x is any of the other forms of whole arrays;
        a dict of arrays by input name (with labels under `y`, `label` ..., if at all);
        a list of arrays, one for each of several inputs, or a list of samples;
        a `tf.data.Dataset`, batched or not, of x, (x, y), (x, y, weight) or dicts;
        an iterable of samples: lists in the order of the inputs or dicts by their names, each with a leading batch
        dimension or without, or (x, y), or (signature key, dict);
        a function without arguments that returns one of these: a `representative_dataset`.
      limit: Samples after which an iterable is read no further.
      free: Whether a preprocessing function makes the model's inputs of what is here.
      name: What to call it in messages and in the record.

    Raises:
      DataError: It is none of these, holds no numbers, or a function or generator of the user's raised.
    """
    if callable(data) and not hasattr(data, "__array__"):
        name = name or f"function {getattr(data, '__qualname__', type(data).__name__)}"
        result = call(data, what=name)
        if callable(result) and not hasattr(result, "__array__"):
            raise DataError(f"{name} returns a function", _FORMS)
        return read_object(result, inputs, limit, free, name)
    if hasattr(data, "as_numpy_iterator") and hasattr(data, "element_spec"):
        return _read_items(_dataset_items(data, limit), inputs, limit, free, name or "tf.data.Dataset")
    if isinstance(data, tuple):
        if len(data) != 2 or isinstance(data[0], str):
            raise DataError(f"a tuple of {len(data)} is no (samples, labels)", "several inputs go in a dict or a list")
        features = _read_features(data[0], inputs, free, name)
        return features if data[1] is None else _with_labels(features, as_array(data[1]))
    if isinstance(data, list) and not _is_input_list(data, inputs):
        return _read_items(data, inputs, limit, free, name or "list of samples")
    if isinstance(data, Mapping | list) or hasattr(data, "__array__"):
        return _read_features(data, inputs, free, name)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not hasattr(data, "__iter__"):
        # A sequence of batches (Keras's PyDataset) that would go on for ever under iter().
        return _read_items((data[i] for i in range(len(data))), inputs, limit, free, name or type(data).__name__)
    if isinstance(data, Iterable) and not isinstance(data, str | bytes):
        return _read_items(data, inputs, limit, free, name or type(data).__name__)
    raise DataError(f"samples cannot be read out of a {type(data).__name__}", _FORMS)


def _with_labels(data: RawData, labels: Any) -> RawData:
    return RawData(data.columns, data.names, labels, data.source)


def _is_input_list(data: list[Any], inputs: Sequence[InputSpec]) -> bool:
    """Whether a list holds one array for each of several inputs, as Keras takes them, rather than samples."""
    return len(inputs) > 1 and len(data) == len(inputs) and all(hasattr(value, "__array__") for value in data)


def _read_features(x: Any, inputs: Sequence[InputSpec], free: bool, name: str) -> RawData:
    """Whole arrays, each of which counts the samples in its first dimension."""
    names = tuple(spec.name for spec in inputs)
    labels = None
    if isinstance(x, Mapping):
        keys, names = choose_columns(list(x), inputs, name or "the dict", free)
        arrays = {new: np.asarray(x[key]) for new, key in zip(names, keys, strict=True)}
        label = find_labels(x, keys)
        labels = None if label is None else np.asarray(x[label])
    elif isinstance(x, list) and _is_input_list(x, inputs):
        arrays = dict(zip(names, map(np.asarray, x), strict=True))
    elif len(inputs) > 1 and not free:
        raise DataError(
            f"one array was given, the model has {len(inputs)} inputs: {', '.join(names)}", "give a dict of arrays"
        )
    elif isinstance(x, list) and not (len(x) == 1 and inputs[0].is_batch(np.shape(x[0]))):
        samples = [as_array(sample) for sample in x]
        for sample in samples:
            require_numbers(sample, "a sample")
        if not samples:
            raise DataError("the list of samples is empty", "give at least one sample")
        return RawData((stack(samples),), names[:1], None, name or "list of samples")
    else:
        names, arrays = names[:1], {names[0]: np.asarray(x[0] if isinstance(x, list) else x)}
    columns = columns_of(arrays)
    described = ", ".join(f"{array.dtype} {shape_text(array.shape)}" for array in arrays.values())
    return RawData(columns, names, labels, name or f"arrays: {described}")


def _dataset_items(dataset: Any, limit: int | None) -> Iterator[Any]:
    if limit is None and int(dataset.cardinality()) == -1:
        raise DataError("the tf.data.Dataset never ends", "say how many samples to take, or leave .repeat() out")
    yield from dataset.as_numpy_iterator()


def _read_items(items: Iterable[Any], inputs: Sequence[InputSpec], limit: int | None, free: bool, name: str) -> RawData:
    """Collects an iterable of samples or batches of them."""
    arrays: list[list[NDArray[Any]]] = []
    labels: list[NDArray[Any]] = []
    names: tuple[str, ...] = ()
    for number, item in enumerate(iterate(items, name)):
        where = f"item {number} of {name}"
        values, label, item_names = _split_item(item, inputs, free, where)
        if arrays and item_names != names:
            raise DataError(f"{where} has {_listed(item_names)}, the ones before it {_listed(names)}", "yield one form")
        names = item_names
        arrays = arrays or [[] for _ in values]
        batched = _batch_length(values, inputs, free, where)
        for column, value in zip(arrays, values, strict=True):
            column.extend(value[None] if batched is None else value)
        if label is not None:
            labels.extend(_item_labels(label, batched, where))
        if limit is not None and len(arrays[0]) >= limit:
            break
    if not arrays or not arrays[0]:
        raise DataError(f"{name} gives no samples", "a generator can be read once: give the function that makes it")
    if labels and len(labels) != len(arrays[0]):
        raise DataError(f"{len(labels)} of {len(arrays[0])} samples of {name} have labels", "give all a label, or none")
    if limit is not None:
        arrays, labels = [column[:limit] for column in arrays], labels[:limit]
    return RawData(tuple(stack(column) for column in arrays), names, _stack_labels(labels), name)


def _split_item(
    item: Any, inputs: Sequence[InputSpec], free: bool, where: str
) -> tuple[list[NDArray[Any]], Any, tuple[str, ...]]:
    """(arrays, label or None, names of the arrays) of one element."""
    features, label = item, None
    if isinstance(item, tuple):
        if len(item) == 2 and isinstance(item[0], str):  # (signature key, inputs), as TensorFlow's converter takes it
            features = item[1]
        elif _fits_inputs(item, inputs):
            features = list(item)
        elif len(item) in (1, 2, 3):  # x, (x, y), (x, y, sample weight)
            features, label = item[0], item[1] if len(item) > 1 else None
        else:
            raise DataError(f"{where} is a tuple of {len(item)}", "yield a list in the order of the inputs, or a dict")
    if isinstance(features, tuple) and _fits_inputs(features, inputs):
        features = list(features)
    names: tuple[str, ...]
    if isinstance(features, Mapping):
        keys, names = choose_columns(list(features), inputs, where, free)
        values = [as_array(features[key]) for key in keys]
        found = find_labels(features, keys)
        if label is None and found is not None:
            label = features[found]
    else:
        parts = features if isinstance(features, list) else [features]
        values = [as_array(part) for part in parts]
        names = tuple(spec.name for spec in inputs)
        if len(values) != len(inputs):
            if not free:
                raise DataError(
                    f"{where} has {len(values)} arrays, the model has {len(inputs)} inputs: {', '.join(names)}",
                    "yield one array for each input: a list in this order, or a dict by name",
                )
            names = tuple(f"input {index}" for index in range(len(values)))
    for value, name in zip(values, names, strict=True):
        require_numbers(value, f"{where}, {name},")
    return values, label, names


def _fits_inputs(item: tuple[Any, ...], inputs: Sequence[InputSpec]) -> bool:
    """Whether a tuple is one array for each of several inputs rather than (x, y): only where each has its shape."""
    if len(inputs) < 2 or len(item) != len(inputs) or not all(hasattr(value, "shape") for value in item):
        return False
    return all(
        spec.matches(value.shape) or spec.matches(value.shape[1:]) for spec, value in zip(inputs, item, strict=True)
    )


def _batch_length(values: Sequence[NDArray[Any]], inputs: Sequence[InputSpec], free: bool, where: str) -> int | None:
    """Number of samples in one element; None where it is one sample without a batch dimension."""
    if len(values) == len(inputs):
        batched = [spec.is_batch(value.shape) for spec, value in zip(inputs, values, strict=True)]
    else:  # only a preprocessing function knows these arrays
        batched = [value.ndim > 0 and value.shape[0] == 1 for value in values]
    if not any(batched):
        return None
    lengths = {value.shape[0] if value.ndim else 0 for value in values}
    if len(lengths) > 1:
        # With a function, an input's own shape says little of the array's: unequal lengths are one sample's sides.
        if free:
            return None
        listed = ", ".join(shape_text(value.shape) for value in values)
        wanted = ", ".join(shape_text(spec.shape) for spec in inputs)
        raise DataError(f"{where} has the shapes {listed}, the model takes {wanted}", "batch all inputs alike")
    return lengths.pop()


def _item_labels(label: Any, batched: int | None, where: str) -> Iterable[NDArray[Any]]:
    value = as_array(label)
    if batched is None or (value.ndim == 0 and batched == 1):
        return [value[0] if value.shape[:1] == (1,) else value]
    if value.ndim == 0 or len(value) != batched:
        raise DataError(f"{where} has {batched} samples and labels {shape_text(value.shape)}", "give one for each")
    return [part[0] if part.shape == (1,) else part for part in value]


def _stack_labels(labels: Sequence[NDArray[Any]]) -> NDArray[Any] | None:
    if not labels:
        return None
    if any(label.shape != labels[0].shape for label in labels):
        raise DataError("the labels have unequal shapes", "give one class index for each sample")
    return np.stack(labels)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
