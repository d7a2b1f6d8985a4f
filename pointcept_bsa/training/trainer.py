"""The trainer: builds everything a config describes, then trains, with hooks before and after every part."""

from __future__ import annotations

import contextlib
import functools
import math
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded import comm
from pointcept_bsa.host.embedded.collate import PaddedCollate, collate_fn
from pointcept_bsa.host.embedded.config import Config, config_hash, config_text
from pointcept_bsa.host.embedded.hook import HookBase
from pointcept_bsa.host.embedded.logger import get_root_logger, hold_for_file
from pointcept_bsa.host.embedded.registry import HOOKS, TRAINERS, build_dataset, build_model
from pointcept_bsa.host.memory import memory_watched
from pointcept_bsa.samples import to_device
from pointcept_bsa.training.checkpoints.checkpoint import unwrap
from pointcept_bsa.training.checkpoints.record import record_of
from pointcept_bsa.training.diagnosis import training_advice
from pointcept_bsa.training.env import get_device
from pointcept_bsa.training.events import EventStorage, MetricsWriter
from pointcept_bsa.training.graph import FlatGradients, FlatStep, GraphedStep, compile_blocks
from pointcept_bsa.training.guard import NanGuard, total_norm
from pointcept_bsa.training.loader import TrainingPlan, TrainLoader, build_eval_loader, build_train_loader, make_plan
from pointcept_bsa.training.optimizer import MovingAverage, build_optimizer
from pointcept_bsa.training.processes.faults import DeadWorkerError
from pointcept_bsa.training.processes.interruption import Interrupted, Interruption
from pointcept_bsa.training.processes.parallel import (
    check_context,
    check_parallel,
    distribute,
    flat_steps,
    graphed,
    mode_of,
    needs_scaler,
    share_buffers,
)
from pointcept_bsa.training.processes.sharding import gathered
from pointcept_bsa.training.runs.folder import open_save_path, unlock_folders
from pointcept_bsa.training.scheduler import build_scheduler

AMP_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


class TrainerBase:
    """The loop and its hooks, without what a step does."""

    def __init__(self) -> None:
        self.hooks: list[HookBase] = []
        self.epoch = self.start_epoch = self.max_epoch = 0
        self.max_iter = 0
        self.comm_info: dict[str, Any] = {}
        self.storage = EventStorage()
        self.data_iterator: Iterable[tuple[int, Any]] = ()

    def register_hooks(self, configs: Sequence[Mapping[str, Any]]) -> None:
        """Build and add hooks; each must derive from ``HookBase``."""
        for index, cfg in enumerate(configs):
            hook = HOOKS.build(cfg, path=f"hooks[{index}]")
            if not isinstance(hook, HookBase):
                raise InputError(f"hooks[{index}]: {type(hook).__name__} does not derive from HookBase")
            hook.trainer = weakref.proxy(self)  # no cycle: the trainer owns its hooks
            self.hooks.append(hook)

    def _call_hooks(self, moment: str) -> None:
        for hook in self.hooks:
            getattr(hook, moment)()

    def before_train(self) -> None:
        self._call_hooks("before_train")

    def before_epoch(self) -> None:
        self._call_hooks("before_epoch")

    def before_step(self) -> None:
        self._call_hooks("before_step")

    def run_step(self) -> None:
        raise NotImplementedError

    def after_step(self) -> None:
        self._call_hooks("after_step")

    def after_epoch(self) -> None:
        self._call_hooks("after_epoch")
        self.storage.reset_histories()

    def after_train(self) -> None:
        comm.synchronize()
        self._call_hooks("after_train")


