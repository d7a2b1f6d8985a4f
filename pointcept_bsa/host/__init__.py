"""The one door to the host: Pointcept where the plugin runs inside it, else the embedded host.

Everything else in the package imports registries, bases, collate, comm and logger from here.
"""

from pointcept_bsa.host_choice import HOST

if HOST == "pointcept":
    from pointcept_bsa.host.pointcept.binding import (
        DATASETS,
        HOOKS,
        LOSSES,
        MODELS,
        OPTIMIZERS,
        SCHEDULERS,
        TESTERS,
        TRAINERS,
        TRANSFORMS,
        Compose,
        Config,
        HookBase,
        Point,
        build_dataset,
        build_model,
        collate_fn,
        comm,
        get_root_logger,
    )
else:
    from pointcept_bsa.host.embedded import (
        DATASETS,
        HOOKS,
        LOSSES,
        MODELS,
        OPTIMIZERS,
        SCHEDULERS,
        TESTERS,
        TRAINERS,
        TRANSFORMS,
        Compose,
        Config,
        HookBase,
        Point,
        build_dataset,
        build_model,
        collate_fn,
        comm,
        get_root_logger,
    )

__all__ = [
    "Compose",
    "Config",
    "DATASETS",
    "HOOKS",
    "HOST",
    "HookBase",
    "LOSSES",
    "MODELS",
    "OPTIMIZERS",
    "Point",
    "SCHEDULERS",
    "TESTERS",
    "TRAINERS",
    "TRANSFORMS",
    "build_dataset",
    "build_model",
    "collate_fn",
    "comm",
    "get_root_logger",
]
