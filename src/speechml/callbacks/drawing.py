"""What all figures share: drawn when a run has been tested, as PNG and in TensorBoard, with the curves of the training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np

from speechml.callbacks.epoch_table import fresh
from speechml.callbacks.listening import writers

SIZE = (9, 4)  # inches
DPI = 110
Curve = list[tuple[int, float]]  # (epoch, from 1; value)


class Drawings(pl.Callback):
    """Keeps the curves of a training, and draws when the run has been tested."""

    watched: tuple[str, ...] = ("train/loss", "val/loss")

    def __init__(self) -> None:
        self.curves: dict[str, Curve] = {name: [] for name in self.watched}

    def drawn(self, trainer: pl.Trainer, module: Any) -> dict[str, Any]:
        """Figures by name; each class's own."""
        raise TypeError(
            f"{type(self).__name__} draws nothing of {type(module).__name__} under {type(trainer).__name__}"
        )

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        for name, values in self.curves.items():
            if name in fresh(trainer):
                values.append((trainer.current_epoch + 1, fresh(trainer)[name]))

    def state_dict(self) -> dict[str, Any]:
        return {"losses": self.curves}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name, values in state_dict["losses"].items():  # the first checkpoints held values without their epochs
            pairs = [v if isinstance(v, (tuple, list)) else (i, v) for i, v in enumerate(values, 1)]
            self.curves[name] = [(int(epoch), float(value)) for epoch, value in pairs]

    def on_test_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        from PIL import Image

        figures = self.drawn(trainer, pl_module)
        losses = {name: curve for name, curve in self.curves.items() if name.endswith("loss")}
        if any(losses.values()):
            figures["loss"] = per_epoch(losses, f"loss ({pl_module.loss_name})", log=True)
        folder = Path(trainer.default_root_dir) / "figures"
        folder.mkdir(exist_ok=True)
        for title, figure in figures.items():
            picture = rendered(figure)
            Image.fromarray(picture).save(folder / f"{title}.png", compress_level=3)
            for writer in writers(trainer):
                writer.add_image(f"figures/{title}", picture, trainer.global_step, dataformats="HWC")


def rendered(figure: Any) -> np.ndarray:
    """A figure as a picture (height, width, 4), drawn once: `savefig` and TensorBoard would draw it three times."""
    figure.set_dpi(DPI)
    figure.canvas.draw()
    return np.array(figure.canvas.buffer_rgba())


def canvas(rows: int | tuple[int, int] = 1, size: tuple[float, float] | None = None, **options: Any) -> tuple[Any, Any]:
    """A figure and its axes, without pyplot: nothing global, nothing that needs a screen.

    Args:
        rows: of axes, or rows and columns.
        size: in inches.
        options: of matplotlib's `subplots`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size or (SIZE[0], SIZE[1] * (1 if rows == 1 else 1.4)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(*(rows if isinstance(rows, tuple) else (rows,)), **options)
    for axis in np.atleast_1d(axes).flat:
        axis.grid(alpha=0.3)
    return figure, axes


def per_epoch(curves: dict[str, Curve], label: str, log: bool = False) -> Any:
    """Curves against the epoch."""
    figure, axis = canvas()
    for name, values in ((n, v) for n, v in curves.items() if v):
        axis.plot(*zip(*values, strict=True), marker="o", markersize=3, label=name)
    axis.xaxis.get_major_locator().set_params(integer=True)
    if log and all(v > 0 for values in curves.values() for _, v in values):
        axis.set_yscale("log")
    axis.set(xlabel="epoch", ylabel=label, title=f"{label} per epoch")
    axis.legend()
    return figure


def confusion_matrix(counts: np.ndarray, classes: list[str], what: str = "clips") -> Any:
    """Rows: what it was; columns: what it was taken for, in % of the row. Shape: counts (classes, classes)."""
    size = max(5.0, 0.32 * len(classes) + 2)
    figure, axis = canvas(size=(size + 1, size))
    share = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    image = axis.imshow(share, cmap="Blues", vmin=0, vmax=100)
    axis.grid(False)
    ticks = range(len(classes))
    axis.set_xticks(ticks, classes, rotation=90)
    axis.set_yticks(ticks, classes)
    axis.set(xlabel="taken for", ylabel="was", title=f"confusions on {counts.sum()} test {what}, % of each row")
    for row, column in zip(*np.nonzero(counts), strict=True):
        colour = "white" if share[row, column] > 50 else "black"
        axis.text(column, row, f"{share[row, column]:.0f}", ha="center", va="center", fontsize=7, color=colour)
    figure.colorbar(image, ax=axis, shrink=0.8)
    return figure
