"""``qmgen train lm``: settings, memory, devices, steps."""
