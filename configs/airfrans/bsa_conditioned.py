# bsa.py with the global parameters as conditions of every block, in place of features that each point repeats, and
# without rotary positions, as it was measured.

_base_ = ["bsa.py"]
save_path = "exp/airfrans/{{fileBasenameNoExtension}}"
_collect = dict(type="CollectPoints", keys={{_base_._keys}}, feat_keys=("fourier",), parameter_keys=("flow",))
_set = dict(transform=[{{_base_._box}}, {{_base_._bands}}, {{_base_._grid}}, _collect])
data = dict(train=_set, val=_set, test=_set)
model = dict(backbone=dict(in_channels=14, condition=3, rotary=None))
