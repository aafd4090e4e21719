"""Evener against its peers on an emulated cluster. See README.md; nothing here is part of the package."""
