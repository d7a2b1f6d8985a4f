_base_ = ["bsa.py"]
save_path = "exp/beams/{{fileBasenameNoExtension}}"
_box = dict(type="ScaleCoord", min=(0.0, -1.0, -0.14), max=(15.0, 2.0, 0.34), to=(-1.0, 1.0))
_grid = dict(type="AddGridCoord", grid_size=0.166)
_set = dict(beam="TwiceClampedBeam", transform=[_box, {{_base_._bands}}, _grid, {{_base_._collect}}])
data = dict(train=_set, val=_set, test=_set)
