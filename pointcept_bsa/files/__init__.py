"""The one home of JSON, and of what ``torch.save`` writes. Files from strangers are data, never code."""
