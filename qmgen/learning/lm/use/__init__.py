"""Trained models at work: FP8 afterwards, drawing, evaluation."""
