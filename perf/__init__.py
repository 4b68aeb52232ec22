# SPDX-License-Identifier: MIT
"""Speed, measured: every number of the README's table comes from a program here. Run from the repository's root:

    python -m perf.run                 all of it in about 10 minutes: results/<date>-<machine>.json, plots
    python -m perf.run --mode full     longer clips, more repetitions
    python -m perf.compare OLD NEW     what got slower beyond the noise

Each part also runs alone: `python -m perf.ladder`, `perf.load`, `perf.passthrough`, `perf.memory`, `perf.latency`,
`perf.frame_profile`, `perf.analyzer`; each says with `--help` what it takes.
"""
