"""What a training leaves to be gone on from, or used: written whole, read without running code."""
