"""What learned agents of every domain share: checkpoints on disk, and training that goes on from them."""
