_base_ = ["../_base_/ellipsoid_flow_joint.py"]
save_path = "exp/ellipsoid_flow_joint/{{fileBasenameNoExtension}}"
cuda_graph = False  # the number of pooled points depends on the points
_domain = dict(head=dict(in_channels=32))
model = dict(backbone={{_base_._ptv3}}, domains=dict(surface=_domain, volume=_domain))
