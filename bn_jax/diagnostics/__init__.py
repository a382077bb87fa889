"""Diagnostics: one question a file. They read sites and change nothing."""
