"""What learned agents of every domain share: checkpoints on disk."""
