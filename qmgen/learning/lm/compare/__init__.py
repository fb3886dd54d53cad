"""Trainings that compare the recipes of FP8 (scripts/compare_fp8)."""
