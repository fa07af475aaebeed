"""Installs AI model files onto rented GPU instances over SSH and shows every client what happens."""
