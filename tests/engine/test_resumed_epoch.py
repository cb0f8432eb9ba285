"""What callbacks and tasks do where an epoch begins is done for an epoch that is resumed as well."""

import signal
from pathlib import Path

import pytest

from conftest import read_card
from resuming import SMALL, run_in, steps_of, stop_in
from stress_resume import TASKS, differences

pytestmark = pytest.mark.usefixtures("genre_features")
LONG = (*SMALL, *TASKS["genre"], "trainer.max_epochs=3", "data.batch_size=9", "optimizer=adam")  # 10 batches an epoch

OWN = '''
import lightning.pytorch as pl
import torch
from speechml.tasks import FeatureClassifier


class FreezeFrom(pl.Callback):
    """Freezes the first layer from an epoch on, at every epoch."""

    def __init__(self, epoch=2):
        self.epoch = epoch

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch >= self.epoch:
            next(pl_module.net.parameters()).requires_grad = False


class FreezeOnce(FreezeFrom):
    """Freezes it in one epoch, and never looks again."""

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            next(pl_module.net.parameters()).requires_grad = False


class Thaw(pl.Callback):
    """Trains the last layer alone at first."""

    def setup(self, trainer, pl_module, stage):
        next(pl_module.net.parameters()).requires_grad = False

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 1:
            next(pl_module.net.parameters()).requires_grad = True


class Halve(pl.Callback):
    """Halves the learning rate at every epoch, and shrinks the weights."""

    def on_train_epoch_start(self, trainer, pl_module):
        for group in trainer.optimizers[0].param_groups:
            group["lr"] /= 2
        with torch.no_grad():
            next(pl_module.net.parameters()).mul_(0.9)


class Count(pl.Callback):
    """Knows the epoch by its own counting, with which the dropout falls."""

    epochs = 0

    def __init__(self):
        self.epochs = 0

    def on_train_epoch_start(self, trainer, pl_module):
        self.epochs += 1

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        for module in pl_module.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.5 / self.epochs


class Remember(Count):
    """The same, in a state of its own."""

    def state_dict(self):
        return {"epochs": self.epochs}

    def load_state_dict(self, state_dict):
        self.epochs = state_dict["epochs"]


class Evaluating(pl.Callback):
    """Switches dropout off after the first epoch."""

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 1:
            pl_module.net.eval()


class Clip(pl.Callback):
    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 2:
            trainer.gradient_clip_val = 0.01


class Draw(pl.Callback):
    """Draws from torch's generator, and takes another batch size for the order of later epochs."""

    def on_train_epoch_start(self, trainer, pl_module):
        torch.rand(trainer.current_epoch + 1)
        if trainer.current_epoch == 1:
            trainer.datamodule.seed = 5


class History(Count):
    """As Count, by a list."""

    def __init__(self):
        self.passed = []

    def on_train_epoch_start(self, trainer, pl_module):
        self.passed.append({"epoch": trainer.current_epoch})
        self.epochs = len(self.passed)


class Soften(pl.Callback):
    """Replaces what no checkpoint holds, once."""

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 1:
            pl_module.own_loss = lambda loss: loss / 2


class Average(pl.Callback):
    """Keeps weights, in no state."""

    def __init__(self):
        self.shadow = {}

    def on_train_epoch_start(self, trainer, pl_module):
        self.shadow["net"] = next(pl_module.parameters()).detach().clone()


class OwnTask(FeatureClassifier):
    """Answers ever more softly."""

    softness = 1.0

    def __init__(self, **keys):
        super().__init__(**keys)
        self.softness = 1.0

    def on_train_epoch_start(self):
        super().on_train_epoch_start()
        self.softness *= 2

    def training_loss(self, batch):
        loss, others = super().training_loss(batch)
        return loss / self.softness, others


class Attending(FeatureClassifier):
    """Keeps what it has attended to last, as networks do to be looked at."""

    def forward(self, features):
        out = super().forward(features)
        self.attention, self.net.history = out.detach(), [out.detach()]
        return out


class Tail(FeatureClassifier):
    """Trains its last layer; the first, its backbone, comes later."""

    def __init__(self, **keys):
        super().__init__(**keys)
        self.backbone = next(m for m in self.net.modules() if isinstance(m, torch.nn.Linear))

    def configure_optimizers(self):
        known = {id(weight) for weight in self.backbone.parameters()}
        return torch.optim.Adam([weight for weight in self.parameters() if id(weight) not in known], lr=0.01)
'''


