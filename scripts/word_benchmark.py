"""Words: clips delivered as spectrograms, and clips trained on, against a Dataset of single clips with a DataLoader."""

import itertools
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import torch
import torch.nn.functional as F
import torchaudio
from torch import Tensor

from side_by_side import interleave, ratio
from speechml.contracts import IndexBatch
from speechml.data import SpeechCommands
from speechml.models import SpectrogramCNN
from speechml.process import keep_memory
from speechml.signal.front_ends import FrontEnd
from speechml.tasks import Classifier

RATE, BATCH = 16000, 128
WORDS = ("yes", "no", "up", "down", "left", "right", "stop", "go")


class ClipDataset(torch.utils.data.Dataset):
    """The usual way: each clip is read, padded and transformed when it is asked for."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files
        self.transform = torchaudio.transforms.Spectrogram(
            n_fft=512, win_length=480, hop_length=160, power=None, normalized=True
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        samples, _ = soundfile.read(self.files[index], dtype="float32")
        clip = F.pad(torch.from_numpy(samples), (0, RATE - len(samples)))[:RATE]
        spectrum = torch.view_as_real(self.transform(clip)).permute(2, 0, 1)
        return spectrum, WORDS.index(self.files[index].parent.name)


def run(quick: bool) -> None:
    """Print the three parts of the comparison."""
    torch.manual_seed(0)
    keep_memory()  # as every run of speechml does; all contenders gain by it
    print(
        f"Clips of 1 s at 16 kHz, batches of {BATCH}, complex spectrograms, {torch.get_num_threads()} threads; "
        "medians of rounds side by side."
    )
    with tempfile.TemporaryDirectory() as folder:
        root = make_clips(Path(folder) / "words", 1280 if quick else 2560)
        started = time.perf_counter()
        data = open_clips(root, folder)
        count = len(data.item_names)
        print(f"Packing {count} clips, once: {count / (time.perf_counter() - started):,.0f} clips/s.")
        _delivery(data, sorted(root.glob("*/*.wav")), rounds=3 if quick else 7)
        _training(data, sorted(root.glob("*/*.wav")), steps=3 if quick else 6, rounds=3 if quick else 5)
    _second_start(1000 if quick else 65_000)
    where = "is not measured: this machine has none" if not torch.cuda.is_available() else "follows"
    print(f"Training on a GPU {where}.")
    if torch.cuda.is_available():
        _gpu()


def make_clips(root: Path, count: int) -> Path:
    """A folder of clips of noise, some of them shorter than a second, as in the data set."""
    random = np.random.default_rng(0)
    for i in range(count):
        path = root / WORDS[i % len(WORDS)] / f"{i:08x}_nohash_0.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        length = RATE if i % 10 else RATE * 3 // 4
        soundfile.write(path, 0.1 * random.standard_normal(length), RATE, subtype="PCM_16")
    return root


def open_clips(root: Path, folder: str) -> SpeechCommands:
    """The clips as speechml reads them."""
    return SpeechCommands(
        root=root,
        words=list(WORDS),
        split="random",
        sample_rate=RATE,
        batch_size=BATCH,
        split_seed=0,
        cache=f"{folder}/cache",
    )


def _packed(data: SpeechCommands, front: FrontEnd) -> Iterator[Tensor]:
    numbers = torch.randperm(len(data.item_names))
    for batch in numbers.split(BATCH):
        yield front(data.load_batch(IndexBatch("train", 0, batch)).waveform)


def _delivery(data: SpeechCommands, files: list[Path], rounds: int) -> None:
    front = FrontEnd("complex")
    steps: dict[str, Callable[[], object]] = {"packed": lambda: deque(_packed(data, front), maxlen=0)}
    for workers in (0, 2):
        loader = torch.utils.data.DataLoader(
            ClipDataset(files), BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0
        )
        next(iter(loader))  # the workers start outside the measurement
        steps[f"DataLoader, {workers} workers"] = partial(deque, loader, 0)
    times = interleave(steps, rounds, seconds=float("inf"))
    print("\n(a) from the file, or the pack, to complex spectrograms: clips/s, and times as many as with a DataLoader")
    for name, seconds in times.items():
        print(f"  {name:24}{len(files) / statistics.median(seconds):10,.0f}{ratio(times, name, 'packed'):8.2f}")


def _task() -> Classifier:
    net = {"_target_": "speechml.models.SpectrogramCNN", "channels": 2}
    return Classifier(net, {"kind": "complex"}, RATE, classes=list(WORDS)).train()


def _plain_steps(files: list[Path], workers: int, device: torch.device) -> Iterator[None]:
    """The plain loop in float32; one step at a time."""
    loader = torch.utils.data.DataLoader(
        ClipDataset(files), BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0, drop_last=True
    )
    net = SpectrogramCNN(channels=2, classes=len(WORDS)).train().to(device)
    optimizer = torch.optim.Adam(net.parameters(), 0.001)
    while True:
        for spectrum, label in loader:
            loss = F.cross_entropy(net(spectrum.to(device)), label.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()
            yield


def _own_steps(
    data: SpeechCommands, half: bool, waits: list[tuple[float, float]], device: torch.device
) -> Iterator[None]:
    """Speechml's step: gather, front end, channels last, and bfloat16 where `half`; seconds for data and in all."""
    task = _task().to(device)
    task.setup_for(data)
    optimizer = torch.optim.Adam(task.parameters(), 0.001)
    for epoch in itertools.count():
        for numbers in data._groups_of(epoch):
            if len(numbers) < BATCH:
                continue
            started = time.perf_counter()
            batch = data.load_batch(IndexBatch("train", epoch, numbers.to(device)))
            delivered = time.perf_counter()
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                loss, _ = task.training_loss(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()
            waits.append((delivered - started, time.perf_counter() - started))
            yield


def _training(data: SpeechCommands, files: list[Path], steps: int, rounds: int) -> None:
    cpu = torch.device("cpu")
    waits: list[tuple[float, float]] = []
    ways = {
        "plain, float32, 0 workers": _plain_steps(files, 0, cpu),
        "plain, float32, 2 workers": _plain_steps(files, 2, cpu),
        "speechml, float32": _own_steps(data, False, [], cpu),
        "speechml, bf16-mixed": _own_steps(data, True, waits, cpu),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for steps_of in ways.values():
        next(steps_of)
    for _ in range(rounds):
        for name, steps_of in ways.items():
            time.sleep(1)  # until the loader's workers have filled their queue, which the loader then has for nothing
            started = time.perf_counter()
            for _ in range(steps):
                next(steps_of)
            times[name].append((time.perf_counter() - started) / steps)
    print("\n(b) training the book's complex network: clips/s, and times as many as the plain loop with 2 workers")
    for name, seconds in times.items():
        more = ratio(times, "plain, float32, 2 workers", name)
        print(f"  {name:28}{BATCH / statistics.median(seconds):8.1f}{more:8.2f}")
    share = sum(wait for wait, _ in waits) / sum(all_ for _, all_ in waits)
    print(f"\n(c) share of a bf16-mixed training step that waits for data: {share:.2%}\n")


def _second_start(count: int) -> None:
    """How fast the pack of a folder of many clips is made, and found again."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "words"
        one = make_clips(Path(folder) / "one", len(WORDS))
        contents = [next((one / word).glob("*.wav")).read_bytes() for word in WORDS]
        for word, content in zip(WORDS, contents, strict=True):
            (root / word).mkdir(parents=True)
            for i in range(count // len(WORDS)):
                (root / word / f"{i:08x}_nohash_0.wav").write_bytes(content)
        found = []
        for _ in range(4):
            started = time.perf_counter()
            data = SpeechCommands(root=root, sample_rate=RATE, batch_size=BATCH, split_seed=0, cache=f"{folder}/cache")
            clips = len(data.item_names)
            found.append(time.perf_counter() - started)
        print(f"{clips:,} clips: packed at {clips / found[0]:,.0f} clips/s, found again in {min(found[1:]):.2f} s.")


def _gpu() -> None:
    """Training with the clips on the GPU against the loop with a loader, and what 40 epochs of the book's take."""
    device = torch.device("cuda")
    with tempfile.TemporaryDirectory() as folder:
        root = make_clips(Path(folder) / "words", 5120)
        data = open_clips(root, folder)
        ways = {
            "plain, 8 workers": _plain_steps(sorted(root.glob("*/*.wav")), 8, device),
            "speechml, float32": _own_steps(data, False, [], device),
            "speechml, bf16-mixed": _own_steps(data, True, [], device),
        }
        for name, steps_of in ways.items():
            for _ in range(20):
                next(steps_of)
            torch.cuda.synchronize()
            started = time.perf_counter()
            for _ in range(100):
                next(steps_of)
            torch.cuda.synchronize()
            rate = 100 * BATCH / (time.perf_counter() - started)
            print(f"  {name:24}{rate:10,.0f} clips/s; 40 epochs of 38,800 clips: {40 * 38_800 / rate:6.0f} s")
