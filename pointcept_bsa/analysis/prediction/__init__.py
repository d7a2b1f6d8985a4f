"""Predictions on meshes and clouds that are no data set: reading, preparing, predicting, forces, writing back."""
