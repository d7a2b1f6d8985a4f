# The recipe of data that no paper prescribes one for, chosen on validation over several data sets (docs/recipe.md):
# Muon for the matrices of a network, AdamW for the rest, at one learning rate; relative L2 loss; three frequency bands;
# norms that do not depend on the batch. The settings of the papers are those of the configs named after their data.

_base_ = ["search.py", "networks.py"]

_bsa = _full_attention = _erwin_nsa = dict(depth=8, num_heads=4, qk_norm=True)

optimizer = dict(type="Muon", lr=2e-3, weight_decay=0.01)
scheduler = dict(type="WarmupCosineLR", warmup_ratio=0.05)

# Searched beside search.py's: frequency bands (model.backbone.in_channels follows) and settings of certain networks.
search = {
    "data.*.transform.FourierFeatures.num_bands": dict(choices=[2, 3, 4, 6]),
    "model.norm": dict(choices=["cloud", "layer"], only=("Erwin-v1m1", "PT-v3m1")),
    "model.backbone.qk_norm": dict(
        choices=[True, False], only=("BSA-v1m1", "ErwinNSA-v1m1", "FLARE-v1m1", "FullAttention-v1m1")
    ),
    "model.backbone.phi": dict(choices=["mlp", "mean"], only=("BSA-v1m1", "ErwinNSA-v1m1")),
    "model.backbone.mp_steps": dict(choices=[0, 3], only=("BSA-v1m1",)),
    "model.backbone.num_latents": dict(choices=[64, 128], only=("FLARE-v1m1", "LRSA-v1m1")),
    "model.backbone.block_size": dict(choices=[8, 16, 32], only=("MSPT-v1m1",)),
    "model.backbone.num_slices": dict(choices=[32, 64], only=("Transolver-v1m1",)),
    "model.backbone.position_scale": dict(choices=[10.0, 100.0], only=("ABUPT-v1m1", "ABUPTJoint-v1m1", "UPT-v1m1")),
    "model.backbone.edges": dict(choices=["radius", "knn"], only=("ABUPT-v1m1", "UPT-v1m1")),
}
