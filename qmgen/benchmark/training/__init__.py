"""How fast a network is trained: molecules a second of a step of the optimiser, beside PyTorch Geometric's SchNet."""
