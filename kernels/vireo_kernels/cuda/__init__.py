# SPDX-License-Identifier: MIT
"""The CUDA versions: each `.cu` file and the `.py` file that launches it, through CuPy.

A launching function has five steps: arguments that are checked already, contiguous arrays with a note of their
alignment, a memoised kernel, the result's array, the launch. Nothing synchronises: the work is queued on CuPy's current
stream.

Tests compile the same `.cu` files for the host and run them there through the same launching functions, and compile
them with NVRTC for every architecture from sm_75 to sm_100. They have not run on a GPU in the project's own tests yet.
"""
