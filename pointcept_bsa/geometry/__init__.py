"""Points in space: ball trees, neighbour searches, space-filling curves. Plain torch, on the points' device."""
