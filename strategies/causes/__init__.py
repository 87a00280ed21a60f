"""Why a quantized file is worse than its float parent: every known cause a candidate, each mended alone and run.

`ranges`, `weights` and `ends` read the file's numbers and propose mends; `inputs` and `kernels` run the file itself on
other inputs and by other kernels; `trial` runs the mends and puts what they win in order.
"""
