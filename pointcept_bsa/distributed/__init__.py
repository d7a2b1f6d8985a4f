"""One cloud over several processes: who shares which cloud."""
