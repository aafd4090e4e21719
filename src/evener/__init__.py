"""Evener."""
