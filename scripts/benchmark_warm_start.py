"""What the weights of another run are good for where recordings are few: eight words of ten clips each, and a denoiser.

    python scripts/benchmark_warm_start.py words FOLDER       # of Speech Commands, with more words than the eight
    python scripts/benchmark_warm_start.py denoiser FOLDER    # with noisy/ and clean/

The variant is chosen by the validation split; the test split is read once, of that variant and of training from scratch.
What is done is not trained again, and what was stopped goes on.
"""

import argparse
import contextlib
import io
import statistics
import sys
from pathlib import Path

from speechml.config.compose_app import compose_app
from speechml.data.word_schema import WORDS
from speechml.engine.train import train
from speechml.runs.card import load_card
from speechml.runs.identity import run_id

EIGHT = ("yes", "no", "up", "down", "left", "right", "stop", "go")
STUDENT_T = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 8: 2.36, 10: 2.26}  # two-sided, 95 %, by the number of seeds
QUIET = ("report=false", "callbacks.figures=null", "callbacks.progress=null")
FROZEN = "init.freeze=[net.norm,net.stem,net.blocks.0,net.blocks.1]"
SCRATCH = "from scratch"
also: list[str] = []  # what all runs have besides, as a narrower network where there is little time
Variants = dict[str, tuple[str, ...]]


def run(name: str, *words: str) -> tuple[Path, dict[str, float]]:
    """Train, unless that is done: the folder of the run, and its scores."""
    cfg = compose_app("train", [*words, *also, f"name={name}", "paths.runs=runs", *QUIET])
    folder = Path("runs") / name / run_id(cfg)
    with contextlib.redirect_stdout(io.StringIO()):
        train(cfg)
    card = load_card(folder)
    assert card, folder
    return folder, {score: value for score, value in card.scores.items() if value is not None}


def compare(variants: Variants, seeds: int, score: str, per_seed: str = "seed={0}") -> None:
    """Print each variant's validation over the seeds, and the test of the best and of training from scratch."""
    found = {
        name: [run("child", *words, *per_seed.format(seed).split())[1] for seed in range(seeds)]
        for name, words in variants.items()
    }
    print(f"\n{score}, mean of {seeds} seeds and its 95 % interval\n{'':44}validation")
    for name, rows in found.items():
        print(f"{name:44}{interval([row[f'val/{score}'] for row in rows])}")
    best = max(
        (name for name in found if name != SCRATCH), key=lambda n: statistics.mean(r[f"val/{score}"] for r in found[n])
    )
    print(f"\n{'':44}test")
    for name in (SCRATCH, best):
        print(f"{name:44}{interval([row[f'test/{score}'] for row in found[name]])}")
    gains = [b[f"test/{score}"] - a[f"test/{score}"] for a, b in zip(found[SCRATCH], found[best], strict=True)]
    print(f"{'difference, seed by seed':44}{interval(gains)}")


def interval(values: list[float]) -> str:
    """Mean and interval by Student's t."""
    mean = statistics.mean(values)
    if len(values) < 2:
        return f"{mean:7.3f}"
    half = STUDENT_T.get(len(values), 2.0) * statistics.stdev(values) / len(values) ** 0.5
    return f"{mean:7.3f}  [{mean - half:.3f}, {mean + half:.3f}]"


def words(root: Path, seeds: int, steps: tuple[int, int]) -> None:
    """Eight words, ten clips each; the parents know the other words of the folder, by speakers that are not in the test."""
    common = (
        "experiment=words_tuned",
        "trainer.precision=32",
        "data.batch_size=32",
        "trainer.check_val_every_n_epoch=20",
    )
    found = sorted(folder.name for folder in root.iterdir() if folder.is_dir() and folder.name[0] != "_")
    others, eight = (",".join(f"'{word}'" for word in chosen) for chosen in (sorted({*found} - {*EIGHT}), EIGHT))
    spoken = ",".join(f"'{word}'" for word in WORDS if word not in EIGHT)
    length = f"trainer.max_steps={steps[0]}"
    synthetic, scores = run("synthetic", *common, "data=spoken_words", f"data.words=[{spoken}]", length)
    print(f"synthetic: the other words, of voices of espeak-ng; test accuracy {scores['test/acc']:.3f}", flush=True)
    real = (*common, f"data.root={root.absolute()}", f"data.words=[{others}]", length)
    parent, scores = run("parent", *real)
    print(f"parent: the other words; test accuracy {scores['test/acc']:.3f}", flush=True)
    both, scores = run("parent", *real, f"init.from={synthetic}")
    print(f"parent that began with the synthetic one; test accuracy {scores['test/acc']:.3f}", flush=True)
    child = (*common, f"data.root={root.absolute()}", f"data.words=[{eight}]", "data.clips_per_word=10",
             f"trainer.max_steps={steps[1]}")  # fmt: skip
    variants: Variants = {
        SCRATCH: child,
        "parent": (*child, f"init.from={parent}"),
        "synthetic, then parent": (*child, f"init.from={both}"),
        "synthetic, then parent, half frozen": (*child, f"init.from={both}", FROZEN),
        "the same, clips unmixed": (*child, f"init.from={both}", FROZEN, "model.augment.mix=0"),
        "the same, weights averaged": (*child, f"init.from={both}", FROZEN, "trainer.ema=0.99"),
    }
    compare(variants, seeds, "acc", "seed={0} data.split_seed={0}")


def denoiser(root: Path, seeds: int, steps: tuple[int, int]) -> None:
    """A small denoiser, trained on the embedded pairs, adapted to recordings."""
    spoken = ("experiment=mimo_cnn_tuned", f"trainer.max_steps={max(1, steps[0] // 60)}")
    parent, scores = run("parent", *spoken)
    print(f"parent: embedded pairs, test SNR {scores['test/snr_db']:.2f} dB")
    child = ("experiment=mimo_cnn_tuned", "data=wav_pairs", "data.sample_rate=32000", f"data.root={root.absolute()}",
             f"trainer.max_steps={max(1, steps[1] // 60)}")  # fmt: skip
    variants: Variants = {SCRATCH: child, "parent": (*child, f"init.from={parent}")}
    compare(variants, seeds, "snr_db", "seed={0} data.split_seed={0}")


def main() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("words", "denoiser"))
    parser.add_argument("root", type=Path, metavar="FOLDER")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, nargs=2, default=(1200, 300), help="of a parent and of a child")
    parser.add_argument("--also", nargs="*", default=[], metavar="KEY=VALUE", help="for all runs")
    options = parser.parse_args()
    also.extend(options.also)
    sys.argv = sys.argv[:1]
    {"words": words, "denoiser": denoiser}[options.what](options.root, options.seeds, tuple(options.steps))


if __name__ == "__main__":
    main()
