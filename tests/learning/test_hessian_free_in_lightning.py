"""The optimiser in anyone's LightningModule, with Lightning's own checkpoints."""

from __future__ import annotations

import pytest
import pytorch_lightning as lightning
import torch

from hessian_free import HessianFree, SoftmaxCrossEntropy, closures
from tests.hessian_free.helpers import make_data, make_network
from tests.hessian_free.test_resume import flat


@pytest.mark.slow
def test_a_lightning_checkpoint_resumes_bit_identically(tmp_path) -> None:
    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False
            self.network = make_network((4, 6, 3), "sigmoid").float()
            x, t = make_data(80, 4, 3, "softmax")
            self.data = closures(self.network, SoftmaxCrossEntropy, x.float(), t, 16, 0.5, seed=3)

        def configure_optimizers(self):
            return HessianFree(self.parameters())

        def training_step(self, batch, index) -> None:  # noqa: ARG002
            self.optimizers().step(closure=self.data.closure, **self.data.for_step)

    def fit(epochs: int, checkpoint=None):
        module = Module()
        trainer = lightning.Trainer(
            max_epochs=epochs, logger=False, enable_progress_bar=False, enable_model_summary=False,
            enable_checkpointing=False, accelerator="cpu", default_root_dir=tmp_path,
        )  # fmt: skip
        loader = torch.utils.data.DataLoader(torch.zeros(1, 1))
        trainer.fit(module, loader, ckpt_path=checkpoint)
        return module, trainer

    whole, _ = fit(4)
    _, trainer = fit(2)
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    resumed, _ = fit(4, tmp_path / "two.ckpt")
    assert torch.equal(flat(whole), flat(resumed))
