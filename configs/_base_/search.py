# What tools/tune.py searches: the same for every network and data set, so that all of them are tuned alike. A config's
# own values always belong to it: ranges are widened to hold them, choices added.

_base_ = ["default_runtime.py"]

search = {
    "optimizer.lr": dict(type="log", low=2e-4, high=1e-2),
    "optimizer.weight_decay": dict(type="log", low=1e-5, high=0.3),
    "clip_grad": dict(choices=[None, 1.0, 0.1]),
}

# Further settings of the features (model.backbone.in_channels follows them) and of each network, for configs to add:
# search = {{_base_._search_bsa}}
_search_bands = {"data.*.transform.FourierFeatures.num_bands": dict(choices=[2, 3, 4, 6])}
_search_full_attention = {"model.backbone.qk_norm": dict(choices=[True, False])}
_search_bsa = _search_full_attention | {"model.backbone.phi": dict(choices=["mlp", "mean"])}
_search_erwin_nsa = _search_bsa
_search_erwin = _search_ptv3 = {"model.norm": dict(choices=["cloud", "layer"])}
_search_lrsa = {"model.backbone.num_latents": dict(choices=[64, 128])}
_search_flare = _search_full_attention | _search_lrsa
_search_mspt = {"model.backbone.block_size": dict(choices=[8, 16, 32])}
_search_transolver = {"model.backbone.num_slices": dict(choices=[32, 64])}
_search_abupt_joint = {"model.backbone.position_scale": dict(choices=[10.0, 100.0])}
_search_upt = _search_abupt = _search_abupt_joint | {"model.backbone.edges": dict(choices=["radius", "knn"])}
