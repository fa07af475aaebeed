"""Runs jobs on instances, over links that may break and processes that outlive the service."""
