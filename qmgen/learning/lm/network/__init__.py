"""GPT and Llama: shapes, blocks, the forward pass."""
