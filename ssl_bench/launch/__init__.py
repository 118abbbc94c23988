"""Launchers: where and how runs are executed."""
