"""Modules that more than one strategy or model needs."""
