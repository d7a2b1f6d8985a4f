"""Parameters: attention layers, transformer blocks, embeddings. Used by the backbones."""
