"""Weights & Biases: a mirror of the curve and the result, where the config asks for it; never the record itself."""

import logging
from typing import Any

from pytorch_lightning.loggers import WandbLogger

from isoflop.folder import RunFolder
from isoflop.scaling.config.frozen import FrozenConfig


def open_logger(config: FrozenConfig, folder: RunFolder) -> WandbLogger | None:
    """The logger that the config asks for: none, or W&B grouped by sweep and tagged by family."""
    wanted = config.logger
    if wanted.name != "wandb":
        return None
    logger = WandbLogger(
        project=wanted.project,
        entity=wanted.entity,
        offline=wanted.offline,
        save_dir=str(folder.path),
        name=f"{config.names.family}-w{config.width}-d{config.depth}-s{config.seed}",
        group=config.sweep,
        tags=[config.names.family, *config.tags],
        config=config.to_json(),
        settings={"silent": True, "console": "off"},
    )
    logger.experiment.define_metric("D")
    logger.experiment.define_metric("C")
    return logger


def close_logger(logger: WandbLogger | None, result: dict[str, Any]) -> None:
    """Send the result and say how the run ended; the record stands already, so trouble here is only logged."""
    if logger is None:
        return
    try:
        logger.log_metrics({k: v for k, v in result.items() if k.startswith("L")})
        logger.experiment.finish(exit_code=int(result["status"] != "ok"))
    except Exception:
        logging.getLogger(__name__).exception("W&B was not told how the run ended")