@TRAINERS.register_module()
class DefaultTrainer(TrainerBase):
    """Trains ``cfg.model`` on ``cfg.data.train``; ``cfg`` has been through ``default_setup``.

    Attributes for hooks, as in Pointcept: ``cfg model writer train_loader val_loader optimizer scheduler scaler storage
    comm_info epoch start_epoch max_epoch max_iter best_metric_value logger``; besides, ``device``, ``plan``,
    ``global_iter`` (optimizer iterations done), ``epochs_done``, ``stepped`` (the last batch ended an iteration),
    ``interrupted`` (a signal has come; read it at a save point), ``last_saved`` (iteration of the last checkpoint),
    ``ema`` and ``guard`` (or None). ``writer`` is None in other processes than the main one.
    """

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.cfg = cfg
        self.device = get_device(cfg)
        self.logger = get_root_logger()
        hold_for_file()
        self.best_metric_value = -math.inf
        self.global_iter, self.epochs_done, self.stepped = 0, 0, False
        self.interruption, self.interrupted = Interruption(), 0
        self.last_saved: int | None = None
        self.resumed, self.origin = False, cfg.weight  # origin: the weights that the run began with
        self.best_file: str | None = None  # best weights so far of a run that goes on in another folder
        self.config_hash = config_hash(cfg)
        self._record: dict[str, Any] | None = None
        self._micro = 0  # batches since the last optimizer step
        self.mode = mode_of(cfg, self.device)
        self.model = self.build_model()
        self.writer = self.build_writer()
        self.train_loader = self.build_train_loader()
        self.val_loader = self.build_val_loader()
        self.plan = make_plan(
            self.train_loader.batch_sampler.batches_per_pass,
            cfg.eval_epoch,
            cfg.gradient_accumulation_steps,
            cfg.max_iters,
            cfg.eval_every,
        )
        self.adopt_plan(self.plan)
        self.train_loader.start_epoch(self.plan, 0)
        self.optimizer = self.build_optimizer()
        self.ema = MovingAverage(unwrap(self.model), **cfg.ema) if cfg.ema is not None else None
        self.guard = NanGuard(cfg.nan_guard, self.device) if cfg.nan_guard is not None else None
        self.scheduler = self.build_scheduler()
        self.scaler = self.build_scaler()
        self.flat_step = self.build_step()
        self.flat = FlatGradients(self.model) if self.mode == "flat" and self.flat_step is None else None
        self.register_hooks(cfg.hooks)

    def train(self) -> None:
        """Run the training, or what a resumed run has left of it."""
        try:
            self.before_train()
            if self.cfg.resume and not self.resumed:
                raise InputError("resume=True: hooks has no CheckpointLoader, which goes on with a run")
            open_save_path(self)
            with self.interruption:
                for epoch in range(self.start_epoch, self.max_epoch):
                    self._run_epoch(epoch)
            self.after_train()
        finally:
            self.data_iterator = ()
            self.train_loader.end_processes()
            self.on_exit()

    def _run_epoch(self, epoch: int) -> None:
        """One epoch, or what a run resumed within it has left of it."""
        self.epoch = epoch
        done = self.global_iter * self.plan.accumulate - self.plan.batches(epoch).start
        self.train_loader.start_epoch(self.plan, epoch, skip=done)
        self.model.train()
        self.before_epoch()
        self.data_iterator = enumerate(self.train_loader, start=done)
        try:
            for number, batch in self.data_iterator:
                self.comm_info["iter"], self.comm_info["input_dict"] = number, batch
                self.before_step()
                where = f"iteration {self.global_iter + 1}"
                with memory_watched(where, batch, self.device, functools.partial(training_advice, self.cfg)):
                    self.run_step()
                self.after_step()
                if self.stepped:
                    self._save_point(epoch)
        except DeadWorkerError:
            if self.interruption.received and self._micro == 0:  # the signal that has come to us has ended it
                self._save_point(epoch)
            raise
        self.after_epoch()
        self._save_point(epoch + 1)

    def _save_point(self, epochs_done: int) -> None:
        """Let hooks save; leave if a signal wants it. Raises ``Interrupted``."""
        self.interrupted = self.interruption.agreed(self.global_iter, at_once=epochs_done > self.epoch)
        self.epochs_done = epochs_done
        self._call_hooks("at_save_point")
        if self.interrupted:
            comm.synchronize()  # the main process has written
            saved = f"saved; go on with resume=True save_path={self.cfg.save_path}"
            what = saved if self.last_saved == self.global_iter else "not saved: there is no CheckpointSaver in hooks"
            raise Interrupted(self.interrupted, f": iteration {self.global_iter} of {self.max_iter}, {what}")

    def run_step(self) -> None:
        """Forward, backward and, when enough batches have come, one step of the optimizer."""
        cfg = self.cfg
        batch = self.comm_info["input_dict"]
        batch = self.comm_info["input_dict"] = to_device(batch, self.device)
        self._micro += 1
        self.stepped = self._micro == cfg.gradient_accumulation_steps
        if self.flat_step is not None:
            output = self.flat_step(batch)
        else:
            with self._gradient_sync(self.stepped):
                output = self.forward(self.model, batch)
                loss = output["loss"] / cfg.gradient_accumulation_steps
                (loss if self.scaler is None else self.scaler.scale(loss)).backward()
        if self.guard is not None and self.guard.sees_loss:
            self.guard.note(output["loss"])
        if self.stepped:
            if self.flat is not None:
                self.flat.take()
                self.flat.average()
            self._step_optimizer()
            self._micro = 0
            self.global_iter += 1
        if cfg.empty_cache and self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.comm_info["model_output_dict"] = output

    def forward(self, model: nn.Module, batch: dict[str, Any]) -> dict[str, Any]:
        """The model under the run's autocast."""
        with torch.autocast(self.device.type, AMP_DTYPES[self.cfg.amp_dtype], enabled=self.cfg.enable_amp):
            return model(batch)

    def _step_optimizer(self) -> None:
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        norm = None
        if self.cfg.clip_grad is not None or (self.guard is not None and self.guard.needs_norm and self.scaler is None):
            norm = total_norm(self.model.parameters(), self.cfg.clip_grad)
        if self.scaler is not None:  # leaves bad steps out itself
            self.scaler.step(self.optimizer)
            self.scaler.update()
            if self.guard is not None:
                self.guard.end_iteration(self.global_iter + 1)
        elif self.guard is not None:
            if norm is not None:
                self.guard.note(norm)
            self.guard.step(self.optimizer, self.global_iter + 1)
        else:
            self.optimizer.step()
        if self.ema is not None:
            self.ema.update()
        if self.flat is not None:
            self.flat.part()
        elif self.flat_step is None:  # which begins anew itself
            self.optimizer.zero_grad(set_to_none=True)
        self.scheduler.step()  # counts iterations, also those whose step was left out

    def _gradient_sync(self, wanted: bool) -> contextlib.AbstractContextManager[None]:
        if isinstance(self.model, DistributedDataParallel) and not wanted:
            return self.model.no_sync()
        if self.mode == "fsdp2":
            sharded: Any = self.model
            sharded.set_requires_gradient_sync(wanted)
        return contextlib.nullcontext()

    def after_epoch(self) -> None:
        share_buffers(unwrap(self.model))
        with self.ema.swapped_in() if self.ema is not None else gathered(self.model):
            super().after_epoch()
        if self.cfg.empty_cache_per_epoch and self.device.type == "cuda":
            torch.cuda.empty_cache()

    def on_exit(self) -> None:
        """However the training ended: let hooks and files go."""
        self._call_hooks("on_exit")
        if self.writer is not None:
            self.writer.close()
        unlock_folders()

    def adopt_plan(self, plan: TrainingPlan) -> None:
        """Train by ``plan`` from now on (a resumed run's has the epochs that are done as they were)."""
        self.plan = plan
        self.max_epoch, self.max_iter = plan.max_epoch, plan.total_iters

    def config_text(self) -> str:
        """The config of what is trained, as a file: that of the run from its beginning, resumed or not."""
        return config_text(Config({**{key: self.cfg[key] for key in self.cfg}, "resume": False, "weight": self.origin}))

    def record(self) -> dict[str, Any]:
        """What trains, for the checkpoint, see :mod:`.record`."""
        if self._record is None:
            self._record = record_of(self.cfg, self.train_loader.dataset)
            self._record["config"]["weight"] = self.origin
        return self._record

    def reseed(self, seed: int) -> None:
        """Go on with the random stream of data of another seed (a resumed run's)."""
        self.cfg.seed = seed
        self.train_loader.dataset.seed = self.train_loader.batch_sampler.seed = seed

    def build_model(self) -> nn.Module:
        check_parallel(self.cfg, self.device)
        model = build_model(self.cfg.model, path="model")
        check_context(self.cfg, self.device, model)
        if self.cfg.sync_bn and not any(isinstance(module, _BatchNorm) for module in model.modules()):
            self.logger.warning(
                "sync_bn=True: the model has no BatchNorm (see model.norm), so there is nothing to share"
            )
        if self.cfg.sync_bn and comm.get_world_size() > 1:
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        model = model.to(self.device)
        count = sum(p.numel() for p in model.parameters() if p.requires_grad)
        self.logger.info(f"Model {self.cfg.model.type}: {count:,} trainable parameters on {self.device}")
        if self.cfg.compile:
            blocks = compile_blocks(model, self.cfg.compile)
            self.logger.info(f"{blocks} blocks are compiled when they first run: that takes a while")
        return distribute(model, self.cfg, self.device)

    def build_writer(self) -> MetricsWriter | None:
        if not comm.is_main_process():
            return None
        return MetricsWriter(self.cfg.save_path, append=self.cfg.resume, iteration=lambda: self.global_iter)

    def build_train_loader(self) -> TrainLoader:
        dataset = build_dataset(self.cfg.data.train, path="data.train")
        self.logger.info(f"Training data {self.cfg.data.train.type}: {len(dataset)} samples a pass")
        return build_train_loader(
            dataset,
            self.cfg.batch_size,
            self.cfg.num_worker_per_gpu,
            self.cfg.seed,
            self.train_collate(),
            pin_memory=self.device.type == "cuda",
        )

    def train_collate(self) -> Callable[[Sequence[Any]], Any]:
        """Collate of training samples, which ``pad_clouds`` fills up in the way of the model's ``padding(unit)``."""
        unit = self.cfg.pad_clouds
        if unit is None:
            return collate_fn
        model: Any = unwrap(self.model)
        if not hasattr(model, "padding"):
            raise InputError(f"pad_clouds={unit}: {type(model).__name__} takes no padded clouds, wanted None")
        padding = model.padding(unit)
        padding.keep = bool(self.cfg.data.train.get("cache", False))
        return PaddedCollate(padding)

    def build_val_loader(self) -> DataLoader | None:
        if not self.cfg.evaluate:
            return None
        return build_eval_loader(
            build_dataset(self.cfg.data.val, path="data.val"),
            "data.val",
            self.cfg.batch_size_val_per_gpu,
            self.cfg.num_worker_per_gpu,
            collate_fn,
            pin_memory=self.device.type == "cuda",
        )

    def build_optimizer(self) -> torch.optim.Optimizer:
        return build_optimizer(self.cfg.optimizer, self.model, self.cfg.param_dicts)

    def build_scheduler(self) -> torch.optim.lr_scheduler.LRScheduler:
        # The first step may be left out: by the scaler, or by the guard.
        warnings.filterwarnings("ignore", message=r"Detected call of `lr_scheduler.step\(\)` before")
        return build_scheduler(self.cfg.scheduler, self.optimizer, self.plan.total_iters)

    def build_scaler(self) -> torch.amp.GradScaler | None:
        """A scaler where one is needed."""
        return torch.amp.GradScaler("cuda") if needs_scaler(self.cfg, self.device) else None

    def build_step(self) -> FlatStep | None:
        """Forward and backward, with all weights cast and gradients collected at once, where that goes; as CUDA graphs
        where ``cuda_graph`` asks for them. None: one operation of torch after the other."""
        if not flat_steps(self.cfg, self.device):
            return None
        cast_dtype = AMP_DTYPES[self.cfg.amp_dtype] if self.cfg.enable_amp else None
        forward = functools.partial(self.forward, self.model)
        if graphed(self.cfg, self.device):
            return GraphedStep(self.model, forward, self.logger, cast_dtype)
        return FlatStep(self.model, forward, cast_dtype)
