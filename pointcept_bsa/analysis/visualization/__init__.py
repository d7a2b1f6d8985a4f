"""Pictures of what the networks do: ball trees, attention, receptive fields, influence, gates, runtime."""
