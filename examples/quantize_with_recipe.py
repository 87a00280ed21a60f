"""Makes a run folder's model again with litert-quantizer alone: python quantize_with_recipe.py RUN_FOLDER OUT.tflite"""

import json
import pathlib
import sys

import numpy as np
from litert_quantizer import quantizer

folder = pathlib.Path(sys.argv[1])
model = next(path for name in ("prepared", "float") if (path := folder / f"{name}.tflite").exists())
ranges = json.loads((folder / "ranges.json").read_text())
statistics = {name: {"min": np.array(low), "max": np.array(high)} for name, (low, high) in ranges.items()}
quantizer.Quantizer(str(model), str(folder / "recipe.json")).quantize(statistics).export_model(sys.argv[2])
