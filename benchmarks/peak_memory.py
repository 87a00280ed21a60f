"""Peak memory of an analysis of MobileNetV2 at 224x224 with 1000 images; prints a JSON object.

python benchmarks/peak_memory.py [--images 1000] [--sensitivity refined]
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

_MAKE = """
import pathlib, sys
sys.path.insert(0, sys.argv[1])
from scaled_networks import mobilenetv2_224
pathlib.Path(sys.argv[2]).write_bytes(mobilenetv2_224())
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--sensitivity", default="refined")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        # Built elsewhere: Keras would count in the peak.
        here = str(pathlib.Path(__file__).parent)
        subprocess.run([sys.executable, "-c", _MAKE, here, str(folder / "model.tflite")], check=True)
        images = np.random.default_rng(0).integers(0, 256, (args.images, 224, 224, 3), np.uint8)
        np.savez(folder / "images.npz", x=images)
        del images
        os.environ["BITPLAN_CACHE"] = str(folder / "cache")
        start = time.perf_counter()
        command = [
            sys.executable, "-c", "from bitplan.cli import main; main()", "analyze", str(folder / "model.tflite"),
            "--scale", "tf", "--calibration", f"{folder / 'images.npz'}:x", "--calibration-samples", str(args.images),
            "--sensitivity", args.sensitivity, "--no-left-float", "--out", str(folder / "out"), "--json",
        ]  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
        measured = json.loads((folder / "out" / "measured.json").read_text())["figures"]
    print(json.dumps({
        "peak_rss_bytes": int(measured["peak_rss_bytes"]),
        "peak_rss_images": args.images,
        "peak_rss_analysis_s": seconds,
    }, indent=1))  # fmt: skip


if __name__ == "__main__":
    main()
