"""From SMILES files to batches of tokens."""
