"""Calibration: tables and logs of measurements in, profiles and their fit quality out."""
