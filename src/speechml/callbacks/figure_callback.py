"""What callbacks that draw share: the curves of a training, and PNG files and TensorBoard images when it was tested."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import lightning.pytorch as pl

from speechml.callbacks.epoch_table import epoch_metrics
from speechml.callbacks.listening import tensorboard_writers
from speechml.report.drawing import draw_curves, pixels, png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Points = list[tuple[int, float]]  # (epoch, from 1; value)


class FigureCallback(pl.Callback):
    """Keeps the curves of a training, and draws when the run has been tested."""

    watched: tuple[str, ...] = ("train/loss", "val/loss")

    def __init__(self) -> None:
        self.curves: dict[str, Points] = {name: [] for name in self.watched}

    def draw(self, trainer: pl.Trainer, module: pl.LightningModule) -> dict[str, Figure]:
        """Draw figures, by name; each subclass draws its own."""
        raise NotImplementedError

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        metrics = epoch_metrics(trainer)
        for name in self.curves.keys() & metrics.keys():
            self.curves[name].append((trainer.current_epoch + 1, metrics[name]))

    def state_dict(self) -> dict[str, dict[str, Points]]:
        return {"losses": self.curves}

    def load_state_dict(self, state_dict: dict[str, dict[str, list[object]]]) -> None:
        for name, values in state_dict["losses"].items():  # the first checkpoints held values without their epochs
            self.curves[name] = [_point(value, epoch) for epoch, value in enumerate(values, 1)]

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined] # Lightning sets it late
            return
        figures = self.draw(trainer, pl_module)
        for score, label in (("loss", f"loss ({pl_module.loss_name})"), ("acc", "accuracy")):
            curves = {name: curve for name, curve in self.curves.items() if name.endswith(score)}
            if figure := draw_curves(curves, label):
                figures[label.partition(" ")[0]] = figure
        folder = Path(trainer.default_root_dir) / "figures"
        folder.mkdir(exist_ok=True)
        for title, figure in figures.items():
            picture = pixels(figure)
            (folder / f"{title}.png").write_bytes(png(picture))
            for writer in tensorboard_writers(trainer):
                writer.add_image(f"figures/{title}", picture, trainer.global_step, dataformats="HWC")


def _point(value: object, epoch: int) -> tuple[int, float]:
    pair = value if isinstance(value, (tuple, list)) else (epoch, value)
    return int(pair[0]), float(pair[1])
