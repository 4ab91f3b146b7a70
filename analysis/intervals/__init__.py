"""Intervals: resampling, profiles, the mixed model, the scatter of residuals."""
