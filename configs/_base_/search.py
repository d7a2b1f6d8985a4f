# What tools/tune.py searches: the same for every network and data set, so that all of them are tuned alike. A config's
# own values always belong to it: ranges are widened to hold them, choices added.

_base_ = ["default_runtime.py"]

search = {
    "optimizer.lr": dict(type="log", low=2e-4, high=1e-2),
    "optimizer.weight_decay": dict(type="log", low=1e-5, high=0.3),
    "clip_grad": dict(choices=[None, 1.0, 0.1]),
}
