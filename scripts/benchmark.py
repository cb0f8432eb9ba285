"""Time the library's computations against the ones they replace, side by side in one process."""

import argparse
from importlib import import_module

import torch

from speechml.process import keep_memory

BENCHMARKS = {
    "convolution": "causal convolution, forward and backward: lab 2B's network step, then a table of shapes",
    "windows": "homework 2's 2D CNN: one window at a time against all at once, and `speechml denoise` on one core",
    "words": "clips delivered and trained on, against a Dataset of single clips with a DataLoader; packing",
    "features": "music: hand-made features against the exercise's loop over blocks, on one core",
    "saving": "checkpoints: the share of a training that goes into writing them",
    "sweeps": "runs side by side, the time outside training, plans",
    "fused": "small networks trained together: a search, many seeds, what a run costs; training beside busy processes",
    "reports": "`speechml compare` of two runs, `speechml report` of a run and of a sweep of 50",
}


def main() -> None:
    """Run one of them."""
    described = "\n".join(f"  {name:12}{text}" for name, text in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=f"benchmarks:\n{described}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", metavar="NAME", choices=BENCHMARKS, help="one of those below")
    parser.add_argument("--quick", action="store_true", help="less data and fewer rounds")
    parser.add_argument("--threads", type=int, default=2, help="threads of the processor to use")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    keep_memory()  # as every run of speechml does; all contenders gain by it
    import_module(f"{options.name.removesuffix('s')}_benchmark").run(options.quick)


if __name__ == "__main__":
    main()
