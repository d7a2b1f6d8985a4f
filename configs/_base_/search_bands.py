# As search.py, and the number of frequency bands of the coordinate features; model.backbone.in_channels follows it.

_base_ = ["search.py"]

search = {"data.*.transform.FourierFeatures.num_bands": dict(choices=[2, 3, 4, 6])}
