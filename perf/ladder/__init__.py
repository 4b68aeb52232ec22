# SPDX-License-Identifier: MIT
"""The ladder of baselines: super-resolution of one clip, 640x360 to 1280x720, in the ways that people build it.

| rung | program |
|---|---|
| (a) picture service | `picture_service`: the client decodes and encodes, pictures go over gRPC to the network |
| (b) one thread | `sequential`: decode, convert, infer, convert, encode, one picture after the other |
| (c) the same, batches of 8 | `sequential` |
| (d) pipelined threads | `pipelined`: everything in one process, all cores busy: the in-process limit |
| (e) our ensemble | `served`: packets in, packets out; 1, 2, 4, 8 streams |
| (f) one file | `served`: the client cuts it into segments |
| floor | `network_alone`: the network on pictures that are there already |

All have the same network file (OpenVINO, f32), the same pixel kernels, the same decoder and x264 settings, the same
clip, and pixels as UINT8 everywhere; whatever is compiled or connected once is so before the clock starts. Rungs with
one sequence and one picture at a time give the same bytes, and `python -m perf.ladder` checks that.
"""