def callback(name: str, **keys: object) -> str:
    target = name if "." in name else f"acting.{name}"
    values = ", ".join([f"_target_: {target}", *(f"{key}: {value}" for key, value in keys.items())])
    return f"+callbacks.own_{name.rpartition('.')[2].lower()}={{{values}}}"


ACCUMULATING = callback("lightning.pytorch.callbacks.GradientAccumulationScheduler", scheduling="{1: 2, 2: 5}")
FINETUNING = callback("lightning.pytorch.callbacks.BackboneFinetuning", unfreeze_backbone_at_epoch=1)
FINETUNING_LATE = callback("lightning.pytorch.callbacks.BackboneFinetuning", unfreeze_backbone_at_epoch=2)
FORMS = {
    "accumulation": ((ACCUMULATING,), 10 + 5 + 2),
    "freezing": ((callback("FreezeFrom"),), 30),
    "freezing once": ((callback("FreezeOnce"),), 30),
    "thawing": ((callback("Thaw"),), 30),
    "a rate and weights that are changed": ((callback("Halve"),), 30),
    "a count": ((callback("Count"),), 30),
    "a list": ((callback("History"),), 30),
    "a count in its state": ((callback("Remember"),), 30),
    "layers in evaluation mode": ((callback("Evaluating"),), 30),
    "clipping": ((callback("Clip"),), 30),
    "draws and the data's order": ((callback("Draw"),), 30),
    "the task's own": (("model._target_=acting.OwnTask",), 30),
    "finetuning": (("model._target_=acting.Tail", "scheduler=none", FINETUNING), 30),
    "finetuning that has just begun": (("model._target_=acting.Tail", "scheduler=none", FINETUNING_LATE), 30),
    "several": ((ACCUMULATING, callback("FreezeOnce"), callback("Halve"), callback("Count"), callback("Clip")), 17),
}


@pytest.fixture(autouse=True)
def own_code(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workplace / "lab").mkdir()
    (workplace / "lab" / "acting.py").write_text(OWN)
    monkeypatch.setenv("SPEECHML_CONF", str(workplace / "lab"))


def test_accumulation_that_depends_on_the_epoch_goes_on_within_one() -> None:
    alone = run_in("alone", *LONG, ACCUMULATING)
    assert steps_of(alone) == 10 + 5 + 2
    stop_in("stopped", 25, signal.SIGTERM, *LONG, ACCUMULATING)
    assert differences(alone, run_in("stopped", *LONG, ACCUMULATING)) == []


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_a_run_resumed_within_an_epoch_is_the_run_left_alone(form: str) -> None:
    words, steps = FORMS[form]
    alone = run_in("alone", *LONG, *words)
    assert steps_of(alone) == steps
    for batch in (14, 20, 25):  # within the second epoch, at the start of the last, within it
        stop_in(f"stopped{batch}", batch, signal.SIGTERM, *LONG, *words)
        assert differences(alone, run_in(f"stopped{batch}", *LONG, *words)) == []
    assert read_card(alone)["state"] == "done"


@pytest.mark.parametrize(("name", "lost"), [("Soften", "model.own_loss"), ("Average", "Average.shadow")])
def test_what_no_checkpoint_can_hold_is_said_when_a_run_goes_on(
    name: str, lost: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stop_in("stopped", 14, signal.SIGTERM, *LONG, callback(name))
    run_in("stopped", *LONG, callback(name))
    assert f"note: {lost} had been changed by a callback" in capsys.readouterr().out


def test_what_a_network_has_left_of_its_last_pass_is_no_loss(capsys: pytest.CaptureFixture[str]) -> None:
    stop_in("stopped", 14, signal.SIGTERM, *LONG, "model._target_=acting.Attending")
    run_in("stopped", *LONG, "model._target_=acting.Attending")
    assert "had been changed by a callback" not in capsys.readouterr().out
